/** Named parameters of a statement: JSON values from the request, checked against the names that the statement uses. */
import {
  BIGINT,
  BOOLEAN,
  DOUBLE,
  LIST,
  VARCHAR,
  listValue,
  type DuckDBPreparedStatement,
  type DuckDBValue,
} from '@duckdb/node-api'
import { FreshetError } from '../../runtime/errors.ts'

export type Parameters = Readonly<Record<string, unknown>>

/**
 * Binds `parameters`.
 * @param usedElsewhere names that parts of the statement use which are not in `statement` any more
 * @throws FreshetError `invalid_sql` for names that are missing, unknown or numbered, and for values of no SQL type
 */
export function bindParameters(
  statement: DuckDBPreparedStatement,
  parameters: Parameters,
  usedElsewhere: ReadonlySet<string> = new Set(),
): void {
  const used = new Set<string>()
  for (let index = 1; index <= statement.parameterCount; index++) used.add(statement.parameterName(index))
  const numbered = [...used].filter((name) => /^\d+$/.test(name))
  if (numbered.length > 0) {
    throw new FreshetError('invalid_sql', 'Parameters must have names.', {
      hint: 'Write $symbol in place of ? or $1, and pass {"symbol": ...}.',
    })
  }
  const given = Object.keys(parameters)
  const missing = [...used].filter((name) => !given.includes(name))
  const unknown = given.filter((name) => !used.has(name) && !usedElsewhere.has(name))
  if (missing.length > 0 || unknown.length > 0) {
    const parts = [
      ...(missing.length > 0 ? [`no value for ${missing.map((name) => `$${name}`).join(', ')}`] : []),
      ...(unknown.length > 0 ? [`no use of ${unknown.map((name) => `$${name}`).join(', ')}`] : []),
    ]
    throw new FreshetError('invalid_sql', `Parameters and statement do not match: ${parts.join('; ')}.`, {
      hint: 'Each $name in the statement needs one value in "params".',
    })
  }
  for (const name of used) {
    const index = statement.parameterIndex(name)
    const value = parameters[name]
    if (Array.isArray(value)) {
      const { items, type } = listOf(name, value)
      statement.bindList(index, listValue(items), LIST(type))
    } else {
      const scalar = scalarOf(name, value)
      // Bound as HUGEINT, its default, a whole number would keep filters on BIGINT columns from skipping files.
      if (typeof scalar === 'bigint') statement.bindBigInt(index, scalar)
      else statement.bindValue(index, scalar)
    }
  }
}

function scalarOf(name: string, value: unknown): DuckDBValue {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value
  throw new FreshetError(
    'invalid_sql',
    `The parameter $${name} must be a string, number, boolean, null, or a list of one of them.`,
    {
      hint: 'Pass an object as JSON text and read it with ->> in the statement.',
    },
  )
}

function listOf(
  name: string,
  values: readonly unknown[],
): { items: DuckDBValue[]; type: typeof VARCHAR | typeof BIGINT | typeof DOUBLE | typeof BOOLEAN } {
  const items = values.map((value) => scalarOf(name, value))
  const kinds = new Set(items.filter((item) => item !== null).map((item) => typeof item))
  if (kinds.size === 2 && kinds.has('bigint') && kinds.has('number')) {
    return { items: items.map((item) => (typeof item === 'bigint' ? Number(item) : item)), type: DOUBLE }
  }
  if (kinds.size > 1) {
    throw new FreshetError('invalid_sql', `The list $${name} mixes types.`, {
      hint: 'A list holds strings, numbers or booleans only.',
    })
  }
  const [kind] = kinds
  return {
    items,
    type: kind === 'bigint' ? BIGINT : kind === 'number' ? DOUBLE : kind === 'boolean' ? BOOLEAN : VARCHAR,
  }
}
