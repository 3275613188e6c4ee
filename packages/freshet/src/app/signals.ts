import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/logging.ts'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * A Ctrl-C arrives several times when wrappers such as `npm run` pass it on to a process that the terminal had told already;
 * signals this close together are one, milliseconds.
 */
const sameSignalMs = 500

/**
 * Stops the server on the first signal, and forces it on a second one that is a signal of its own.
 * @returns a function that takes the handlers away
 */
export function stopOnSignals(options: { stop: () => Promise<void>; force: () => void; logger: Logger }): () => void {
  const { stop, force, logger } = options
  let firstMs: number | undefined
  const onSignal = (signal: NodeJS.Signals): void => {
    if (firstMs === undefined) {
      firstMs = performance.now()
      logger.info({ signal }, 'stopping; once more to force it')
      stop().catch((error: unknown) => {
        logger.error({ err: error }, `stopping failed: ${messageOf(error)}`)
        force()
      })
    } else if (performance.now() - firstMs >= sameSignalMs) {
      logger.warn({ signal }, 'forced to stop')
      force()
    }
  }
  for (const signal of signals) process.on(signal, onSignal)
  return () => {
    for (const signal of signals) process.off(signal, onSignal)
  }
}
