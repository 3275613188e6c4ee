/**
 * A condition over the columns of one stream that says what is to be erased, or which dead letters are meant. It goes through the query gate
 * as the WHERE of a SELECT; beyond that it must be one expression of the stream's own columns, without subqueries or parameters. For an
 * erasure it may have nothing whose value differs from one run to the next: it may be resumed days later, and has to mean the same then.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { createHash } from 'node:crypto'
import { parseJson } from '../../lake/json.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { admit } from '../query/gate.ts'
import { identifier } from '../sql-text.ts'

/** A value that is written in a condition. */
export interface Literal {
  kind: 'string' | 'number'
  /** A string's characters; a number as it is written. */
  text: string
}

export interface Predicate {
  /** The condition, as it was given. */
  where: string
  literals: Literal[]
  /** The condition with a hash in the place of each literal. */
  redacted: string
}

type Node = { [key: string]: unknown }

export interface PredicateContext {
  stream: string
  /** Names of the stream's columns. */
  columns: readonly string[]
  /** Columns by the names that they had before. */
  former?: ReadonlyMap<string, string>
  /** Whether it has to mean the same each time that it is evaluated; it has to, if left out. */
  isStable?: boolean
  /** What hashes are made with, so that values cannot be looked up in a table of hashes. */
  salt: string
}

const whereBytesMax = 16 * 1024
const literalsMax = 1000
const refusedClasses: Readonly<Record<string, string>> = {
  SUBQUERY: 'a subquery',
  WINDOW: 'a window function',
  PARAMETER: 'a parameter',
  STAR: '*',
  POSITIONAL_REFERENCE: 'a column by its number',
}
/** Functions of the gate's list whose values change from one run to the next, or that take rows together. */
const unstableFunctions = new Set(
  `ago current_date current_localtime current_localtimestamp gen_random_uuid get_current_time get_current_timestamp now random
  today transaction_timestamp uuid uuidv4 uuidv7 complete_through version`.split(/\s+/),
)

/** @throws FreshetError `invalid_sql`, `forbidden_sql` with `line` and `column` in the condition where they are known */
export async function readPredicate(
  connection: DuckDBConnection,
  where: string,
  context: PredicateContext,
): Promise<Predicate> {
  if (Buffer.byteLength(where) > whereBytesMax) {
    throw new FreshetError('invalid_sql', `A condition may have ${whereBytesMax} bytes at most.`)
  }
  if (where.trim() === '') throw new FreshetError('invalid_sql', 'The condition is empty.', { hint: example })
  const head = `SELECT 1 FROM ${identifier(context.stream)} WHERE`
  // Without brackets, so that it is one expression and not the end of one and the beginning of another.
  const sql = `${head}\n${where}\n`
  await inCondition(() => admit(connection, sql, { streams: new Set([context.stream]), systemTables: new Set() }))
  const condition = conditionOf(await parse(connection, sql))
  if (condition === undefined)
    throw new FreshetError('forbidden_sql', 'The condition has more than one expression.', { hint: example })
  const found = new Walker(context).walk(condition)
  const text = Buffer.from(sql)
  const places = found.map((node) => placeOf(text, node))
  const literals = places.map(({ literal }) => literal)
  const start = Buffer.byteLength(head) + 1
  return {
    where,
    literals: distinct(literals),
    redacted: redact(text.subarray(start, -1), places, start, context.salt),
  }
}

/** The literal's hash, as it stands in a redacted condition. */
export function literalHash(text: string, salt: string): string {
  return `sha256:${createHash('sha256').update(salt).update(text).digest('hex').slice(0, 32)}`
}

const example = `Give a condition over the stream's columns, like customer_id = 'c-17'.`

async function parse(connection: DuckDBConnection, sql: string): Promise<Node> {
  const result = await connection.runAndReadAll('SELECT json_serialize_sql(CAST($1 AS VARCHAR))', [sql])
  return parseJson(result.getRows()[0]![0] as string) as Node
}

/** The condition of a statement that has nothing else; undefined when it has. */
function conditionOf(tree: Node): Node | undefined {
  const statements = tree['statements'] as { node: Node }[]
  const node = statements[0]?.node
  if (statements.length !== 1 || node?.['type'] !== 'SELECT_NODE') return undefined
  const alone = ['modifiers', 'group_expressions', 'group_sets', 'having', 'sample', 'qualify'].every((key) =>
    isEmpty(node[key]),
  )
  const isPlain =
    (node['from_table'] as Node)['type'] === 'BASE_TABLE' && (node['select_list'] as unknown[]).length === 1
  const isPlainSelect = isPlain && node['aggregate_handling'] === 'STANDARD_HANDLING'
  return alone && isPlainSelect ? (node['where_clause'] as Node) : undefined
}

function isEmpty(value: unknown): boolean {
  return value === null || (Array.isArray(value) && value.length === 0)
}

/** Positions in the statement become positions in the condition, which begins on its second line. */
async function inCondition<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof FreshetError)) throw error
    const line = error.extra['line']
    const extra = typeof line === 'number' ? { ...error.extra, line: Math.max(1, line - 1) } : error.extra
    throw new FreshetError(error.code, error.message, { hint: example, extra })
  }
}

/** Checks the expressions of a condition and gathers its literals. */
class Walker {
  readonly #stream: string
  readonly #columns: ReadonlySet<string>
  readonly #former: ReadonlyMap<string, string>
  readonly #isStable: boolean
  readonly #literals: Node[] = []

  constructor({ stream, columns, former = new Map(), isStable = true }: PredicateContext) {
    this.#isStable = isStable
    this.#stream = stream.toLowerCase()
    this.#columns = new Set(columns.map((name) => name.toLowerCase()))
    this.#former = new Map([...former].map(([name, column]) => [name.toLowerCase(), column]))
  }

  walk(condition: Node): Node[] {
    this.#visit(condition, new Set())
    if (this.#literals.length > literalsMax) {
      throw new FreshetError('forbidden_sql', `A condition may have ${literalsMax} values at most.`)
    }
    return this.#literals
  }

  /** @param names parameters of lambdas in scope */
  #visit(value: unknown, names: ReadonlySet<string>): void {
    if (Array.isArray(value)) for (const item of value) this.#visit(item, names)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return
    const node = value as Node
    const refused = refusedClasses[String(node['class'])]
    if (refused !== undefined) throw forbidden(`This condition cannot have ${refused}.`)
    const call = node['function_name']
    if (this.#isStable && typeof call === 'string' && unstableFunctions.has(call.toLowerCase())) {
      throw forbidden(`"${call}" has another value each time: this condition needs one that stays.`)
    }
    if (node['class'] === 'CONSTANT') {
      const { is_null: isNull, type } = node['value'] as { is_null: boolean; type: { id: string } }
      if (!isNull && type.id !== 'BOOLEAN') this.#literals.push(node)
      return
    }
    if (node['class'] === 'COLUMN_REF') this.#checkColumn(node['column_names'] as string[], names)
    const inner = node['class'] === 'LAMBDA' ? new Set([...names, ...namesIn(node['lhs'])]) : names
    for (const child of Object.values(node)) this.#visit(child, inner)
  }

  #checkColumn(path: readonly string[], names: ReadonlySet<string>): void {
    const [first = '', second] = path.map((name) => name.toLowerCase())
    if (this.#columns.has(first) || names.has(first)) return
    if (first === this.#stream && second !== undefined && this.#columns.has(second)) return
    const present = this.#former.get(first)
    throw forbidden(
      `There is no column "${path.join('.')}" in ${this.#stream}.`,
      present === undefined ? example : `It is called ${present}, in events and files from before too: say that.`,
    )
  }
}

/** Names of the columns in a lambda's left side: its parameters. */
function namesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  const node = value as Node
  const own = Array.isArray(node['column_names'])
    ? (node['column_names'] as string[]).map((name) => name.toLowerCase())
    : []
  return [...own, ...Object.values(node).flatMap(namesIn)]
}

function forbidden(message: string, hint = example): FreshetError {
  return new FreshetError('forbidden_sql', message, { hint })
}

interface LiteralPlace {
  literal: Literal
  /** Bytes of the statement; undefined where its place is not certain. */
  range: [start: number, end: number] | undefined
}

/** Where a literal stands in the text: DuckDB says where it begins. */
function placeOf(text: Buffer, node: Node): LiteralPlace {
  const { type, value } = node['value'] as { type: { id: string }; value: unknown }
  const start = Number(node['query_location'])
  const rest = Number.isSafeInteger(start) && start < text.length ? text.toString('utf8', start) : ''
  if (type.id === 'VARCHAR') {
    const string = String(value)
    const written = /^'(?:[^']|'')*'/.exec(rest)?.[0]
    const isIt = written !== undefined && written.slice(1, -1).replaceAll("''", "'") === string
    return { literal: { kind: 'string', text: string }, range: isIt ? rangeOf(start, written) : undefined }
  }
  const written = /^[+-]?\s*(?:0[xb][\da-f_]+|[\d_]*\.?[\d_]+(?:e[+-]?\d+)?|\d+\.)/i.exec(rest)?.[0]
  const number = written === undefined ? String(value) : written.replaceAll(/[\s_]/g, '')
  return {
    literal: { kind: 'number', text: number },
    range: written === undefined ? undefined : rangeOf(start, written),
  }
}

function rangeOf(start: number, written: string): [number, number] {
  return [start, start + Buffer.byteLength(written)]
}

/** The condition with hashes for literals; where the place of one is not certain, a hash of it all. */
function redact(where: Buffer, places: readonly LiteralPlace[], offset: number, salt: string): string {
  const ranges = places.map(({ range }) => range)
  if (ranges.includes(undefined)) return literalHash(where.toString(), salt)
  const ordered = places.toSorted((a, b) => a.range![0] - b.range![0])
  let text = ''
  let at = 0
  for (const { literal, range } of ordered) {
    const [start, end] = range!.map((place) => place - offset) as [number, number]
    text += `${where.toString('utf8', at, start)}'${literalHash(literal.text, salt)}'`
    at = end
  }
  const redacted = text + where.toString('utf8', at)
  // A comment may repeat what was taken out.
  const isClean =
    !/--|\/\*/.test(redacted) &&
    places.every(({ literal }) => literal.text.length < 4 || !redacted.includes(literal.text))
  return isClean ? redacted : literalHash(where.toString(), salt)
}

function distinct(literals: readonly Literal[]): Literal[] {
  return [...new Map(literals.map((one) => [`${one.kind} ${one.text}`, one])).values()]
}
