import { createHash } from 'node:crypto'
import { lstat, mkdir, rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { FreshetError } from '../runtime/errors.ts'

/** The operating system's limit for the path of a unix socket is 104 bytes on macOS, 108 on Linux, a final zero included. */
const pathBytesMax = 103

/** Who listens: the engine for the gateway's questions, the gateway for those who append to the log, the worker for its control. */
export type SocketName = 'engine' | 'gateway' | 'worker'

/**
 * Where a process of a data folder listens for the others: `run/<name>.sock` in the folder, or, if that path is too long for a socket, one
 * in a folder of this user's below the system's temporary folder. All compute it alike. On Windows it is a named pipe.
 */
export function socketPath(dataDir: string, name: SocketName): string {
  const hash = createHash('sha256').update(dataDir).digest('hex').slice(0, 16)
  if (process.platform === 'win32') return `\\\\.\\pipe\\freshet-${hash}-${name}`
  const inFolder = join(dataDir, 'run', `${name}.sock`)
  if (Buffer.byteLength(inFolder) <= pathBytesMax) return inFolder
  return join(tmpdir(), `freshet-${userInfo().uid}-${hash}`, `${name}.sock`)
}

/**
 * Makes sure that the socket's folder exists, that nobody but this user can put a socket there, and that what a process that was killed
 * left of its own is gone: to be called with the lock of its role held.
 * @throws FreshetError `data_folder_unusable` when someone else has made the folder
 */
export async function prepareSocket(socket: string): Promise<void> {
  if (process.platform === 'win32') return
  const folder = dirname(socket)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const stats = await lstat(folder)
  const { uid } = userInfo()
  if (stats.isDirectory() && stats.uid === uid && (stats.mode & 0o022) === 0) return rm(socket, { force: true })
  throw new FreshetError(
    'data_folder_unusable',
    `The folder for the server's sockets, ${folder}, belongs to another user or can be written by others.`,
    { hint: 'Remove that folder, or use a data folder with a shorter path.' },
  )
}
