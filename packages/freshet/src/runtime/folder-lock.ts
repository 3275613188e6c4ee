import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { FreshetError, messageOf } from './errors.ts'

/**
 * Exclusive locks on a data folder, so that two servers never write to one (part of I1 and I3: there is one log writer and one
 * loader). A lock is an open EXCLUSIVE transaction on a small SQLite database, which is a lock of the operating system on the
 * file: the kernel frees it when the process dies, in whatever way, and nothing has to be cleaned up by hand (I10). The pid in
 * the text file beside it is for people and messages only; nothing is decided by it.
 */
export interface FolderLock {
  release(): void
}

const retryIntervalMs = 50

/**
 * Takes the lock `name` of a data folder (`lock/<name>.db`).
 * @param options.waitMs how long to wait while another process holds it, milliseconds; an old process may still be on its way out
 * @param options.onWait called once if it has to be waited for, with the holder's pid where that is known
 * @throws FreshetError `data_folder_locked` when it still is held then; `data_folder_unusable` when it cannot be taken at all
 */
export async function lockFolder(options: {
  dataDir: string
  name: string
  waitMs: number
  onWait?: (holder: number | undefined) => void
}): Promise<FolderLock> {
  const folder = join(options.dataDir, 'lock')
  const pidFile = join(folder, `${options.name}.pid`)
  const deadline = performance.now() + options.waitMs
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (let attempt = 0; ; attempt++) {
    const database = tryLock(join(folder, `${options.name}.db`), options.dataDir)
    if (database !== undefined) {
      writeFileSync(pidFile, `${process.pid}\n`)
      return {
        release: () => {
          if (!database.isOpen) return
          rmSync(pidFile, { force: true })
          database.close()
        },
      }
    }
    if (performance.now() >= deadline) throw locked(options.dataDir, options.name, pidFile)
    if (attempt === 0) options.onWait?.(holderOf(pidFile))
    await sleep(retryIntervalMs)
  }
}

/** The locked database; undefined while another process has it. */
function tryLock(file: string, dataDir: string): DatabaseSync | undefined {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file, { timeout: 0 })
    database.exec('BEGIN EXCLUSIVE')
    return database
  } catch (error) {
    database?.close()
    if (isBusy(error)) return undefined
    throw new FreshetError('data_folder_unusable', `The lock file ${file} cannot be used: ${messageOf(error)}.`, {
      hint: `Check that this user may write to ${dataDir}; if the lock file itself is damaged, delete it.`,
      cause: error,
    })
  }
}

/** SQLite's primary result code 5 (the low byte) is SQLITE_BUSY: another connection holds a lock. */
function isBusy(error: unknown): boolean {
  return (
    error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' && (error.errcode & 0xff) === 5
  )
}

function locked(dataDir: string, name: string, pidFile: string): FreshetError {
  const holder = holderOf(pidFile)
  return new FreshetError(
    'data_folder_locked',
    `The data folder ${dataDir} is in use by another Freshet ${name}${holder === undefined ? '' : ` (process ${holder})`}.`,
    { hint: 'Stop that one first, or give this one a data folder of its own (--data-dir).' },
  )
}

function holderOf(pidFile: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(pidFile, 'utf8'), 10)
    return Number.isSafeInteger(pid) ? pid : undefined
  } catch {
    return undefined
  }
}
