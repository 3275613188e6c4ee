/**
 * The memory of seen batches on disk: `<position>.seen` holds what was known when the log ended at that position. One is saved at
 * each roll, before the segment that begins there, so that it outlives the segments it sums up (trim), and recovery has to read
 * only what came after it. It is written to a temporary name, synced and renamed: it is whole, or it is not there. The newest two
 * are kept.
 */
import { join } from 'node:path'
import type { FileSystem } from '../../runtime/file-system.ts'
import { SeenBatches } from './seen-batches.ts'
import { listSeen, seenPath } from './segments.ts'

const keptFiles = 2
const temporaryEnding = '.tmp'

/** Saves the memory as of `position`; the caller syncs the folder. */
export async function saveSeen(
  fileSystem: FileSystem,
  folder: string,
  position: number,
  encoded: Uint8Array,
): Promise<void> {
  const path = seenPath(folder, position)
  const temporary = path + temporaryEnding
  const file = await fileSystem.open(temporary, 'create')
  try {
    await file.truncate(0)
    await file.write([encoded], 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await fileSystem.rename(temporary, path)
}

/** The newest memory that can be read, the position it was saved at (0 for none), and the files that are damaged. */
export async function loadSeen<Outcome>(
  fileSystem: FileSystem,
  folder: string,
): Promise<{ seen: SeenBatches<Outcome>; from: number; damaged: string[] }> {
  const damaged: string[] = []
  for (const position of (await listSeen(fileSystem, folder)).toReversed()) {
    const path = seenPath(folder, position)
    const seen = new SeenBatches<Outcome>()
    if (seen.decode(await fileSystem.readFile(path))) return { seen, from: position, damaged }
    damaged.push(path)
  }
  return { seen: new SeenBatches<Outcome>(), from: 0, damaged }
}

/** Removes memories that newer ones have replaced, and what a crash left half written. */
export async function removeOldSeen(fileSystem: FileSystem, folder: string): Promise<void> {
  for (const position of (await listSeen(fileSystem, folder)).slice(0, -keptFiles)) {
    await fileSystem.remove(seenPath(folder, position))
  }
  for (const name of await fileSystem.readDir(folder)) {
    if (name.endsWith(temporaryEnding)) await fileSystem.remove(join(folder, name))
  }
}
