/**
 * What upkeep did and why: the newest rows, in one small file that is replaced whole. Losing it costs history, and a day's wait before
 * retention goes on (trusted-clock.ts); no table depends on it.
 *
 * Format: `{"format":1,"seenMs":...,"rows":[...]}`, the newest row last. It is written to a file beside it, synced, and renamed: a crash
 * leaves the former one. What cannot be read is begun anew.
 */
import { join } from 'node:path'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { MaintenanceRow } from './maintenance-row.ts'

export interface KeptHistory {
  rows: MaintenanceRow[]
  /** See trusted-clock.ts. */
  seenMs: number | undefined
}

export const historyRowsMax = 1000
const fileName = 'history.json'

export async function readHistory(fileSystem: FileSystem, dir: string): Promise<KeptHistory> {
  const empty = { rows: [], seenMs: undefined }
  try {
    const bytes = await fileSystem.readFile(join(dir, fileName))
    const { format, seenMs, rows } = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>
    if (format !== 1 || !Array.isArray(rows)) return empty
    return { rows: rows as MaintenanceRow[], seenMs: typeof seenMs === 'number' ? seenMs : undefined }
  } catch {
    return empty
  }
}

export async function writeHistory(fileSystem: FileSystem, dir: string, { rows, seenMs }: KeptHistory): Promise<void> {
  const text = JSON.stringify({ format: 1, seenMs, rows: rows.slice(-historyRowsMax) })
  await fileSystem.makeDir(dir)
  const beside = join(dir, `${fileName}.new`)
  await fileSystem.remove(beside)
  const handle = await fileSystem.open(beside, 'create')
  try {
    await handle.write([Buffer.from(text)], 0)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await fileSystem.rename(beside, join(dir, fileName))
  await fileSystem.syncDir(dir)
}
