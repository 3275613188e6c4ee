import { checkConfig, type CheckOptions } from '../../src/config/check.ts'
import { FreshetError } from '../../src/runtime/errors.ts'

export const checkOptions: CheckOptions = { baseDir: '/project', mode: 'start', subject: 'freshet.config.ts' }

/** The error that a configuration is refused with. */
export function errorOf(words: unknown, more: Partial<CheckOptions> = {}): FreshetError {
  try {
    checkConfig(words, { ...checkOptions, ...more })
  } catch (error) {
    if (error instanceof FreshetError) return error
    throw error
  }
  throw new Error('the configuration was accepted')
}

/** The lines of its message, one a mistake. */
export function linesOf(words: unknown, more: Partial<CheckOptions> = {}): string[] {
  return errorOf(words, more)
    .message.split('\n')
    .slice(1)
    .map((line) => line.trim())
}
