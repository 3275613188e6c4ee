/**
 * Makes streams readable for one query: temporary views on its own connection, which are closed with it. What they show is the state that
 * the query's transaction names (I4, shown-stream.ts), or a snapshot of the past, which has no hot rows and the columns that it had then.
 * Each view names only files that the query may need (lake/choose-files.ts).
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { join } from 'node:path'
import type { LoadedTable } from '../../lake/catalog.ts'
import { chooseFiles, planFiles, type ChosenFiles, type Wanted } from '../../lake/choose-files.ts'
import { ManifestColumns } from '../../lake/manifest-columns.ts'
import { currentSchema, formerFields, type Snapshot, type TableMetadata } from '../../lake/metadata.ts'
import type { IcebergSchema } from '../../lake/schema.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { ObjectStore } from '../../storage/object-store.ts'
import { FileLayouts } from '../file-layouts.ts'
import type { Readers } from '../readers.ts'
import { generationsOf, type StreamState } from '../shown-stream.ts'
import { identifier } from '../sql-text.ts'
import { columnsIn, selectStream } from '../stream-view.ts'
import { momentIn, momentOf, snapshotAt } from './as-of.ts'
import type { StreamReference } from './at-clause.ts'
import type { Admitted } from './gate.ts'
import type { Parameters } from './parameters.ts'
import { conditionsIn } from './predicates.ts'
import { plainFields, predicatesOf } from './wanted.ts'

export interface StreamViewsOptions {
  /** Where the tables' manifests are, and the folder that DuckDB reads their data files in. */
  store: ObjectStore
  lakeDir: string
  readers: Readers
  /** What a stream shows in a generation (`StreamTable.stateAt`). */
  stateOf: (stream: string, generation: number) => StreamState | undefined
}

/** What a query is about to read of a stream. */
export interface StreamScan extends Omit<ChosenFiles, 'files'> {
  stream: string
  /** undefined for the present. */
  snapshotId: bigint | undefined
  files: number
  bytes: number
}

export interface Question extends Pick<Admitted, 'references' | 'tree'> {
  parameters: Parameters
  /** The moment for all references that have none of their own. */
  asOf?: string | undefined
}

/** All references that read one view, and what it shows. */
interface View {
  name: string
  stream: string
  references: readonly StreamReference[]
  state: StreamState
  snapshot: Snapshot | undefined
  schema: IcebergSchema | undefined
}

const begin = 'BEGIN TRANSACTION READ ONLY'
/** Files of a stream whose layouts are remembered. */
const layoutsMax = 100_000

export class StreamViews {
  readonly #options: StreamViewsOptions
  readonly #manifests: ManifestColumns
  readonly #layouts = new Map<string, FileLayouts>()

  constructor(options: StreamViewsOptions) {
    this.#options = options
    this.#manifests = new ManifestColumns(options.store)
  }

  /** A query begins: to be called before `open`. Returns what it calls when it has ended. */
  enter(): () => void {
    return this.#options.readers.enter()
  }

  /**
   * Begins a transaction, which reads one state of all data (I4), and makes the streams that the question reads readable in it.
   * @throws FreshetError `unknown_snapshot`, or `invalid_sql` for a moment that is none
   */
  async open(connection: DuckDBConnection, question: Question): Promise<StreamScan[]> {
    await connection.run(begin)
    if (question.references.length === 0) return []
    let views = await this.#views(connection, question)
    let wanted = await wantedOf(connection, views, question)
    if (wanted === undefined) {
      // The transaction may have ended by it.
      await connection.run('ROLLBACK')
      await connection.run(begin)
      views = await this.#views(connection, question)
      wanted = views.map(() => [[]])
    }
    const scans: StreamScan[] = []
    for (const [index, view] of views.entries()) scans.push(await this.#open(connection, view, wanted[index]!))
    return scans
  }

  /** The same for all that a stream shows, in a transaction that has begun. */
  async openWhole(connection: DuckDBConnection, stream: string): Promise<void> {
    const reference = { stream, view: stream, node: {}, at: undefined }
    for (const view of await this.#views(connection, { references: [reference], tree: {}, parameters: {} })) {
      await this.#open(connection, view, [[]])
    }
  }

  async #views(connection: DuckDBConnection, { references, parameters, asOf }: Question): Promise<View[]> {
    const generations = await generationsOf(connection, new Set(references.map(({ stream }) => stream)))
    const views: View[] = []
    for (const [name, own] of Map.groupBy(references, ({ view }) => view)) {
      const { stream, at } = own[0]!
      const generation = generations.get(stream)
      const state = generation === undefined ? undefined : this.#options.stateOf(stream, generation)
      if (state === undefined) throw new Error(`The stream ${stream} has no state ${generation}`)
      const base = { name, stream, references: own }
      if (at === undefined && asOf === undefined) {
        views.push({ ...base, state, snapshot: undefined, schema: state.table && currentSchema(state.table.metadata) })
        continue
      }
      const table = tableOf(stream, state)
      const moment = at ? await momentOf(connection, at, parameters) : await momentIn(connection, asOf!, table)
      const snapshot = snapshotAt(table, moment)
      const schema = schemaOf(table.metadata, snapshot)
      const past = { ...state, hot: [], columns: columnsIn(schema, table.metadata) }
      views.push({ ...base, state: past, snapshot, schema })
    }
    return views
  }

  async #open(connection: DuckDBConnection, view: View, wanted: Wanted): Promise<StreamScan> {
    const { lakeDir } = this.#options
    const { name, stream, state, snapshot, schema } = view
    const { table } = state
    const chosen = table && (await this.#choose(table, view, wanted))
    const files = chosen?.files ?? []
    let select: string
    if (table && schema) {
      const layouts = await this.#layoutsOf(connection, stream, table, files)
      const former = formerFields(table.metadata)
      select = selectStream(state.columns, { schema, formerFields: former, files, lakeDir, layouts }, state.hot)
    } else {
      select = selectStream(state.columns, undefined, state.hot)
    }
    await connection.run(`CREATE OR REPLACE TEMP VIEW ${identifier(name)} AS ${select}`)
    return {
      stream,
      snapshotId: snapshot?.['snapshot-id'],
      files: files.length,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      filesTotal: chosen?.filesTotal ?? 0,
      bytesTotal: chosen ? chosen.bytesTotal : 0,
      manifestsRead: chosen?.manifestsRead ?? 0,
      manifestsTotal: chosen?.manifestsTotal ?? 0,
    }
  }

  async #choose(table: LoadedTable, { state, snapshot }: View, wanted: Wanted): Promise<ChosenFiles | undefined> {
    const { scan } = state
    if (snapshot === undefined) return scan && chooseFiles(this.#manifests, table, scan, wanted)
    const request = { snapshot, wanted, ...(scan && { previous: scan }) }
    const chosen = await planFiles(this.#options.store, this.#manifests, table, request)
    const bytes = snapshot.summary['total-files-size']
    return { ...chosen, bytesTotal: chosen.bytesTotal ?? (bytes === undefined ? undefined : Number(bytes)) }
  }

  async #layoutsOf(
    connection: DuckDBConnection,
    stream: string,
    { metadata }: LoadedTable,
    files: ChosenFiles['files'],
  ): Promise<FileLayouts> {
    const known = this.#layouts.get(stream)
    // Of files that are gone, too; a query that has the former one goes on with it.
    const layouts = known && known.size < layoutsMax ? known : new FileLayouts()
    this.#layouts.set(stream, layouts)
    await layouts.learn(
      connection,
      metadata,
      files.map(({ key }) => join(this.#options.lakeDir, key)),
    )
    return layouts
  }
}

/** What each view's references want; undefined when the transaction may have ended. */
async function wantedOf(
  connection: DuckDBConnection,
  views: readonly View[],
  { tree, parameters }: Question,
): Promise<Wanted[] | undefined> {
  const byNode = new Map(views.flatMap((view) => view.references.map(({ node }) => [node, view])))
  const conditions = conditionsIn(tree, (node) => byNode.get(node)?.state.columns.map(({ name }) => name), parameters)
  const demands = views.flatMap(({ references, state, schema }) => {
    const { table, columns } = state
    const fields = table && schema ? plainFields(columns, schema, table.metadata) : new Map()
    return references.map(({ node }) => ({ conditions: conditions.get(node) ?? [], fields }))
  })
  const predicates = await predicatesOf(connection, demands, parameters)
  if (predicates === undefined) return undefined
  let at = 0
  return views.map(({ references }) => predicates.slice(at, (at += references.length)))
}

function tableOf(stream: string, { table }: StreamState): LoadedTable {
  if (table !== undefined) return table
  throw new FreshetError('unknown_snapshot', `The stream ${stream} has no snapshot yet.`, {
    hint: 'Its first events are committed within lake.flushInterval.',
  })
}

function schemaOf(metadata: TableMetadata, snapshot: Snapshot): IcebergSchema {
  const id = snapshot['schema-id']
  return metadata.schemas.find((schema) => schema['schema-id'] === id) ?? currentSchema(metadata)
}
