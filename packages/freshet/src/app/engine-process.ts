/** The engine's process: what the supervisor forks. */
import { createLogger } from '../runtime/logging.ts'
import { runSupervised } from '../runtime/supervised.ts'
import { startEngine } from './compose-engine.ts'
import { lockWaitMs, stopDeadlineMs, type ProcessPayload } from './process-settings.ts'

runSupervised({
  logger: createLogger({ process: 'engine', level: 'error' }),
  stopDeadlineMs,
  start: (payload, processes) => {
    const { plan, logLevel } = payload as ProcessPayload
    return startEngine(plan, { logger: createLogger({ process: 'engine', level: logLevel }), processes, lockWaitMs })
  },
})
