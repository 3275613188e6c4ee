/**
 * Expressions without columns, evaluated by DuckDB itself: on the query's connection, within its transaction, so that `now()` is the
 * query's own. Only expressions are evaluated whose every node is known to give the same value wherever it stands; all
 * others are no constants. What fails to evaluate is null and leaves the transaction whole.
 */
import type { DuckDBConnection, DuckDBValue } from '@duckdb/node-api'
import { parseJson, stringifyJson } from '../../lake/json.ts'
import type { Parameters } from './parameters.ts'
import { folded, type Node } from './syntax.ts'

/** They compute from their arguments, or from the transaction's time, or from what is set for the query as a whole. */
const functions = new Set(
  `+ - * // % || abs ago ceil ceiling complete_through concat date_add date_diff date_part date_sub date_trunc datediff datepart
   datesub datetrunc epoch epoch_ms epoch_us extract floor get_current_timestamp greatest last_day least lower make_date
   make_time make_timestamp make_timestamp_ms make_timestamptz now replace round starts_with strptime substr substring time_bucket
   timezone to_centuries to_days to_decades to_hours to_microseconds to_milliseconds to_minutes to_months to_quarters
   to_seconds to_timestamp to_weeks to_years today transaction_timestamp trim trunc try_strptime upper`
    .trim()
    .split(/\s+/),
)

/** Whether `node` is an expression that `evaluate` takes, with these parameters. */
export function isConstant(node: Node, parameters: Parameters): boolean {
  switch (node['class']) {
    case 'CONSTANT':
      return true
    case 'PARAMETER':
      return constantOf(parameters[String(node['identifier'])]) !== undefined
    case 'CAST':
      return isConstant(node['child'] as Node, parameters)
    case 'OPERATOR':
      return node['type'] === 'OPERATOR_COALESCE' && ownConstants(node, parameters)
    case 'FUNCTION': {
      const plain = node['filter'] === null && node['distinct'] === false && node['catalog'] === ''
      const schema = folded(node['schema'])
      const known = functions.has(folded(node['function_name'])) && (schema === '' || schema === 'main')
      return plain && known && ownConstants(node, parameters)
    }
    default:
      return false
  }
}

/** The type of a parameter inside an expression depends on what is around it, unless it is cast at once. */
function ownConstants(node: Node, parameters: Parameters): boolean {
  return (node['children'] as Node[]).every((child) => child['class'] !== 'PARAMETER' && isConstant(child, parameters))
}

/** A constant as a node of the tree. @param id DuckDB's name of its type */
export function constantNode(id: string, value: unknown): Node {
  return {
    class: 'CONSTANT',
    type: 'VALUE_CONSTANT',
    alias: '',
    value: { type: { id, type_info: null }, is_null: false, value },
  }
}

/** The constant that a parameter stands for; undefined for one that cannot be a constant. */
function constantOf(value: unknown): Node | undefined {
  if (typeof value === 'string') return constantNode('VARCHAR', value)
  if (typeof value !== 'number' || !Number.isFinite(value)) return undefined
  const type = Number.isSafeInteger(value) ? 'BIGINT' : 'DOUBLE'
  // The type of a bare number would be found anew from its text.
  return {
    class: 'CAST',
    type: 'OPERATOR_CAST',
    alias: '',
    child: constantNode(type, value),
    cast_type: { id: type, type_info: null },
    try_cast: false,
  }
}

/** The tree with the values of parameters in their places. */
function withValues(value: unknown, parameters: Parameters): unknown {
  if (Array.isArray(value)) return value.map((item) => withValues(item, parameters))
  if (typeof value !== 'object' || value === null) return value
  if ((value as Node)['class'] === 'PARAMETER') return constantOf(parameters[String((value as Node)['identifier'])])
  const members = Object.entries(value).filter(([key]) => key !== 'query_location')
  return Object.fromEntries(members.map(([key, member]) => [key, withValues(member, parameters)]))
}

/** The SQL texts of constants, written by DuckDB. */
export async function textsOf(
  connection: DuckDBConnection,
  nodes: readonly Node[],
  parameters: Parameters,
): Promise<string[]> {
  if (nodes.length === 0) return []
  const template = await connection.runAndReadAll("SELECT json_serialize_sql('SELECT 1')")
  const statement = parseJson(template.getRows()[0]![0] as string) as { statements: [{ node: Node }] }
  const texts = nodes.map((node) => {
    statement.statements[0].node['select_list'] = [withValues({ ...node, alias: '' }, parameters)]
    return stringifyJson(statement)
  })
  const calls = texts.map((_, index) => `json_deserialize_sql(CAST($${index + 1} AS JSON))`)
  const result = await connection.runAndReadAll(`SELECT ${calls.join(', ')}`, texts)
  return (result.getRows()[0] as string[]).map((text) => text.replace(/^SELECT /, ''))
}

/**
 * The values of SQL expressions; undefined when they cannot be had, and the transaction may have ended by it. Those that could fail
 * as they run have to stand within TRY, which gives null then.
 */
export async function valuesOf(
  connection: DuckDBConnection,
  expressions: readonly string[],
): Promise<DuckDBValue[] | undefined> {
  if (expressions.length === 0) return []
  try {
    const result = await connection.runAndReadAll(`SELECT ${expressions.join(', ')}`)
    return [...result.getRows()[0]!]
  } catch {
    return undefined
  }
}
