/**
 * Columns of events that nobody declared, from the shape DuckDB finds in them (`json_group_structure`): whole numbers are `long`,
 * others `double`, objects become structs, arrays lists, and whatever does not go together becomes text. A field whose values are
 * all null or empty has no type yet and waits for one that does. Strings stay strings: no guessing at dates.
 */
import type { Column, ColumnType } from '../config/plan.ts'
import { mergeColumns, sameColumns } from './columns.ts'

type Structure = string | [Structure] | { [name: string]: Structure }

/** More columns than this, and events that bring yet another go to the dead letters. */
export const columnsMax = 1000
const structFieldsMax = 200
const nameLengthMax = 255

export interface Inferred {
  columns: Column[]
  /** Top-level names that cannot be columns, with the reason. Events that use them go to the dead letters. */
  refused: Map<string, string>
}

/**
 * Grows `known` by what a batch of events holds.
 * @param structure what `json_group_structure` said of the batch, as JSON text
 * @param fixed names whose type is settled: system columns and declared ones
 */
export function inferColumns(known: readonly Column[], structure: string, fixed: ReadonlySet<string>): Inferred {
  const shape = JSON.parse(structure) as Structure
  const refused = new Map<string, string>()
  if (typeof shape === 'string' || Array.isArray(shape)) return { columns: [...known], refused }
  const spelling = new Map([...known.map(({ name }) => name), ...fixed].map((name) => [name.toLowerCase(), name]))
  const found: Column[] = []
  for (const [name, value] of Object.entries(shape)) {
    if (fixed.has(name) || name === '_frame' || name === '_crc') continue
    const type = typeOf(value)
    const problem = nameProblem(name, spelling)
    if (problem !== undefined) refused.set(name, problem)
    else if (type !== undefined) {
      if (!spelling.has(name.toLowerCase()) && spelling.size >= columnsMax) {
        refused.set(name, `the stream has ${columnsMax} columns, which is the most it may have`)
        continue
      }
      spelling.set(name.toLowerCase(), name)
      found.push({ name, type })
    }
  }
  const columns = mergeColumns(known, found)
  return { columns: sameColumns(columns, known) ? [...known] : columns, refused }
}

function nameProblem(name: string, spelling: ReadonlyMap<string, string>): string | undefined {
  if (!usableName(name)) return `a field name must have 1 to ${nameLengthMax} characters and no control characters`
  const other = spelling.get(name.toLowerCase())
  return other === undefined || other === name
    ? undefined
    : `it differs from the column "${other}" only by upper and lower case`
}

function usableName(name: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return name.length > 0 && name.length <= nameLengthMax && !/[\u0000-\u001f]/.test(name)
}

function typeOf(structure: Structure): ColumnType | undefined {
  if (Array.isArray(structure)) {
    const element = typeOf(structure[0])
    return element && { kind: 'list', element }
  }
  if (typeof structure === 'object') return structOf(structure)
  switch (structure) {
    case 'NULL':
      return undefined
    case 'BOOLEAN':
      return { kind: 'boolean' }
    case 'UBIGINT':
    case 'BIGINT':
      return { kind: 'long' }
    case 'DOUBLE':
      return { kind: 'double' }
    default:
      return { kind: 'string' }
  }
}

/** A struct, or text when its field names cannot be columns of one. */
function structOf(structure: { [name: string]: Structure }): ColumnType | undefined {
  const names = Object.keys(structure)
  const distinct = new Set(names.map((name) => name.toLowerCase()))
  if (names.length > structFieldsMax || distinct.size < names.length || !names.every(usableName))
    return { kind: 'string' }
  const fields: Column[] = []
  for (const name of names) {
    const type = typeOf(structure[name]!)
    if (type !== undefined) fields.push({ name, type })
  }
  return fields.length === 0 ? undefined : { kind: 'struct', fields }
}
