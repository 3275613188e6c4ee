/**
 * The rows of data files as they are stored, in all columns of a schema, those that other columns continue too: what files are
 * written anew from. Files are read by field id; rows that position delete files take out are left out.
 */
import { join } from 'node:path'
import { namedType, type Naming } from '../../config/field-names.ts'
import { deleteFileFieldIds, type DeleteFile } from '../../lake/delete-files.ts'
import { columnsOf, type IcebergSchema } from '../../lake/schema.ts'
import { storedType } from '../columns.ts'
import type { FileLayouts } from '../file-layouts.ts'
import { presentValue } from '../present-value.ts'
import { identifier, literal } from '../sql-text.ts'

/** A data file to read, with the delete files that apply to it. */
export interface StoredFile {
  /** Object store key. */
  key: string
  /** Path as the table's metadata has it. */
  path: string
  deletes: readonly Pick<DeleteFile, 'key'>[]
}

export interface StoredOptions {
  /** Root folder of the tables. */
  lakeDir: string
  /** How the files name nested fields, where that was looked up. */
  layouts?: FileLayouts
  /** Names of the columns wanted; all of the schema's if left out. */
  only?: readonly string[]
  /** A condition on columns and `file_row_number`, which it names as `f.<column>`. */
  where?: string
}

/** A SELECT of the files' rows. */
export function selectStored(schema: IcebergSchema, files: readonly StoredFile[], options: StoredOptions): string {
  const { lakeDir, layouts, only } = options
  const types = columnsOf(schema)
  const columns = schema.fields
    .map(({ id, name }, index) => ({ id, name, type: types[index]!.type }))
    .filter(({ name }) => only === undefined || only.includes(name))
  const byPath = new Map(files.map((file) => [join(lakeDir, file.key), file]))
  const groups = layouts?.groups(schema, [...byPath.keys()]) ?? [{ paths: [...byPath.keys()], naming: undefined }]
  const parts: string[] = []
  for (const { paths, naming } of groups) {
    const namingOf = (name: string): Naming | undefined => naming?.fields?.get(name)?.inside
    const list = columns.map(({ name, type }) => {
      const column = `f.${identifier(name)}`
      return `${presentValue(column, type, namingOf(name))} AS ${identifier(name)}`
    })
    const map = columns.map(({ id, name, type }) => fieldOf(id, name, storedType(namedType(type, namingOf(name)))))
    const read = (some: readonly StoredFile[]): string =>
      `SELECT ${list.join(', ')} FROM ${readParquet(some, lakeDir, map, 'file_row_number = true')} AS f`
    const where = options.where === undefined ? '' : ` WHERE ${options.where}`
    const group = paths.map((path) => byPath.get(path)!)
    const whole = group.filter(({ deletes }) => deletes.length === 0)
    const cut = group.filter(({ deletes }) => deletes.length > 0)
    if (whole.length > 0) parts.push(`${read(whole)}${where}`)
    if (cut.length > 0) {
      const withoutDeleted = 'ANTI JOIN d ON f.filename = d.file AND f.file_row_number = d.pos'
      parts.push(`SELECT * FROM (WITH d AS (${deletedRows(cut, lakeDir)}) ${read(cut)} ${withoutDeleted}${where})`)
    }
  }
  return parts.join(' UNION ALL ')
}

function fieldOf(id: number, name: string, type: string): string {
  return `${id}: {name: ${literal(name)}, type: ${literal(type)}, default_value: NULL}`
}

function readParquet(
  files: readonly Pick<StoredFile, 'key'>[],
  lakeDir: string,
  fields: readonly string[],
  option = '',
): string {
  const paths = [...new Set(files.map(({ key }) => literal(join(lakeDir, key))))]
  const options = ['filename = true', option].filter((one) => one !== '').join(', ')
  return `read_parquet([${paths.join(', ')}], schema = MAP {${fields.join(', ')}}, ${options})`
}

/** The deleted rows, each as the file it is in (as it is opened) and its place there. A delete file counts only for files it applies to. */
function deletedRows(files: readonly StoredFile[], lakeDir: string): string {
  const { filePath, pos } = deleteFileFieldIds
  const deletes = files.flatMap((file) => file.deletes)
  const read = readParquet(deletes, lakeDir, [fieldOf(filePath, 'file_path', 'VARCHAR'), fieldOf(pos, 'pos', 'BIGINT')])
  const pairs = files.flatMap(({ key, path, deletes: own }) =>
    own.map((one) => `(${[join(lakeDir, one.key), plainPath(path), join(lakeDir, key)].map(literal).join(', ')})`),
  )
  return (
    `SELECT p.file AS file, r.pos AS pos FROM ${read} AS r ` +
    `JOIN (VALUES ${pairs.join(', ')}) AS p(deletes, path, file) ` +
    `ON r.filename = p.deletes AND regexp_replace(r.file_path, '^${scheme}', '') = p.path`
  )
}

/** `file:///a`, `file:/a` and `/a` are one place; engines differ in which they write. */
const scheme = 'file:(//)?'

function plainPath(path: string): string {
  return path.replace(new RegExp(`^${scheme}`), '')
}
