import { join, resolve } from 'node:path'
import type { SinkDeps } from '../sink.ts'
import { BucketTarget } from './bucket-target.ts'
import { fileContent, type FileContent } from './content.ts'
import { FolderTarget } from './folder-target.ts'
import type { FilesOptions } from './settings.ts'
import type { FilesTarget } from './target.ts'

/** The folder in which the sink keeps its spool and its state. */
export function ownFolderOf(deps: SinkDeps): string {
  const { folder } = optionsOf(deps)
  return folder === undefined ? deps.ownFolder : join(resolve(deps.baseDir, folder), `.freshet-${deps.plan.name}`)
}

/** Where the files go, and what is in them. @throws what keeps a bucket from being used */
export async function openTarget(deps: SinkDeps): Promise<{ content: FileContent; target: FilesTarget }> {
  const { fileSystem, plan, baseDir, random, openBucket } = deps
  const { folder, s3, done: marker } = optionsOf(deps)
  const own = ownFolderOf(deps)
  const content = fileContent(deps, own)
  if (folder !== undefined) {
    const hidden = `.freshet-${plan.name}-`
    return {
      content,
      target: new FolderTarget({ fileSystem, folder: resolve(baseDir, folder), content, hidden, marker }),
    }
  }
  if (openBucket === undefined) throw new Error(`The sink ${plan.name} cannot reach buckets in this process.`)
  const store = await openBucket(s3!)
  try {
    await store.check()
  } catch (error) {
    await store.close()
    throw error
  }
  return { content, target: new BucketTarget({ fileSystem, folder: own, store, content, marker, random }) }
}

function optionsOf({ plan }: SinkDeps): FilesOptions {
  return plan.options as unknown as FilesOptions
}
