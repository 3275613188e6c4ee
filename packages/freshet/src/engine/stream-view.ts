/**
 * The SQL of a stream's view: the data files of one snapshot and the hot tables behind it, each brought to the same columns.
 * Files are read by field id, so renamed, added and nested columns need no care; a field that continues an older one of another
 * type falls back to it.
 */
import type { Column } from '../config/plan.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import { currentSchema, formerFields } from '../lake/metadata.ts'
import { columnsOf, type IcebergSchema } from '../lake/schema.ts'
import { castTo, storedType } from './columns.ts'
import type { HotTable } from './hot-table.ts'
import { identifier, literal } from './sql-text.ts'

/** What a view needs to know of the committed part. */
export interface CommittedFiles {
  schema: IcebergSchema
  /** Field ids that a field continues, newest first, by its own id. */
  formerFields: ReadonlyMap<number, readonly number[]>
  /** Absolute paths of the data files. */
  paths: readonly string[]
}

/** `CREATE OR REPLACE VIEW` for a stream with these columns (system columns included). */
export function createView(
  stream: string,
  columns: readonly Column[],
  committed: CommittedFiles | undefined,
  hot: readonly HotTable[],
): string {
  const parts: string[] = []
  if (committed && committed.paths.length > 0) parts.push(selectFiles(columns, committed))
  for (const table of hot) parts.push(selectHot(columns, table))
  return `CREATE OR REPLACE VIEW main.${identifier(stream)} AS ${parts.join(' UNION ALL ')}`
}

/** The rows of hot tables, brought to `columns`. */
export function selectHot(columns: readonly Column[], table: Pick<HotTable, 'relation' | 'columns'>): string {
  const known = new Map(table.columns.map((column) => [column.name, column]))
  const list = columns.map((column) => {
    const own = known.get(column.name)
    return projected(column, own === undefined ? [] : [castTo(identifier(own.name), own.type, column.type)])
  })
  return `SELECT ${list.join(', ')} FROM ${table.relation}`
}

function selectFiles(columns: readonly Column[], { schema, formerFields: former, paths }: CommittedFiles): string {
  const types = columnsOf(schema)
  const fields = schema.fields.map((field, index) => ({ id: field.id, column: types[index]! }))
  const byName = new Map(fields.map((field) => [field.column.name, field]))
  const byId = new Map(fields.map((field) => [field.id, field]))
  const list = columns.map((column) => {
    const field = byName.get(column.name)
    if (field === undefined) return projected(column, [])
    const generations = [field, ...(former.get(field.id) ?? []).flatMap((id) => byId.get(id) ?? [])]
    return projected(
      column,
      generations.map(({ column: own }) => castTo(identifier(own.name), own.type, column.type)),
    )
  })
  const map = fields.map(
    ({ id, column }) =>
      `${id}: {name: ${literal(column.name)}, type: ${literal(storedType(column.type))}, default_value: NULL}`,
  )
  return `SELECT ${list.join(', ')} FROM read_parquet([${paths.map(literal).join(', ')}], schema = MAP {${map.join(', ')}})`
}

function projected(column: Column, values: readonly string[]): string {
  const name = identifier(column.name)
  if (values.length === 0) return `CAST(NULL AS ${storedType(column.type)}) AS ${name}`
  const value = values.length === 1 ? values[0]! : `coalesce(${values.join(', ')})`
  return value === name ? name : `${value} AS ${name}`
}

/** The table's columns as readers see them: those that no other field continues. */
export function knownColumns({ metadata }: LoadedTable): Column[] {
  const former = new Set([...formerFields(metadata).values()].flat())
  const schema = currentSchema(metadata)
  return columnsOf(schema).filter((_, index) => !former.has(schema.fields[index]!.id))
}

/** Names, in lower case, of the fields that other columns continue. */
export function hiddenNames({ metadata }: LoadedTable): Set<string> {
  const former = new Set([...formerFields(metadata).values()].flat())
  const { fields } = currentSchema(metadata)
  return new Set(fields.filter(({ id }) => former.has(id)).map(({ name }) => name.toLowerCase()))
}
