/**
 * Computes buckets of a rollup from the source's files: which buckets the rows of changed files lie in, and the rows of these buckets,
 * from all of the source's rows in them (I9). Results lie in temporary tables of the connection, which DuckDB spills to disk; the SELECT
 * of the rollup runs over a temporary view with the source's name, which has whole buckets only.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { bucketOf } from '../../config/rollups.ts'
import type { Column, RollupPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema, formerFields } from '../../lake/metadata.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { storedType } from '../columns.ts'
import { FileLayouts } from '../file-layouts.ts'
import { identifier } from '../sql-text.ts'
import { knownColumns, selectStream } from '../stream-view.ts'
import { filesIn, joinBuckets, type BucketRange } from './bucket-ranges.ts'

export interface ComputeRequest {
  plan: RollupPlan
  /** The source's column of time: `_event_time`, or `bucket` of a rollup. */
  time: string
  /** The source, with all its files. */
  table: LoadedTable
  files: readonly ScanFile[]
  lakeDir: string
}

/** The computed rows, in the columns of the rollup's table. */
export const freshRows = 'rollup_fresh'
const wantedBuckets = 'rollup_wanted'

/** Ranges that are read one by one; of more, all of the span is read, and what is not wanted left out. */
const rangesMax = 64
/** Buckets that are computed by one statement. */
const bucketsAtOnce = 50_000

/** The buckets that rows of some of the source's files lie in, oldest first. Rows count that delete files take out, too, if `files` say so. */
export async function bucketsIn(
  connection: DuckDBConnection,
  request: ComputeRequest,
  files: readonly ScanFile[],
): Promise<BucketRange[]> {
  if (files.length === 0) return []
  const { plan, time } = request
  const columns = knownColumns(request.table).filter(({ name }) => name === time)
  const rows = await rowsOf(connection, request, files, columns)
  const { bucket } = plan
  const width = 'ms' in bucket ? `INTERVAL ${bucket.ms / 1000} SECOND` : `INTERVAL ${bucket.count} ${bucket.unit}`
  const result = await connection.runAndReadAll(
    `SELECT epoch_us(b), epoch_us(b + ${width}) FROM (SELECT DISTINCT ${bucketOf(bucket, identifier(time))} AS b FROM (${rows}))
     WHERE b IS NOT NULL ORDER BY 1`,
  )
  return result.getRows().map(([from, to]) => ({ from: from as bigint, to: to as bigint }))
}

/**
 * Computes buckets anew, into the temporary table `freshRows`.
 * @param columns of the rollup's table
 * @param sql the admitted SELECT
 * @param buckets each once, in order of time
 * @throws FreshetError `invalid_sql` when the SELECT gives a bucket that it was not given rows of; what DuckDB says of the statement
 */
export async function computeBuckets(
  connection: DuckDBConnection,
  request: ComputeRequest & { columns: readonly Column[]; sql: string; buckets: readonly BucketRange[] },
): Promise<void> {
  const { plan, columns, sql, buckets } = request
  const fields = columns.map(({ name, type }) => `${identifier(name)} ${storedType(type)}`)
  await connection.run(`CREATE OR REPLACE TEMP TABLE ${freshRows} (${fields.join(', ')})`)
  const list = columns.map(({ name, type }) => `CAST(${identifier(name)} AS ${storedType(type)})`).join(', ')
  for (let first = 0; first < buckets.length; first += bucketsAtOnce) {
    const slice = buckets.slice(first, first + bucketsAtOnce)
    const wanted = slice.map(({ from }) => `(make_timestamptz(${from}))`).join(', ')
    await connection.run(
      `CREATE OR REPLACE TEMP TABLE ${wantedBuckets} AS SELECT * FROM (VALUES ${wanted}) AS v(bucket)`,
    )
    const source = await wholeBuckets(connection, request, slice)
    await connection.run(`CREATE OR REPLACE TEMP VIEW ${identifier(plan.from)} AS ${source}`)
    await connection.run(`INSERT INTO ${freshRows} SELECT ${list} FROM (${sql})`)
  }
  if (buckets.length > 0) await connection.run(`DROP VIEW ${identifier(plan.from)}`)
  await checkBuckets(connection, plan, buckets)
}

/** The source's rows in some buckets. */
async function wholeBuckets(
  connection: DuckDBConnection,
  request: ComputeRequest,
  buckets: readonly BucketRange[],
): Promise<string> {
  const { plan, table, files } = request
  const time = identifier(request.time)
  const columns = knownColumns(table)
  const within = ({ from, to }: BucketRange): string =>
    `${time} >= make_timestamptz(${from}) AND ${time} < make_timestamptz(${to})`
  const ranges = joinBuckets(buckets)
  if (ranges.length > rangesMax) {
    const span = { from: ranges[0]!.from, to: ranges.at(-1)!.to }
    const rows = await rowsOf(connection, request, filesIn(files, ranges), columns)
    const bucket = bucketOf(plan.bucket, time)
    return `SELECT * FROM (${rows}) WHERE ${within(span)} AND ${bucket} IN (SELECT bucket FROM ${wantedBuckets})`
  }
  const parts: string[] = []
  for (const range of ranges) {
    const rows = await rowsOf(connection, request, filesIn(files, [range]), columns)
    parts.push(`SELECT * FROM (${rows}) WHERE ${within(range)}`)
  }
  return parts.join(' UNION ALL ')
}

/** The rows of some files of a table, in these columns, as a SELECT. */
export async function rowsOf(
  connection: DuckDBConnection,
  { table, lakeDir }: Pick<ComputeRequest, 'table' | 'lakeDir'>,
  files: readonly ScanFile[],
  columns: readonly Column[],
): Promise<string> {
  const { metadata } = table
  const paths = files.map(({ key }) => join(lakeDir, key))
  const layouts = await FileLayouts.of(connection, metadata, paths)
  const committed = { schema: currentSchema(metadata), formerFields: formerFields(metadata), files, lakeDir, layouts }
  return selectStream(columns, committed, [])
}

/** A row of another bucket would stay when its own bucket is computed again. */
async function checkBuckets(
  connection: DuckDBConnection,
  { name }: RollupPlan,
  buckets: readonly BucketRange[],
): Promise<void> {
  const found = await connection.runAndReadAll(`SELECT DISTINCT epoch_us(bucket) FROM ${freshRows}`)
  const known = new Set(buckets.map(({ from }) => from))
  const stray = found.getRows().find(([bucket]) => bucket === null || !known.has(bucket as bigint))
  if (stray === undefined) return
  const text = stray[0] === null ? 'null' : new Date(Number((stray[0] as bigint) / 1000n)).toISOString()
  throw new FreshetError(
    'invalid_sql',
    `The SQL of the rollup ${name} gives the bucket ${text}, which none of its rows lie in.`,
    {
      hint: 'Its `bucket` has to be the start of the bucket that the rows are in, of the width that the rollup says.',
    },
  )
}
