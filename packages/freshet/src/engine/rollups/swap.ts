/**
 * Puts buckets that were computed anew in the place of what the rollup's table has of them, in one commit: files that have rows of these
 * buckets go, and what else they hold is written anew together with the new rows. The commit carries the record of what the table
 * stands for from then on (record.ts), so rows and record are never of two states of the source (I9).
 *
 * Crash points: before the commit, new files are left behind, which nothing refers to (orphan removal); after it, nothing is left to do. When
 * the table has another record by then, somebody else has brought it up to date, and it is a conflict: nothing is changed.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column, RollupPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import type { CommitDeps } from '../../lake/commit.ts'
import { currentSchema, type TableMetadata } from '../../lake/metadata.ts'
import { rewriteFiles } from '../../lake/rewrite.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { sourcesKey } from '../../lake/sources.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { removedOnConflict, writeSelected, type WrittenFile } from '../data-files.ts'
import { identifier } from '../sql-text.ts'
import { deletesDoneWith } from '../upkeep/candidates.ts'
import type { KeptTable } from '../upkeep/job.ts'
import { filesIn, joinBuckets, type BucketRange } from './bucket-ranges.ts'
import { freshRows, rowsOf } from './compute.ts'
import { formatRecord, rollupKey, type RollupRecord } from './record.ts'
import { withColumns } from './schema.ts'

export interface SwapDeps extends CommitDeps {
  lakeDir: string
  tmpDir: string
}

export interface SwapRequest {
  plan: RollupPlan
  /** The rollup's table, with all its files. */
  table: LoadedTable
  files: readonly ScanFile[]
  /** The columns that it is to have. */
  columns: readonly Column[]
  /** Those that were computed anew; all others stay. `below`: all were, but for those that begin before, microseconds since 1970. */
  buckets: readonly BucketRange[] | { below: bigint | undefined }
  record: RollupRecord
  /** How far the source was complete, as its table says (`freshet.sources`). */
  sources: string
}

const touchedBuckets = 'rollup_touched'
const valuesAtOnce = 50_000

/**
 * @param connection has the computed rows (`computeBuckets`)
 * @throws FreshetError `commit_conflict` when the table has changed so that it has to be done anew
 */
export async function swapBuckets(
  connection: DuckDBConnection,
  deps: SwapDeps,
  kept: KeptTable,
  request: SwapRequest,
): Promise<void> {
  const { plan, table, files, columns, buckets } = request
  const evolve = (metadata: TableMetadata): TableMetadata => withColumns(metadata, columns, plan.partition)
  const evolved = { ...table, metadata: evolve(table.metadata) }
  const isStaying = await stayingRows(connection, buckets)
  const removed = 'below' in buckets ? files : filesIn(files, joinBuckets(buckets))
  // So that they are read once, however many partitions are written.
  if (removed.length > 0 && isStaying !== undefined) {
    const rows = await rowsOf(connection, { ...deps, table }, removed, columns)
    await connection.run(`INSERT INTO ${freshRows} SELECT * FROM (${rows}) WHERE ${isStaying}`)
  }
  const order = ['bucket', ...plan.by].map(identifier).join(', ')
  const schema = currentSchema(evolved.metadata)
  const select = `SELECT * FROM ${freshRows}`
  const written = await writeSelected(connection, deps, { table: evolved, schema, columns, select, order })
  const former = table.metadata.properties[rollupKey]
  const properties = (base: TableMetadata): Record<string, string> => {
    if (base.properties[rollupKey] !== former) throw overtaken(table)
    return { [rollupKey]: formatRecord(request.record), [sourcesKey]: request.sources }
  }
  await kept.change(
    (base) =>
      removedOnConflict(deps, written, () => commit(deps, { ...request, base, removed, written, properties, evolve })),
    'fewer',
  )
}

interface Commit extends SwapRequest {
  base: LoadedTable
  removed: readonly ScanFile[]
  written: readonly WrittenFile[]
  properties: (base: TableMetadata) => Record<string, string>
  evolve: (base: TableMetadata) => TableMetadata
}

async function commit(deps: SwapDeps, request: Commit): Promise<LoadedTable> {
  const { table, files, base, removed, written, properties, evolve } = request
  if (removed.length === 0 && written.length === 0) {
    // No snapshot for what changes no row.
    const metadata = evolve(base.metadata)
    const lastMs = Math.max(deps.clock.nowMs(), base.metadata['last-updated-ms'])
    const next = { ...metadata.properties, ...properties(base.metadata) }
    return deps.catalog.commit(base, { ...metadata, 'last-updated-ms': lastMs, properties: next })
  }
  const removeDeletes = deletesDoneWith(files, removed)
  const { table: committed } = await rewriteFiles(deps, {
    table,
    remove: removed.map(({ path }) => path),
    add: written.map(({ dataFile }) => dataFile),
    operation: written.length === 0 ? 'delete' : 'overwrite',
    ...(removeDeletes.length > 0 && { removeDeletes }),
    properties,
    evolve,
  })
  return committed
}

/** A condition for rows of buckets that were not computed anew; undefined when there are none. */
async function stayingRows(connection: DuckDBConnection, buckets: SwapRequest['buckets']): Promise<string | undefined> {
  if ('below' in buckets) return buckets.below === undefined ? undefined : `epoch_us(bucket) < ${buckets.below}`
  await connection.run(`CREATE OR REPLACE TEMP TABLE ${touchedBuckets} (touched TIMESTAMPTZ)`)
  for (let first = 0; first < buckets.length; first += valuesAtOnce) {
    const values = buckets.slice(first, first + valuesAtOnce).map(({ from }) => `(make_timestamptz(${from}))`)
    await connection.run(`INSERT INTO ${touchedBuckets} VALUES ${values.join(', ')}`)
  }
  return `bucket NOT IN (SELECT touched FROM ${touchedBuckets})`
}

function overtaken({ name }: LoadedTable): FreshetError {
  return new FreshetError('commit_conflict', `Another engine has brought the rollup ${name} up to date meanwhile.`, {
    hint: 'It is looked at again. One engine at a time works on a data folder; find out what else writes to the table.',
  })
}
