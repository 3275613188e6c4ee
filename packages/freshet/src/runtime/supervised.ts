import { FreshetError, messageOf } from './errors.ts'
import type { Logger } from './logging.ts'
import { processUsage, statsIntervalMs, type ProcessStatus } from './process-status.ts'
import { toWire, type ToChild, type ToSupervisor } from './supervision-messages.ts'

/** What runs in a supervised process. */
export interface Service {
  /** What the supervisor is told when the service is ready; plain JSON. */
  info: unknown
  /** Finishes what is in flight and frees everything. */
  stop: () => Promise<void>
}

export interface SupervisedOptions {
  /**
   * Starts the service.
   * @param payload what the supervisor was given for this process
   * @param processes the supervisor's newest table of processes
   */
  start: (payload: unknown, processes: () => ProcessStatus[]) => Promise<Service>
  logger: Logger
  /** Time that stopping may take before the process ends regardless, milliseconds. */
  stopDeadlineMs: number
}

/**
 * The process's side of supervision, to be called once by the module that a supervisor forks. It stops the service and exits on
 * the supervisor's word, on SIGTERM, and when the supervisor is gone, however that died: then nobody would restart or stop this
 * process, and the next server could not have its locks. Ctrl-C in a terminal reaches every process of the group at once and is
 * left to the supervisor, who knows the order. An error that nobody handles is a broken invariant and ends the process (I10).
 */
export function runSupervised(options: SupervisedOptions): void {
  const { logger } = options
  let processes: ProcessStatus[] = []
  let starting: Promise<Service | undefined> | undefined
  let stopping = false

  async function start(payload: unknown): Promise<Service | undefined> {
    try {
      const service = await options.start(payload, () => processes)
      await tell({ type: 'ready', info: service.info })
      reportUsage()
      setInterval(reportUsage, statsIntervalMs).unref()
      return service
    } catch (error) {
      if (error instanceof FreshetError) await tell({ type: 'refused', error: toWire(error) })
      else logger.fatal({ err: error }, `could not start: ${messageOf(error)}`)
      return process.exit(1)
    }
  }

  async function stop(): Promise<void> {
    if (stopping) return
    stopping = true
    setTimeout(() => {
      logger.error('did not stop in time; exiting')
      process.exit(1)
    }, options.stopDeadlineMs).unref()
    const service = await starting
    await service?.stop()
    process.exit(0)
  }

  const stopOrDie = (): void => {
    stop().catch(die)
  }

  function die(error: unknown): void {
    logger.fatal({ err: error }, `unexpected error: ${messageOf(error)}`)
    process.exit(1)
  }

  process.on('uncaughtException', die)
  process.on('SIGTERM', stopOrDie)
  process.on('SIGINT', () => {})
  process.on('SIGHUP', () => {})
  process.on('disconnect', stopOrDie)
  process.on('message', (message: ToChild) => {
    switch (message.type) {
      case 'start':
        starting ??= start(message.payload)
        return
      case 'processes':
        processes = message.processes
        return
      case 'stop':
        stopOrDie()
    }
  })
}

function reportUsage(): void {
  void tell({ type: 'stats', ...processUsage() })
}

/** Resolves when the message has left, or when there is nobody to tell. */
function tell(message: ToSupervisor): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve()
    else process.send(message, undefined, {}, () => resolve())
  })
}
