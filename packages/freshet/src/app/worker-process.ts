/** The worker's process: what the supervisor forks. */
import { createLogger } from '../runtime/logging.ts'
import { runSupervised } from '../runtime/supervised.ts'
import { startWorker } from './compose-worker.ts'
import { lockWaitMs, stopDeadlineMs, type ProcessPayload } from './process-settings.ts'

runSupervised({
  logger: createLogger({ process: 'worker', level: 'error' }),
  stopDeadlineMs,
  start: (payload, processes) => {
    const { plan, logLevel } = payload as ProcessPayload
    return startWorker(plan, { logger: createLogger({ process: 'worker', level: logLevel }), processes, lockWaitMs })
  },
})
