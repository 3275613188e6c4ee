/**
 * Brings one rollup up to date with its source: finds the buckets whose rows may have changed since the snapshot that its table stands for,
 * computes them anew from the source as it is, and swaps them (swap.ts), with the record of the source's snapshot in the same commit.
 *
 * Everything is computed when the definition or the columns are other ones, or when nobody can tell any more what has changed. Buckets
 * that retention has taken rows of are left as they are (retained-from.ts), unless the definition changed: then the rollup has what can
 * be computed.
 *
 * Crash points: nothing is remembered but by the commit, so whatever was not committed is done again. A change that touches no bucket
 * (a compaction, a heartbeat) moves the record on by a change of metadata alone, so that it never falls behind what snapshots tell.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { systemColumns, type Column, type RollupPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema } from '../../lake/metadata.ts'
import { timeColumnOf } from '../../lake/partition.ts'
import type { ScanPlan } from '../../lake/scan.ts'
import { sourcesKey } from '../../lake/sources.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { sameColumns } from '../columns.ts'
import type { Readers } from '../readers.ts'
import { identifier } from '../sql-text.ts'
import type { StreamTable } from '../stream-table.ts'
import { knownColumns, selectStream } from '../stream-view.ts'
import { changedFiles } from './changed-files.ts'
import { bucketsIn, computeBuckets } from './compute.ts'
import { admitDefinition, rollupColumns } from './definition.ts'
import { definitionOf, rollupRecord } from './record.ts'
import { retainedFrom } from './retained-from.ts'
import { withColumns } from './schema.ts'
import { swapBuckets, type SwapDeps } from './swap.ts'

export interface UpdateDeps extends SwapDeps {
  /** Whoever reads streams' tables. */
  readers: Readers
}

/** A rollup with what is read and written for it. */
export interface RollupTarget {
  plan: RollupPlan
  /** The stream or rollup that it is made of. */
  source: StreamTable
  target: StreamTable
  /** The source's files at the snapshot that the rollup stands for, once that is known: they need not be read again. */
  known?: ScanPlan | undefined
}

/** What an update did. */
export interface UpdateResult {
  /** Buckets that were computed anew. */
  buckets: number
}

/** The columns that a rollup's table has in any case. */
export const bucketColumn: Column = { name: 'bucket', type: { kind: 'timestamptz' } }

/** @returns undefined when the rollup was up to date @throws FreshetError `commit_conflict` when its table has changed meanwhile, and what its SQL throws */
export async function updateRollup(
  connection: DuckDBConnection,
  deps: UpdateDeps,
  rollup: RollupTarget,
): Promise<UpdateResult | undefined> {
  // Before the table is looked at: its files stay while they are read.
  const leave = deps.readers.enter()
  try {
    return await update(connection, deps, rollup)
  } finally {
    leave()
  }
}

/** Makes the table of a rollup where there is none, so that queries know its columns. @throws what its SQL throws */
export async function makeTable(
  connection: DuckDBConnection,
  { plan, source, target }: RollupTarget,
): Promise<{ sql: string; columns: Column[] }> {
  const sql = await admitDefinition(connection, plan)
  const known = source.table ? knownColumns(source.table) : declaredColumns(source)
  const columns = await columnsNow(connection, plan, sql, known)
  await target.create(columns)
  return { sql, columns }
}

async function update(
  connection: DuckDBConnection,
  deps: UpdateDeps,
  rollup: RollupTarget,
): Promise<UpdateResult | undefined> {
  const { plan, source, target } = rollup
  const from = source.table
  const { sql, columns } = await makeTable(connection, rollup)
  const { table, files } = target
  if (from === undefined || table === undefined) return undefined
  checkIsRollup(table)
  const snapshot = from.metadata['current-snapshot-id']
  const sources = from.metadata.properties[sourcesKey] ?? '[]'
  const record = { from: plan.from, definition: definitionOf(plan), snapshot }
  const former = rollupRecord(table.metadata)
  const isSame = former?.definition === record.definition && former.from === plan.from
  const fits = withColumns(table.metadata, columns, plan.partition) === table.metadata
  const isCurrent = isSame && fits && former.snapshot === snapshot
  if (isCurrent && table.metadata.properties[sourcesKey] === sources) return undefined
  const hasColumns = sameColumns(knownColumns(table), columns)
  const covered = isSame && hasColumns ? former.snapshot : undefined
  const { now, changed } = await changedFiles(deps.store, from, covered, rollup.known)
  const request = { plan, time: timeOf(from), table: from, files: now.files, lakeDir: deps.lakeDir }
  const below = isSame ? retainedFrom(from.metadata) : undefined
  const touched = await bucketsIn(connection, request, changed === 'all' ? now.files : changed)
  const buckets = below === undefined ? touched : touched.filter((bucket) => bucket.from >= below)
  await computeBuckets(connection, { ...request, columns, sql, buckets })
  await swapBuckets(connection, deps, target, {
    plan,
    table,
    files,
    columns,
    buckets: changed === 'all' ? { below } : buckets,
    record,
    sources,
  })
  rollup.known = now
  return { buckets: buckets.length }
}

/** The columns that the SQL gives over a source with these. */
async function columnsNow(
  connection: DuckDBConnection,
  plan: RollupPlan,
  sql: string,
  columns: readonly Column[],
): Promise<Column[]> {
  const view = identifier(plan.from)
  await connection.run(`CREATE OR REPLACE TEMP VIEW ${view} AS ${selectStream(columns, undefined, [])}`)
  try {
    return await rollupColumns(connection, plan, sql)
  } finally {
    await connection.run(`DROP VIEW ${view}`)
  }
}

/** Those of a source that has no table yet. */
function declaredColumns({ stream }: StreamTable): Column[] {
  return stream.partition.by === 'bucket' ? [bucketColumn] : [...systemColumns, ...(stream.columns ?? [])]
}

function timeOf({ metadata }: LoadedTable): string {
  return timeColumnOf(currentSchema(metadata))
}

/** @throws FreshetError when the table holds events */
function checkIsRollup({ name, metadata }: LoadedTable): void {
  if (timeColumnOf(currentSchema(metadata)) === 'bucket') return
  throw new FreshetError('unsupported_table', `The table ${name} has events of a stream that had this name.`, {
    hint: 'Give the rollup another name: events are never replaced by aggregates.',
  })
}
