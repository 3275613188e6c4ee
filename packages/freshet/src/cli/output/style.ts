import { createColors } from 'picocolors'
import type { CliContext, OutputStream } from '../context.ts'

export type Style = ReturnType<typeof createColors>

/** Colours for one stream: none when it is no terminal, or when NO_COLOR is set (no-color.org). */
export function styleFor(context: Pick<CliContext, 'env'>, stream: OutputStream): Style {
  return createColors(stream.isTTY === true && (context.env['NO_COLOR'] ?? '') === '' && context.env['TERM'] !== 'dumb')
}
