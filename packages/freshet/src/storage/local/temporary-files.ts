import { join } from 'node:path'
import type { FileSystem } from '../../runtime/file-system.ts'
import { temporaryPrefix } from './local-object-store.ts'

/** Files below a store's folder that are being written, or that a crash has left: no listing of the store shows them. */
export async function temporaryFiles(
  fileSystem: FileSystem,
  folder: string,
): Promise<{ path: string; bytes: number }[]> {
  const found: { path: string; bytes: number }[] = []
  for (const entry of await fileSystem.readEntries(folder)) {
    const path = join(folder, entry.name)
    if (entry.folder) found.push(...(await temporaryFiles(fileSystem, path)))
    else if (entry.name.startsWith(temporaryPrefix)) found.push({ path, bytes: entry.bytes })
  }
  return found
}
