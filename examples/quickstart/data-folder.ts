/** The folder that a run keeps its data in, always a fresh one. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface DataFolder {
  path: string
  /** Deletes it if it was made for this run only. */
  remove(): void
}

/** A folder under the system's temporary one, deleted when the run is over. */
export function temporaryFolder(): DataFolder {
  const path = mkdtempSync(join(tmpdir(), 'freshet-quickstart-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 3 }) }
}

/** A folder that stays; what an earlier run left in it is deleted. @throws Error when a server is still running on it */
export function lastingFolder(path: string): DataFolder {
  if (isInUse(path)) throw new Error(`another quickstart is running on ${path}; stop it first (Ctrl-C)`)
  rmSync(path, { recursive: true, force: true })
  mkdirSync(path, { recursive: true })
  return { path, remove: () => {} }
}

/** Whether a server holds the folder's lock, which the system frees at its death: see runtime/folder-lock.ts of the server. */
function isInUse(path: string): boolean {
  const file = join(path, 'lock', 'server.db')
  if (!existsSync(file)) return false
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file, { timeout: 0 })
    database.exec('BEGIN EXCLUSIVE')
    return false
  } catch {
    return true
  } finally {
    database?.close()
  }
}
