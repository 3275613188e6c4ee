/**
 * What data files call the fields inside their structs, lists and maps, by field id. DuckDB finds columns by id, but what is inside
 * them by name. So where a table's nested fields were renamed, dropped or their names given to others, the files' own schemas are
 * asked, once each and only for the files that are read; for all other tables nothing is looked up.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { FieldNaming, Naming } from '../config/field-names.ts'
import type { TableMetadata } from '../lake/metadata.ts'
import { nestedNamesChanged } from '../lake/nested-names.ts'
import type { IcebergSchema, IcebergType } from '../lake/schema.ts'
import { literal } from './sql-text.ts'

/** A node of a Parquet schema. */
interface Node {
  name: string
  /** null for a node that is no field: of a list's or a map's inner structure, or of a writer that gives none. */
  id: number | null
  children: Node[]
}

interface Layout {
  columns: readonly Node[]
  /** The same for files of the same layout. */
  key: string
}

/** Files that name their fields alike. */
export interface FileGroup {
  paths: readonly string[]
  /** Of the table's columns; undefined when the names are those of the schema. */
  naming: Naming | undefined
}

const filesAtOnce = 200

export class FileLayouts {
  readonly #layouts = new Map<string, Layout>()
  /** Most files share one. */
  readonly #byKey = new Map<string, Layout>()

  /** The layouts of some files alone. See `learn`. */
  static async of(
    connection: DuckDBConnection,
    metadata: TableMetadata,
    paths: readonly string[],
  ): Promise<FileLayouts> {
    const layouts = new FileLayouts()
    await layouts.learn(connection, metadata, paths)
    return layouts
  }

  /**
   * Looks up the files whose layout is not known yet, if the table's nested fields have changed their names.
   * @param connection used by nobody else meanwhile
   * @param paths absolute paths
   */
  async learn(connection: DuckDBConnection, metadata: TableMetadata, paths: readonly string[]): Promise<void> {
    if (!nestedNamesChanged(metadata)) return
    const unknown = paths.filter((path) => !this.#layouts.has(path))
    for (let from = 0; from < unknown.length; from += filesAtOnce) {
      const some = unknown.slice(from, from + filesAtOnce)
      const found = await connection.runAndReadAll(
        `SELECT file_name, list({name: name, children: num_children, id: field_id} ORDER BY column_id) FROM parquet_schema([${some.map(literal).join(', ')}]) GROUP BY file_name`,
      )
      for (const [path, rows] of found.getRowsJson() as [string, NodeRow[]][]) {
        const layout = layoutOf(rows)
        const shared = this.#byKey.get(layout.key) ?? layout
        this.#byKey.set(layout.key, shared)
        this.#layouts.set(path, shared)
      }
    }
  }

  /** Files that are remembered. */
  get size(): number {
    return this.#layouts.size
  }

  /** The files, by how they name the fields of a schema. */
  groups(schema: IcebergSchema, paths: readonly string[]): FileGroup[] {
    const groups = Map.groupBy(paths, (path) => this.#layouts.get(path)?.key)
    return [...groups].map(([key, some]) => {
      const layout = key === undefined ? undefined : this.#layouts.get(some[0]!)
      return { paths: some, naming: layout && namingOf(schema, layout) }
    })
  }
}

interface NodeRow {
  name: string
  children: string | null
  id: string | null
}

/** From the nodes of a Parquet schema, each before its children, the root first. */
function layoutOf(rows: readonly NodeRow[]): Layout {
  let at = 0
  const read = (): Node => {
    const { name, children, id } = rows[at++]!
    const node: Node = { name, id: id === null ? null : Number(id), children: [] }
    for (let count = Number(children ?? 0); count > 0; count--) node.children.push(read())
    return node
  }
  const columns = read().children.filter(({ children }) => children.length > 0)
  return { columns, key: JSON.stringify(columns) }
}

function namingOf(schema: IcebergSchema, { columns }: Layout): Naming | undefined {
  const byId = new Map(columns.map((node) => [node.id, node]))
  const fields = new Map<string, FieldNaming>()
  for (const { id, name, type } of schema.fields) {
    const node = byId.get(id)
    const inside = node && typeNaming(type, node)
    if (inside !== undefined) fields.set(name, { names: [name], inside })
  }
  return fields.size === 0 ? undefined : { fields }
}

/** undefined when the names are those of the type, or cannot be known. */
function typeNaming(type: IcebergType, node: Node): Naming | undefined {
  if (typeof type === 'string') return undefined
  if (type.type === 'list') return insideNaming(type.element, type['element-id'], node)
  if (type.type === 'map') return insideNaming(type.value, type['value-id'], node)
  if (node.children.every(({ id }) => id === null)) return undefined
  const byId = new Map(node.children.map((child) => [child.id, child]))
  const fields = new Map<string, FieldNaming>()
  for (const { id, name, type: inner } of type.fields) {
    const child = byId.get(id)
    const inside = child && typeNaming(inner, child)
    if (child?.name === name && inside === undefined) continue
    fields.set(name, { names: child === undefined ? [] : [child.name], ...(inside && { inside }) })
  }
  return fields.size === 0 ? undefined : { fields, anchor: node.children[0]!.name }
}

/** What is in a list or a map is two levels down: `list.element`, `key_value.value`. */
function insideNaming(type: IcebergType, id: number, node: Node): Naming | undefined {
  const content = node.children[0]?.children.find((child) => child.id === id)
  const inside = content && typeNaming(type, content)
  return inside && { inside }
}
