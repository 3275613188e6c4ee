/** The folder of the legacy system: what it would read from there. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { compareTexts, type Comparison } from './compare.ts'
import type { Change, StreamName } from './entities.ts'
import { legacyRecord, readBatch } from './legacy-format.ts'

export interface LegacyBatches {
  /** Names of the finished batches, in their order. */
  files: string[]
  records: string[]
}

/** What the done-marker of a batch says of it. */
interface Marker {
  file: string
  bytes: number
  events: number
  sha256: string
}

/**
 * The finished batches of a stream: those that have a done-marker.
 * @throws Error when a batch is not what its marker says, not whole, or not the next one
 */
export function readBatches(folder: string, stream: StreamName): LegacyBatches {
  const own = join(folder, stream)
  const names = existsSync(own) ? readdirSync(own).toSorted() : []
  const files = names.filter((name) => name.endsWith('.txt') && names.includes(`${name}.done`))
  const records = files.flatMap((name, index) => {
    const bytes = readFileSync(join(own, name))
    const marker = JSON.parse(readFileSync(join(own, `${name}.done`), 'utf8')) as Marker
    const batch = readBatch(bytes.toString('latin1'))
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    if (marker.file !== name || marker.events !== batch.records.length || marker.sha256 !== sha256)
      throw new Error(`${stream}/${name} is not what its marker says: ${JSON.stringify(marker)}`)
    if (batch.sequence !== index + 1)
      throw new Error(`${stream}/${name} is batch ${batch.sequence}, and ${index + 1} is the next`)
    return batch.records
  })
  return { files, records }
}

/** Compares the finished batches with the changes: each has to be in them once. */
export function compareBatches(folder: string, stream: StreamName, changes: readonly Change[]): Comparison {
  const own = changes.filter((change) => change.stream === stream)
  return compareTexts(
    own.map(({ event }) => (legacyRecord[stream] as (event: unknown) => string)(event)),
    readBatches(folder, stream).records,
  )
}
