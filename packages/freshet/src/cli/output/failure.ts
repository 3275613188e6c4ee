import { FreshetError, messageOf } from '../../runtime/errors.ts'
import { sanitiseCell, sanitiseText } from './sanitise.ts'
import type { Style } from './style.ts'
import { displayWidth } from './table.ts'

export interface FailureOptions {
  style: Style
  /** Print the stack and every cause too. */
  debug: boolean
  /** The SQL text that `line` and `column` of the error point into. */
  sql?: string
}

/** What went wrong, where, and what to do about it, as text for a terminal. */
export function renderFailure(error: unknown, options: FailureOptions): string {
  const { style } = options
  const lines = [`${style.red('error:')} ${sanitiseText(messageOf(error))}`]
  if (error instanceof FreshetError) {
    if (options.sql !== undefined)
      lines.push(...pointer(options.sql, error.extra['line'], error.extra['column'], style))
    if (error.hint !== undefined) lines.push(`${style.cyan('hint:')} ${sanitiseText(error.hint)}`)
  } else if (!options.debug) {
    lines.push(`${style.cyan('hint:')} run it again with --debug to see where this comes from`)
  }
  if (options.debug) lines.push(...stacks(error).map((text) => style.dim(sanitiseText(text))))
  return `${lines.join('\n')}\n`
}

/** The offending line of the SQL and a caret under its column; both count from 1. */
function pointer(sql: string, line: unknown, column: unknown, style: Style): string[] {
  if (typeof line !== 'number' || typeof column !== 'number') return []
  const text = sql.split('\n')[line - 1]
  if (text === undefined || column < 1) return []
  // A long line is shown from a little before the column.
  const at = Math.min(column - 1, text.length)
  const start = Math.max(0, at - 60)
  const before = sanitiseCell(text.slice(start, at).replaceAll('\t', ' '))
  const after = sanitiseCell(text.slice(at, start + 100).replaceAll('\t', ' '))
  const label = `${line} | `
  return [
    `  ${style.dim(label)}${before}${after}`,
    `  ${' '.repeat(label.length + displayWidth(before))}${style.red('^')}`,
  ]
}

function stacks(error: unknown): string[] {
  const texts: string[] = []
  for (
    let at: unknown = error;
    at !== undefined && at !== null && texts.length < 8;
    at = (at as { cause?: unknown }).cause
  ) {
    const stack = at instanceof Error ? (at.stack ?? messageOf(at)) : messageOf(at)
    texts.push(texts.length === 0 ? stack : `caused by: ${stack}`)
  }
  return texts
}
