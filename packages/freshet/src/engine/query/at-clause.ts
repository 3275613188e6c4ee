/**
 * `FROM trades AT (VERSION => ...)` and `AT (TIMESTAMP => ...)`: DuckDB parses them and cannot run them on views. So each such reference
 * becomes one of a view of its own, which shows the stream as it was, in a text of the same length: what is said of the
 * rest of the statement keeps its place.
 */
import { FreshetError } from '../../runtime/errors.ts'
import { identifier } from '../sql-text.ts'
import { offsetOf, type Node } from './syntax.ts'

/** What a reference asks for. */
export interface AtClause {
  unit: 'VERSION' | 'TIMESTAMP'
  expression: Node
}

/** One reference of a statement to a stream. */
export interface StreamReference {
  stream: string
  /** The BASE_TABLE node. */
  node: Node
  /** Name of the temporary view that it reads. */
  view: string
  at: AtClause | undefined
}

/** A reference to a stream as it was, and where it stands. */
export interface PastReference extends StreamReference {
  at: AtClause
  start: number
  end: number
}

/**
 * The references to streams as they were, each with a view of its own.
 * @param sql what was parsed
 * @throws FreshetError `invalid_sql`
 */
export function pastReferences(sql: string, references: readonly StreamReference[]): PastReference[] {
  let number = 0
  return references
    .filter(({ node }) => node['at_clause'] !== null)
    .map((reference) => {
      let view: string
      do view = `_${++number}`
      while (sql.includes(view))
      const start = offsetOf(reference.node, sql)
      const end = start === undefined ? undefined : endOfClause(sql, start)
      if (start === undefined || end === undefined) {
        throw new FreshetError('invalid_sql', `The AT clause of ${reference.stream} cannot be read.`, {
          hint: 'Write FROM stream AT (VERSION => 123), an alias in front of AT.',
        })
      }
      const clause = reference.node['at_clause'] as Node
      const unit = String(clause['unit']).toUpperCase() === 'VERSION' ? 'VERSION' : 'TIMESTAMP'
      return { ...reference, view, at: { unit, expression: clause['expr'] as Node }, start, end }
    })
}

/** The statement with references to the views in place of those to streams as they were. */
export function rewriteAt(sql: string, references: readonly PastReference[]): string {
  let text = sql
  for (const reference of references.toSorted((a, b) => b.start - a.start)) {
    const { start, end } = reference
    text = text.slice(0, start) + inPlaceOf(text.slice(start, end), viewOf(reference)) + text.slice(end)
  }
  return text
}

function viewOf({ node, view }: StreamReference): string {
  const alias = String(node['alias'])
  const shown = identifier(alias === '' ? String(node['table_name']) : alias)
  const names = node['column_name_alias'] as string[]
  const columns = names.length === 0 ? '' : `(${names.map(identifier).join(',')})`
  return `${view} AS ${shown}${columns}`
}

/** Where the first AT clause behind `start` ends. */
function endOfClause(sql: string, start: number): number | undefined {
  const tokens = new RegExp(tokenPattern, 'uy')
  tokens.lastIndex = start
  let previous = ''
  let depth = 0
  for (let match = tokens.exec(sql); match !== null; match = tokens.exec(sql)) {
    const token = match[0]
    if (/^(\s|--|\/\*)/.test(token)) continue
    if (token === '(') {
      if (depth > 0 || previous === 'at') depth++
      else skipParentheses(sql, tokens)
    } else if (token === ')' && depth > 0) {
      depth--
      if (depth === 0) return tokens.lastIndex
    }
    previous = token.toLowerCase()
  }
  return undefined
}

/** The column names behind an alias. */
function skipParentheses(sql: string, tokens: RegExp): void {
  for (let depth = 1, match = tokens.exec(sql); match !== null; match = tokens.exec(sql)) {
    if (match[0] === '(') depth++
    else if (match[0] === ')') depth--
    if (depth === 0) return
  }
}

/** Space, comments, texts, quoted names, dollar-quoted texts, words, and single characters. */
const tokenPattern = [
  String.raw`\s+`,
  String.raw`--[^\n]*`,
  String.raw`\/\*[\s\S]*?\*\/`,
  String.raw`[eE]'(?:[^'\\]|\\[\s\S]|'')*'`,
  String.raw`'(?:[^']|'')*'`,
  String.raw`"(?:[^"]|"")*"`,
  String.raw`\$(\w*)\$[\s\S]*?\$\1\$`,
  String.raw`[\p{L}_][\p{L}\p{N}_$]*`,
  String.raw`[\s\S]`,
].join('|')

/** `text` in as much room as `former` has, where it fits, with line breaks where they were. */
function inPlaceOf(former: string, text: string): string {
  const rest = former.slice(text.length).replace(/[^\n]/g, ' ')
  const lost = former.slice(0, text.length).split('\n').length - 1
  return text + '\n'.repeat(lost) + rest
}
