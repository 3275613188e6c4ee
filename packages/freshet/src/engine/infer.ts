/**
 * Columns of events that nobody declared, from the shape DuckDB finds in them (`json_group_structure`): whole numbers are `long`,
 * others `double`, objects become structs, arrays lists, and whatever does not go together becomes text. A field whose values are
 * all null or empty has no type yet and waits for one that does. Strings stay strings: no guessing at dates.
 */
import type { Column, ColumnType, StreamPlan } from '../config/plan.ts'
import { mergeColumns, sameColumns } from './columns.ts'
import { presentColumns } from './present-columns.ts'

type Structure = string | [Structure] | { [name: string]: Structure }

/** More columns than this, and events that bring yet another go to the dead letters. */
export const columnsMax = 1000
const structFieldsMax = 200
const nameLengthMax = 255
const frameNames: ReadonlySet<string> = new Set(['_frame', '_crc'])
/** What `json_group_structure` says of values that do not go together, and of objects without fields too. */
const undecided = 'JSON'

export interface Inferred {
  columns: Column[]
  /** Top-level names that cannot be columns, with the reason. Events that use them go to the dead letters. */
  refused: Map<string, string>
}

/**
 * Grows `known` by what a batch of events holds.
 * @param structure what `json_group_structure` said of the batch, as JSON text
 * @param fixed names whose type is settled: system columns and declared ones
 * @param evolution former names of fields, which are no columns of their own, and fields that are not to be columns
 */
export function inferColumns(
  known: readonly Column[],
  structure: string,
  fixed: ReadonlySet<string>,
  evolution: Pick<StreamPlan, 'renames' | 'drops'> = {},
): Inferred {
  const shape = JSON.parse(structure) as Structure
  const refused = new Map<string, string>()
  if (typeof shape === 'string' || Array.isArray(shape)) return { columns: [...known], refused }
  const spelling = new Map([...known.map(({ name }) => name), ...fixed].map((name) => [name.toLowerCase(), name]))
  const found: Column[] = []
  const gone = new Set((evolution.drops ?? []).filter((path) => path.length === 1).map(([name]) => name))
  for (const [name, value] of Object.entries(shape)) {
    if (fixed.has(name) || frameNames.has(name) || gone.has(name)) continue
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
  const columns = mergeColumns(known, presentColumns(found, evolution, fixed))
  return { columns: sameColumns(columns, known) ? [...known] : columns, refused }
}

/**
 * A JSON text that tells empty objects from values that do not go together when it is grouped with the batch: an object with a
 * field where it matters which of the two there are. Undefined where it matters nowhere.
 */
export function emptyObjectProbe(
  known: readonly Column[],
  structure: string,
  fixed: ReadonlySet<string>,
): string | undefined {
  const shape = JSON.parse(structure) as Structure
  if (typeof shape === 'string' || Array.isArray(shape)) return undefined
  const own = Object.entries(shape).filter(([name]) => !fixed.has(name) && !frameNames.has(name))
  const probe = probeOf(Object.fromEntries(own), { kind: 'struct', fields: [...known] })
  return probe === undefined ? undefined : JSON.stringify(probe)
}

/** The structure of a batch, with `NULL` for empty objects, from those of the batch without and with its probe. */
export function withoutEmptyObjects(structure: string, probed: string): string {
  return JSON.stringify(settled(JSON.parse(structure) as Structure, JSON.parse(probed) as Structure))
}

function probeOf(shape: Structure, known: ColumnType | undefined): unknown {
  if (shape === undecided) return known === undefined || known.kind === 'struct' ? { _: 0 } : undefined
  if (typeof shape === 'string') return undefined
  if (Array.isArray(shape)) {
    const element = probeOf(shape[0], known?.kind === 'list' ? known.element : undefined)
    return element === undefined ? undefined : [element]
  }
  const types = new Map(known?.kind === 'struct' ? known.fields.map(({ name, type }) => [name, type]) : [])
  const fields = Object.entries(shape).map(([name, value]) => [name, probeOf(value, types.get(name))] as const)
  const found = fields.filter(([, value]) => value !== undefined)
  return found.length === 0 ? undefined : Object.fromEntries(found)
}

function settled(shape: Structure, probed: Structure): Structure {
  if (typeof probed === 'string') return shape
  if (shape === undecided) return Array.isArray(probed) ? shape : 'NULL'
  if (typeof shape === 'string') return shape
  if (Array.isArray(shape)) return Array.isArray(probed) ? [settled(shape[0], probed[0])] : shape
  if (Array.isArray(probed)) return shape
  const fields = Object.entries(shape).map(([name, value]) => [name, settled(value, probed[name] ?? value)] as const)
  return Object.fromEntries(fields)
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
    case 'HUGEINT':
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
