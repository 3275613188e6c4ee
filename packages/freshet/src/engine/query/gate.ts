/**
 * The gate in front of DuckDB. It admits one SELECT, or EXPLAIN of one, that reads streams and system tables and calls functions of
 * the allow-list; everything else is refused before it is bound. It decides on DuckDB's own syntax tree (`json_serialize_sql`,
 * which exists for SELECT only), never on the text, and refuses node types that it does not know.
 *
 * Unqualified names reach the streams' views only: hot tables are in a schema that is on no search path, and names that DuckDB
 * would take for files or catalog views are refused as unknown tables.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { parseJson } from '../../lake/json.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { nearest } from '../../config/spelling.ts'
import { pastReferences, rewriteAt, type StreamReference } from './at-clause.ts'
import { completeThroughFunction, scalarFunctions, tableFunctions } from './functions.ts'
import { placeAt, sqlError } from './sql-error.ts'
import { folded, offsetOf, parametersIn, type Node } from './syntax.ts'

export interface GateContext {
  /** Names of the streams that may be read. */
  streams: ReadonlySet<string>
  /** Tables of the schema `freshet`. */
  systemTables: ReadonlySet<string>
}

export interface Admitted {
  /** The statement without a closing semicolon; references to a stream as it was are ones to views of their own. */
  sql: string
  kind: 'select' | 'explain'
  /** Streams it reads. */
  streams: Set<string>
  /** Each place where it reads one. */
  references: readonly StreamReference[]
  /** The syntax tree of the SELECT. */
  tree: Node
  /** Parameters that say as of when a stream is read; they are not in `sql`, unless they stand elsewhere too. */
  atParameters: ReadonlySet<string>
  /** System tables it reads. */
  systemTables: Set<string>
  /** Whether it asks how far streams are complete. */
  callsCompleteThrough: boolean
}

/** Longer texts are refused before they are parsed. */
export const sqlLengthMax = 256 * 1024
const explainPattern = /^\s*explain(\s+analyze)?\s+(?=\S)/i

/**
 * Checks a statement.
 * @throws FreshetError `invalid_sql` when it does not parse, `forbidden_sql` when it may not run
 */
export async function admit(connection: DuckDBConnection, sql: string, context: GateContext): Promise<Admitted> {
  if (sql.length > sqlLengthMax) {
    throw new FreshetError('invalid_sql', `The statement has ${sql.length} characters; ${sqlLengthMax} are the most.`)
  }
  // DuckDB takes it for the end of the text in some places and not in others.
  const nul = sql.indexOf('\0')
  if (nul !== -1) {
    throw new FreshetError('invalid_sql', 'The statement has a NUL character.', { extra: { ...placeAt(sql, nul) } })
  }
  const count = await countStatements(connection, sql)
  if (count !== 1) {
    throw new FreshetError('forbidden_sql', count === 0 ? 'There is no statement.' : `There are ${count} statements.`, {
      hint: 'Send one SELECT at a time.',
    })
  }
  const explain = explainPattern.exec(sql)
  const select = explain ? sql.slice(explain[0].length) : sql
  const checked = await check(connection, select, context)
  const {
    sql: text,
    tree,
    references,
    systemTables,
    callsCompleteThrough,
  } = await withoutAt(connection, checked, context)
  return {
    sql: withoutEnd((explain?.[0] ?? '') + text),
    kind: explain ? 'explain' : 'select',
    streams: new Set(references.map(({ stream }) => stream)),
    references,
    tree,
    atParameters: parametersIn(references.map(({ at }) => at?.expression)),
    systemTables,
    callsCompleteThrough,
  }
}

interface Checked extends Pick<Admitted, 'tree' | 'references' | 'systemTables' | 'callsCompleteThrough'> {
  sql: string
}

/** Parses a SELECT and walks its tree. */
async function check(connection: DuckDBConnection, sql: string, context: GateContext): Promise<Checked> {
  const parsed = await parse(connection, sql)
  const statements = parsed['statements']
  if (parsed['error'] !== false || !Array.isArray(statements) || statements.length !== 1) {
    throw new FreshetError('forbidden_sql', 'Only SELECT and EXPLAIN of a SELECT are allowed here.', {
      hint: 'Events are written with POST /v1/streams/{stream}/events; tables are made by the configuration.',
    })
  }
  const tree = statements[0] as Node
  const walker = new Walker(context, sql)
  walker.visit(tree, new Set())
  const { references, systemTables, callsCompleteThrough } = walker
  return { sql, tree, references, systemTables, callsCompleteThrough }
}

/** The statement without AT clauses. What is going to run is what was checked, so the new text is checked like any other. */
async function withoutAt(connection: DuckDBConnection, checked: Checked, context: GateContext): Promise<Checked> {
  const past = pastReferences(checked.sql, checked.references)
  if (past.length === 0) return checked
  const byView = new Map(past.map((reference) => [reference.view, reference]))
  const streams = new Set([...context.streams, ...byView.keys()])
  const again = await check(connection, rewriteAt(checked.sql, past), { ...context, streams })
  const references = again.references.map((reference) => {
    const own = byView.get(reference.stream)
    return own ? { ...own, node: reference.node } : reference
  })
  if (references.length !== checked.references.length) throw new Error('A statement reads other tables than before')
  return { ...again, references }
}

async function countStatements(connection: DuckDBConnection, sql: string): Promise<number> {
  try {
    return (await connection.extractStatements(sql)).count
  } catch (error) {
    throw sqlError(error, sql)
  }
}

async function parse(connection: DuckDBConnection, select: string): Promise<Node> {
  const result = await connection.runAndReadAll('SELECT json_serialize_sql(CAST($1 AS VARCHAR))', [select])
  // Snapshot ids have 63 bits.
  return parseJson(result.getRows()[0]![0] as string) as Node
}

function withoutEnd(sql: string): string {
  return sql.replace(/(\s*;)+\s*$/, '')
}

const relationTypes = new Set([
  'BASE_TABLE',
  'JOIN',
  'SUBQUERY',
  'TABLE_FUNCTION',
  'EXPRESSION_LIST',
  'EMPTY',
  'PIVOT',
  'SHOW_REF',
])
const describeTypes = new Set(['DESCRIBE', 'SUMMARY'])
const queryTypes = new Set(['SELECT_NODE', 'SET_OPERATION_NODE', 'RECURSIVE_CTE_NODE'])
const expressionClasses = new Set([
  'BETWEEN',
  'CASE',
  'CAST',
  'COLLATE',
  'COLUMN_REF',
  'COMPARISON',
  'CONJUNCTION',
  'CONSTANT',
  'FUNCTION',
  'LAMBDA',
  'OPERATOR',
  'PARAMETER',
  'POSITIONAL_REFERENCE',
  'STAR',
  'SUBQUERY',
  'TYPE',
  'WINDOW',
])

class Walker {
  readonly references: StreamReference[] = []
  readonly systemTables = new Set<string>()
  callsCompleteThrough = false
  readonly #context: GateContext
  readonly #sql: string

  constructor(context: GateContext, sql: string) {
    this.#context = context
    this.#sql = sql
  }

  /** @param names common table expressions in scope, folded */
  visit(value: unknown, names: ReadonlySet<string>): void {
    if (Array.isArray(value)) {
      for (const item of value) this.visit(item, names)
      return
    }
    if (typeof value !== 'object' || value === null) return
    const node = value as Node
    const inner = this.#withExpressions(node, names)
    this.#checkNode(node, inner)
    for (const [key, child] of Object.entries(node)) {
      if (key !== 'cte_map') this.visit(child, key === 'left' && node['type'] === 'RECURSIVE_CTE_NODE' ? names : inner)
    }
  }

  /** Visits a query node's common table expressions; each sees those before it, and itself only if it is recursive. */
  #withExpressions(node: Node, names: ReadonlySet<string>): ReadonlySet<string> {
    const map = (node['cte_map'] as { map?: { key: string; value: unknown }[] } | undefined)?.map
    const scope = new Set(names)
    if (node['type'] === 'RECURSIVE_CTE_NODE') scope.add(folded(node['cte_name']))
    for (const { key, value } of map ?? []) {
      this.visit(value, scope)
      scope.add(folded(key))
    }
    return scope
  }

  #checkNode(node: Node, names: ReadonlySet<string>): void {
    if ('cte_map' in node && !queryTypes.has(String(node['type']))) {
      throw this.#refuse(node, `${String(node['type'])} is not allowed here.`)
    }
    if (typeof node['class'] === 'string' && !expressionClasses.has(node['class'])) {
      throw this.#refuse(node, `An expression of the kind ${node['class']} is not allowed here.`)
    }
    if ('from_table' in node) this.#checkRelation(node['from_table'] as Node | null)
    if ('join_type' in node) {
      this.#checkRelation(node['left'] as Node)
      this.#checkRelation(node['right'] as Node)
    }
    if (node['type'] === 'PIVOT') this.#checkRelation(node['source'] as Node)
    if ('table_name' in node && node['type'] === 'BASE_TABLE') this.#checkTable(node, names)
    if (node['type'] === 'SHOW_REF' && !(node['query'] && describeTypes.has(String(node['show_type'])))) {
      throw this.#refuse(node, 'SHOW is not allowed here.', 'SELECT * FROM freshet.streams lists the streams.')
    }
    if (node['type'] === 'TABLE_FUNCTION') {
      const call = node['function'] as Node
      this.#checkFunction(call, tableFunctions, 'table function')
    } else if (typeof node['function_name'] === 'string' && !tableFunctions.has(folded(node['function_name']))) {
      this.#checkFunction(node, scalarFunctions, 'function')
    }
  }

  #checkRelation(relation: Node | null): void {
    const type = relation?.['type']
    if (relation && !relationTypes.has(String(type)))
      throw this.#refuse(relation, `${String(type)} is not allowed in FROM.`)
  }

  #checkTable(node: Node, names: ReadonlySet<string>): void {
    const table = String(node['table_name'])
    const schema = folded(node['schema_name'])
    const catalog = String(node['catalog_name'])
    const isNow = node['at_clause'] === null
    if (isNow && catalog === '' && schema === '' && names.has(folded(table))) return
    if (isNow && catalog === '' && schema === 'freshet' && this.#context.systemTables.has(folded(table))) {
      this.systemTables.add(folded(table))
      return
    }
    const shadowed = schema === '' && names.has(folded(table))
    const isStream = catalog === '' && (schema === '' || schema === 'main') && this.#context.streams.has(folded(table))
    if (isStream && !shadowed) {
      this.references.push({ stream: folded(table), node, view: folded(table), at: undefined })
      return
    }
    if (shadowed || (!isNow && schema === 'freshet')) throw this.#refuse(node, 'AT is for streams only.')
    const known = [...this.#context.streams, ...[...this.#context.systemTables].map((name) => `freshet.${name}`)]
    const name = [catalog, String(node['schema_name']), table].filter((part) => part !== '').join('.')
    const close = nearest(name.toLowerCase(), known)
    throw this.#refuse(
      node,
      `There is no stream or table "${name}".`,
      close === undefined ? 'SELECT name FROM freshet.streams lists the streams.' : `Did you mean "${close}"?`,
    )
  }

  #checkFunction(node: Node, allowed: ReadonlySet<string>, what: string): void {
    const name = String(node['function_name'])
    const schema = folded(node['schema'] ?? '')
    const catalog = folded(node['catalog'] ?? '')
    if (folded(name) === completeThroughFunction && allowed === scalarFunctions) this.#checkCompleteThrough(node)
    if (allowed.has(folded(name)) && (schema === '' || schema === 'main') && catalog === '') return
    const close = nearest(name.toLowerCase(), [...allowed])
    throw this.#refuse(
      node,
      `The ${what} "${name}" is not allowed here.`,
      close === undefined ? 'docs/sql.md says which functions there are.' : `Did you mean "${close}"?`,
    )
  }

  /** A stream that is named in the statement itself must be there; what a column or parameter names may be anything. */
  #checkCompleteThrough(node: Node): void {
    this.callsCompleteThrough = true
    for (const argument of node['children'] as Node[]) {
      const value = argument['class'] === 'CONSTANT' ? (argument['value'] as Node)['value'] : undefined
      if (typeof value !== 'string' || this.#context.streams.has(folded(value))) continue
      const close = nearest(value.toLowerCase().slice(0, 100), this.#context.streams)
      throw this.#refuse(
        node,
        `There is no stream ${JSON.stringify(value.slice(0, 100))}.`,
        close === undefined ? 'SELECT name FROM freshet.streams lists the streams.' : `Did you mean "${close}"?`,
      )
    }
  }

  #refuse(node: Node, message: string, hint?: string): FreshetError {
    const offset = offsetOf(node, this.#sql)
    const place = offset === undefined ? {} : placeAt(this.#sql, offset)
    return new FreshetError('forbidden_sql', message, { ...(hint === undefined ? {} : { hint }), extra: { ...place } })
  }
}
