import type { Plan } from '../config/plan.ts'
import { lockFolder, type FolderLock } from '../runtime/folder-lock.ts'
import type { Logger } from '../runtime/logging.ts'
import type { ProcessStatus } from '../runtime/process-status.ts'

/** What a role gets from whatever runs it. */
export interface RoleContext {
  logger: Logger
  /** The table of processes, as far as this one knows it. */
  processes: () => ProcessStatus[]
  /** How long to wait for a previous process of this role to let go of its lock, milliseconds. */
  lockWaitMs: number
}

/** Things to undo, last first, whether or not the start succeeded. */
class Undo {
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

/** Each role holds a lock of its own, so that there is one writer of the log and one loader of the lake, whoever started it. */
export function lockRole(role: 'gateway' | 'engine', plan: Plan, context: RoleContext): Promise<FolderLock> {
  return lockFolder({
    dataDir: plan.dataDir,
    name: role,
    waitMs: context.lockWaitMs,
    onWait: (pid) => context.logger.warn({ pid }, `waiting for another ${role} to let go of the data folder`),
  })
}
