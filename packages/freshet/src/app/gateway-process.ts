/** The gateway's process: what the supervisor forks. */
import { createLogger } from '../runtime/logging.ts'
import { runSupervised } from '../runtime/supervised.ts'
import { startGateway } from './compose-gateway.ts'
import { lockWaitMs, stopDeadlineMs, type ProcessPayload } from './process-settings.ts'

runSupervised({
  logger: createLogger({ process: 'gateway', level: 'error' }),
  stopDeadlineMs,
  start: (payload, processes) => {
    const { plan, logLevel } = payload as ProcessPayload
    return startGateway(plan, { logger: createLogger({ process: 'gateway', level: logLevel }), processes, lockWaitMs })
  },
})
