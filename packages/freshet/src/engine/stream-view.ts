/**
 * The rows of a stream in SQL: the data files of one snapshot and the hot tables behind it, each brought to the same columns.
 * Files are read by field id, so renamed, added and nested columns need no care; a field that continues an older one of another
 * type falls back to it.
 */
import { join } from 'node:path'
import type { Column } from '../config/plan.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import { currentSchema, formerFields, type TableMetadata } from '../lake/metadata.ts'
import type { ScanFile } from '../lake/scan.ts'
import { columnsOf, type IcebergSchema } from '../lake/schema.ts'
import { namedType, type Naming } from '../config/field-names.ts'
import { castTo, storedType } from './columns.ts'
import type { FileLayouts } from './file-layouts.ts'
import type { HotTable } from './hot-table.ts'
import { presentValue } from './present-value.ts'
import { identifier, literal } from './sql-text.ts'

/** What a view needs to know of the committed part. */
export interface CommittedFiles {
  schema: IcebergSchema
  /** Field ids that a field continues, newest first, by its own id. */
  formerFields: ReadonlyMap<number, readonly number[]>
  files: readonly Pick<ScanFile, 'key' | 'path' | 'deletes'>[]
  /** Folder that the files' keys are relative to. */
  lakeDir: string
  /** How the files name their nested fields, where that was looked up (`FileLayouts.learn`). */
  layouts?: FileLayouts
}

/** The rows of a stream with these columns (system columns included), as a SELECT. */
export function selectStream(
  columns: readonly Column[],
  committed: CommittedFiles | undefined,
  hot: readonly HotTable[],
): string {
  const parts = hot.map((table) => selectHot(columns, table))
  if (committed && committed.files.length > 0) parts.unshift(...selectFiles(columns, committed))
  if (parts.length > 0) return parts.join(' UNION ALL ')
  return `SELECT ${columns.map((column) => projected(column, [])).join(', ')} WHERE false`
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

/** Files that name their fields alike are read together, those with deleted rows one by one. */
function selectFiles(columns: readonly Column[], committed: CommittedFiles): string[] {
  const { schema, formerFields: former, files, lakeDir, layouts } = committed
  const types = columnsOf(schema)
  const fields = schema.fields.map((field, index) => ({ id: field.id, column: types[index]! }))
  const byName = new Map(fields.map((field) => [field.column.name, field]))
  const byId = new Map(fields.map((field) => [field.id, field]))
  const select = (from: (map: string) => string, naming: Naming | undefined): string => {
    const namingOf = (name: string): Naming | undefined => naming?.fields?.get(name)?.inside
    const list = columns.map((column) => {
      const field = byName.get(column.name)
      if (field === undefined) return projected(column, [])
      const generations = [field, ...(former.get(field.id) ?? []).flatMap((id) => byId.get(id) ?? [])]
      return projected(
        column,
        generations.map(({ column: own }) => {
          const value = presentValue(identifier(nameInFile(own.name)), own.type, namingOf(own.name))
          return castTo(value, own.type, column.type)
        }),
      )
    })
    const map = fields.map(({ id, column }) => {
      const type = storedType(namedType(column.type, namingOf(column.name)))
      return `${id}: {name: ${literal(nameInFile(column.name))}, type: ${literal(type)}, default_value: NULL}`
    })
    return `SELECT ${list.join(', ')} FROM ${from(`MAP {${map.join(', ')}}`)}`
  }
  const byPath = new Map(files.map((file) => [join(lakeDir, file.key), file]))
  const groups = layouts?.groups(schema, [...byPath.keys()]) ?? [{ paths: [...byPath.keys()], naming: undefined }]
  return groups.flatMap(({ paths, naming }) => {
    const whole = paths.filter((path) => byPath.get(path)!.deletes.length === 0)
    const cut = paths.filter((path) => byPath.get(path)!.deletes.length > 0)
    const together =
      whole.length === 0
        ? []
        : [
            select(
              (map) => `read_parquet([${whole.map(literal).join(', ')}], schema = ${map}, hive_partitioning = false)`,
              naming,
            ),
          ]
    const alone = cut.map((path) =>
      select(
        (map) =>
          `read_parquet(${literal(path)}, schema = ${map}, hive_partitioning = false, file_row_number = true) WHERE ${notDeleted(byPath.get(path)!, lakeDir)}`,
        naming,
      ),
    )
    return [...together, ...alone]
  })
}

/** A condition for rows that no delete file of a data file names, where `file_row_number` is read with it. */
export function notDeleted({ path, deletes }: Pick<ScanFile, 'path' | 'deletes'>, lakeDir: string): string {
  const files = deletes.map(({ key }) => literal(join(lakeDir, key)))
  // `file:///a`, `file:/a` and `/a` are one place; engines differ in which they write.
  const scheme = 'file:(//)?'
  const plain = path.replace(new RegExp(`^${scheme}`), '')
  const same = `regexp_replace(file_path, '^${scheme}', '') = ${literal(plain)}`
  return `file_row_number NOT IN (SELECT pos FROM read_parquet([${files.join(', ')}]) WHERE ${same})`
}

/** What a column is called where it is read, beside the number of the row. */
function nameInFile(name: string): string {
  return name.toLowerCase() === 'file_row_number' ? `_${name}` : name
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

/** The same of one of the table's schemas, in which a field may not have been continued yet. */
export function columnsIn(schema: IcebergSchema, metadata: TableMetadata): Column[] {
  const ids = new Set(schema.fields.map(({ id }) => id))
  const former = new Set([...formerFields(metadata)].flatMap(([id, ends]) => (ids.has(id) ? ends : [])))
  return columnsOf(schema).filter((_, index) => !former.has(schema.fields[index]!.id))
}

/** Names, in lower case, of the fields that other columns continue. */
export function hiddenNames({ metadata }: LoadedTable): Set<string> {
  const former = new Set([...formerFields(metadata).values()].flat())
  const { fields } = currentSchema(metadata)
  return new Set(fields.filter(({ id }) => former.has(id)).map(({ name }) => name.toLowerCase()))
}
