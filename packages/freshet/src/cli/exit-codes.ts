import { FreshetError } from '../runtime/errors.ts'

/** What the process ends with; docs/cli.md lists them. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, unreachable: 3, interrupted: 130 } as const

/** The exit code for a command that threw `error`. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof FreshetError)) return exitCodes.failed
  if (error.code === 'invalid_usage') return exitCodes.usage
  if (error.code === 'server_unreachable') return exitCodes.unreachable
  return exitCodes.failed
}

/** A mistake in the command line. */
export function usageError(message: string, hint?: string): FreshetError {
  return new FreshetError('invalid_usage', message, hint === undefined ? {} : { hint })
}
