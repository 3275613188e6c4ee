import type { Plan } from '../config/plan.ts'
import { openDataFolder, type DataFolder } from '../runtime/data-folder.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { lockFolder, type FolderLock } from '../runtime/folder-lock.ts'
import type { Logger } from '../runtime/logging.ts'
import type { ProcessStatus } from '../runtime/process-status.ts'
import { prepareSocket, socketPath, type SocketName } from './sockets.ts'
import { version } from './version.ts'

/** What a role gets from whatever runs it. */
export interface RoleContext {
  logger: Logger
  /** The table of processes, as far as this one knows it. */
  processes: () => ProcessStatus[]
  /** How long to wait for a previous process of this role to let go of its lock, milliseconds. */
  lockWaitMs: number
}

/** Things to undo, last first, whether or not the start succeeded. */
export class Undo {
  readonly #steps: (() => Promise<void> | void)[] = []

  push(step: () => Promise<void> | void): void {
    this.#steps.push(step)
  }

  async run(): Promise<void> {
    const errors: unknown[] = []
    for (const step of this.#steps.splice(0).toReversed()) {
      // One part that fails to stop must not leave the others running, nor the lock held.
      await (async () => step())().catch((error: unknown) => errors.push(error))
    }
    if (errors.length > 0)
      throw errors.length === 1 ? errors[0] : new AggregateError(errors, 'several parts did not stop')
  }
}

/** Runs `start`; if it fails, what it had begun is undone before the error goes on. */
export async function startOrUndo<T>(
  start: (undo: Undo) => Promise<T>,
): Promise<{ info: T; stop: () => Promise<void> }> {
  const undo = new Undo()
  try {
    const info = await start(undo)
    return { info, stop: () => undo.run() }
  } catch (error) {
    // What went wrong first is what matters.
    await undo.run().catch(() => {})
    throw error
  }
}

/**
 * What every role begins with: the data folder, its lock, and the place where it listens for the others.
 * @throws FreshetError `data_folder_locked`, `data_folder_newer`, `data_folder_unusable`
 */
export async function takeRole(
  role: SocketName,
  plan: Plan,
  context: RoleContext,
  undo: Undo,
): Promise<{ folder: DataFolder; socket: string }> {
  const folder = await openDataFolder({ dataDir: plan.dataDir, version, fileSystem: nodeFileSystem })
  const lock = await lockRole(role, plan, context)
  undo.push(() => lock.release())
  const socket = socketPath(plan.dataDir, role)
  await prepareSocket(socket)
  return { folder, socket }
}

/** Each role holds a lock of its own, so that there is one writer of the log and one loader of the lake, whoever started it. */
function lockRole(role: SocketName, plan: Plan, context: RoleContext): Promise<FolderLock> {
  return lockFolder({
    dataDir: plan.dataDir,
    name: role,
    waitMs: context.lockWaitMs,
    onWait: (pid) => context.logger.warn({ pid }, `waiting for another ${role} to let go of the data folder`),
  })
}
