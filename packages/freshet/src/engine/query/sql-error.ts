/** What DuckDB says of a statement, with the place of the mistake and a hint where it gives one. */
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import { isMissingFile, isOutOfMemory } from '../duckdb-error.ts'

/** Line and column, both from 1, of a character offset. */
export function placeAt(sql: string, offset: number): { line: number; column: number } {
  const before = sql.slice(0, offset).split('\n')
  return { line: before.length, column: before.at(-1)!.length + 1 }
}

/** The error for a statement that DuckDB refused, or that was stopped. */
export function sqlError(error: unknown, sql: string): FreshetError {
  if (error instanceof FreshetError) return error
  const text = messageOf(error)
  if (isOutOfMemory(error)) {
    return new FreshetError('query_memory', 'The query needs more memory than it may use.', {
      hint: 'Read fewer rows or columns, group by fewer values, or raise engine.memory and engine.spill in the configuration.',
      cause: error,
    })
  }
  if (isMissingFile(error)) {
    return new FreshetError('corrupt_table', `A data file of the table is not there: ${text.split('\n')[0]}`, {
      hint: 'Run `freshet verify` on the data folder; it tells what is missing.',
      cause: error,
    })
  }
  const [head = '', ...rest] = text.replace(/^(Failed to extract statements: )?([A-Za-z ]+ Error: )?/, '').split('\n')
  const place = placeOf(text, sql)
  const hint =
    rest.find((line) => /^(Did you mean|Candidate bindings)/.test(line.trim()))?.trim() ?? keywordHint(sql, place)
  return new FreshetError('invalid_sql', head, {
    ...(hint === undefined ? {} : { hint }),
    cause: error,
    extra: { ...place },
  })
}

/** Words of SQL that are common names of columns. */
const keywords = 'at|check|column|default|desc|end|group|limit|offset|order|references|table|user|window'
const keywordBefore = new RegExp(`\\b(${keywords})\\s*,?\\s*$`, 'i')
const keywordHere = new RegExp(`^(${keywords})\\b`, 'i')

/** What to do where a syntax error is at, or right behind, a word that may have been meant as a column. */
function keywordHint(sql: string, place: { line: number; column: number } | undefined): string | undefined {
  if (place === undefined) return undefined
  const line = sql.split('\n')[place.line - 1]!
  const here = keywordHere.exec(line.slice(place.column - 1)) ?? keywordBefore.exec(line.slice(0, place.column - 1))
  return here ? `"${here[1]}" is a word of SQL: if it is a column here, write it in double quotes.` : undefined
}

/** DuckDB shows the line, shortened at either end, with a caret below. */
function placeOf(text: string, sql: string): { line: number; column: number } | undefined {
  const match = /\nLINE (\d+): (.*)\n( *)\^/.exec(text)
  if (match === null) return undefined
  const line = Number(match[1])
  const source = sql.split('\n')[line - 1]
  const shown = match[2]!
  const caret = match[3]!.length - `LINE ${match[1]}: `.length
  if (source === undefined) return undefined
  if (!shown.startsWith('...') || source.startsWith(shown)) return { line, column: caret + 1 }
  const part = shown.slice(3).replace(/\.\.\.$/, '')
  const at = source.indexOf(part)
  return at === -1 ? undefined : { line, column: at + caret - 3 + 1 }
}
