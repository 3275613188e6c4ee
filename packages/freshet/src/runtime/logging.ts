import { pino, type Logger as PinoLogger } from 'pino'

/** Structured logging: one JSON object a line on standard error. */
export type Logger = PinoLogger

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** A logger that names its process in every line and writes synchronously, so that nothing is lost at a crash. */
export function createLogger(options: { process: string; level: LogLevel }): Logger {
  return pino(
    {
      level: options.level,
      base: { process: options.process, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  )
}

/** A logger that says nothing, for tests and tools. */
export const silentLogger: Logger = pino({ level: 'silent' })
