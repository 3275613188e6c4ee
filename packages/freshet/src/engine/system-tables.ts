/** The tables of the schema `freshet`: the engine's own state as SQL, brought up to date before a query that reads them. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column } from '../config/plan.ts'
import { stringifyJson } from '../lake/json.ts'
import { hourMs } from '../lake/ledger-rows.ts'
import { currentSnapshot, positionsKey, type Snapshot } from '../lake/metadata.ts'
import { partitionText } from '../lake/partition.ts'
import type { Log } from '../log/log.ts'
import { Mutex } from '../runtime/mutex.ts'
import { readJson, storedSelect } from './columns.ts'
import type { Completeness } from './completeness.ts'
import type { Rollups } from './rollups/rollups.ts'
import type { StreamLoader } from './stream-loader.ts'
import type { StreamTable } from './stream-table.ts'
import type { MaintenanceRow } from './upkeep/maintenance-row.ts'

type Row = Record<string, string | number | bigint | boolean | null>

const text = { kind: 'string' } as const
const long = { kind: 'long' } as const
const time = { kind: 'timestamptz' } as const

export type SystemTable = 'streams' | 'rollups' | 'snapshots' | 'files' | 'sites' | 'ledger' | 'maintenance'

/** Columns of each system table, in order. */
const systemTableColumns: Readonly<Record<SystemTable, readonly Column[]>> = {
  streams: [
    { name: 'name', type: text },
    { name: 'declared', type: { kind: 'boolean' } },
    { name: 'schema', type: text },
    { name: 'id_field', type: text },
    { name: 'time_field', type: text },
    { name: 'partition', type: text },
    { name: 'rows', type: long },
    { name: 'hot_rows', type: long },
    { name: 'committed_rows', type: long },
    { name: 'files', type: long },
    { name: 'bytes', type: long },
    { name: 'snapshot_id', type: long },
    { name: 'log_end', type: long },
    { name: 'checkpoint', type: long },
    { name: 'lag_bytes', type: long },
    { name: 'duplicates', type: long },
    { name: 'dead_letters', type: long },
    { name: 'last_commit_at', type: time },
    { name: 'problem', type: text },
  ],
  rollups: [
    { name: 'name', type: text },
    { name: 'source', type: text },
    { name: 'bucket', type: text },
    { name: 'rows', type: long },
    { name: 'files', type: long },
    { name: 'bytes', type: long },
    { name: 'source_snapshot_id', type: long },
    { name: 'lag_ms', type: long },
    { name: 'last_commit_at', type: time },
    { name: 'complete_through', type: time },
    { name: 'problem', type: text },
  ],
  snapshots: [
    { name: 'stream', type: text },
    { name: 'snapshot_id', type: long },
    { name: 'parent_id', type: long },
    { name: 'committed_at', type: time },
    { name: 'operation', type: text },
    { name: 'added_rows', type: long },
    { name: 'added_files', type: long },
    { name: 'total_rows', type: long },
    { name: 'total_files', type: long },
    { name: 'positions', type: text },
    { name: 'tags', type: text },
  ],
  files: [
    { name: 'stream', type: text },
    { name: 'path', type: text },
    { name: 'partition', type: text },
    { name: 'rows', type: long },
    { name: 'bytes', type: long },
    { name: 'min_event_time', type: time },
    { name: 'max_event_time', type: time },
    { name: 'snapshot_id', type: long },
  ],
  ledger: [
    { name: 'stream', type: text },
    { name: 'source', type: text },
    { name: 'hour', type: time },
    { name: 'accepted', type: long },
    { name: 'committed', type: long },
    { name: 'deduplicated', type: long },
    { name: 'dead_lettered', type: long },
    { name: 'in_flight', type: long },
    { name: 'removed', type: long },
  ],
  maintenance: [
    { name: 'stream', type: text },
    { name: 'job', type: text },
    { name: 'partition', type: text },
    { name: 'state', type: text },
    { name: 'reason', type: text },
    { name: 'files_before', type: long },
    { name: 'files_after', type: long },
    { name: 'bytes_before', type: long },
    { name: 'bytes_after', type: long },
    { name: 'rows', type: long },
    { name: 'started_at', type: time },
    { name: 'finished_at', type: time },
    { name: 'next_at', type: time },
    { name: 'snapshot_id', type: long },
  ],
  sites: [
    { name: 'stream', type: text },
    { name: 'site', type: text },
    { name: 'state', type: text },
    { name: 'last_event_time', type: time },
    { name: 'reported_through', type: time },
    { name: 'last_arrival', type: time },
    { name: 'lag_ms', type: long },
    { name: 'silent_ms', type: long },
    { name: 'holds_back', type: { kind: 'boolean' } },
    { name: 'complete_through', type: time },
  ],
}

export const systemTableNames: ReadonlySet<string> = new Set(Object.keys(systemTableColumns))

export interface SystemTablesOptions {
  connection: DuckDBConnection
  log: Log
  tmpDir: string
  /** Folder of the tables, for absolute paths. */
  lakeDir: string
  declared: ReadonlySet<string>
  loaders: () => Iterable<StreamLoader>
  rollups: Rollups
  completeness: Completeness
  maintenance: () => MaintenanceRow[]
}

export class SystemTables {
  readonly #options: SystemTablesOptions
  readonly #turns = new Mutex()

  constructor(options: SystemTablesOptions) {
    this.#options = options
  }

  /** Makes the named tables show the state of this moment. */
  refresh(names: ReadonlySet<string>): Promise<void> {
    return this.#turns.run(async () => {
      for (const name of names) await this.#write(name as SystemTable)
    })
  }

  async #write(name: SystemTable): Promise<void> {
    const { connection, tmpDir } = this.#options
    const rows = await this.#rows(name)
    const file = join(tmpDir, `system-${name}.ndjson`)
    const columns = systemTableColumns[name]
    await writeFile(file, rows.map((row) => `${stringifyJson(row)}\n`).join(''))
    try {
      const source = rows.length === 0 ? 'no_rows' : readJson(file, columns, 1024 * 1024)
      const empty = `(SELECT ${columns.map((column) => `CAST(NULL AS VARCHAR) AS "${column.name}"`).join(', ')} WHERE false) AS no_rows`
      await connection.run(
        `CREATE OR REPLACE TABLE freshet.${name} AS SELECT ${storedSelect(columns)} FROM ${rows.length === 0 ? empty : source}`,
      )
    } finally {
      await rm(file, { force: true })
    }
  }

  async #rows(name: SystemTable): Promise<Row[]> {
    if (name === 'sites') return this.#siteRows()
    if (name === 'rollups') return this.#rollupRows()
    if (name === 'maintenance') return this.#options.maintenance().map(maintenanceRow)
    const rows: Row[] = []
    const { loaders, rollups } = this.#options
    if (name === 'snapshots' || name === 'files') {
      for (const table of [...[...loaders()].map((loader) => loader.table), ...rollups.tables()])
        rows.push(...(name === 'snapshots' ? snapshotRows(table) : this.#fileRows(table)))
      return rows
    }
    for (const loader of loaders()) {
      if (name === 'streams') rows.push(await this.#streamRow(loader))
      else rows.push(...(await ledgerRows(loader)))
    }
    return rows
  }

  async #siteRows(): Promise<Row[]> {
    const reports = await this.#options.completeness.report()
    return [...reports.values()].flatMap(({ completeThroughMs, sites }) =>
      sites.map((site) => ({
        stream: site.stream,
        site: site.site,
        state: site.state,
        last_event_time: isoOfMs(site.lastEventMs),
        reported_through: isoOfMs(site.reportedThroughMs),
        last_arrival: isoOfMs(site.lastArrivalMs),
        lag_ms: site.lagMs ?? null,
        silent_ms: site.silentMs ?? null,
        holds_back: site.holdsBack,
        complete_through: isoOfMs(completeThroughMs),
      })),
    )
  }

  async #rollupRows(): Promise<Row[]> {
    const { rollups, completeness } = this.#options
    const all = await rollups.status((names) => completeness.through(names))
    return all.map((one) => ({
      name: one.name,
      source: one.from,
      bucket: one.bucket,
      rows: one.rows,
      files: one.files,
      bytes: one.bytes,
      source_snapshot_id: one.sourceSnapshot === null ? null : BigInt(one.sourceSnapshot),
      lag_ms: one.lagMs,
      last_commit_at: one.lastCommitAt,
      complete_through: one.completeThrough,
      problem: one.problem,
    }))
  }

  async #streamRow({ table, stats, ledger }: StreamLoader): Promise<Row> {
    const { log, declared } = this.#options
    const { stream, files } = table
    const end = (await log.ends(stream.name)).get(0) ?? 0n
    const committedRows = files.reduce((sum, file) => sum + file.recordCount, 0)
    const snapshot = table.table && currentSnapshot(table.table.metadata)
    const totals = ledger?.loaded()
    return {
      name: stream.name,
      declared: declared.has(stream.name),
      schema: stream.schema === null ? 'inferred' : stream.open ? 'open' : 'declared',
      id_field: stream.id,
      time_field: stream.time?.field ?? null,
      partition: `${stream.partition.unit} of ${stream.partition.by}`,
      rows: committedRows + table.hotRows,
      hot_rows: table.hotRows,
      committed_rows: committedRows,
      files: files.length,
      bytes: files.reduce((sum, file) => sum + file.bytes, 0),
      snapshot_id: snapshot?.['snapshot-id'] ?? null,
      log_end: end,
      checkpoint: table.checkpoint,
      lag_bytes: Math.max(0, Number(end - table.checkpoint)),
      duplicates: totals?.deduplicated ?? stats.repeats,
      dead_letters: totals?.deadLettered ?? stats.deadLetters,
      last_commit_at: snapshot ? new Date(snapshot['timestamp-ms']).toISOString() : null,
      problem: stats.problem ?? null,
    }
  }

  #fileRows(table: StreamTable): Row[] {
    return table.files.map((file) => ({
      stream: table.stream.name,
      path: join(this.#options.lakeDir, file.key),
      partition:
        file.partition && file.partitionValue !== null ? partitionText(file.partition.unit, file.partitionValue) : null,
      rows: file.recordCount,
      bytes: file.bytes,
      min_event_time: isoOf(file.eventTime.lower),
      max_event_time: isoOf(file.eventTime.upper),
      snapshot_id: file.snapshotId,
    }))
  }
}

function maintenanceRow(row: MaintenanceRow): Row {
  return {
    stream: row.table,
    job: row.job,
    partition: row.partition,
    state: row.state,
    reason: row.reason,
    files_before: row.filesBefore,
    files_after: row.filesAfter,
    bytes_before: row.bytesBefore,
    bytes_after: row.bytesAfter,
    rows: row.rows,
    started_at: row.startedAt,
    finished_at: row.finishedAt,
    next_at: row.nextAt,
    snapshot_id: row.snapshotId === null ? null : BigInt(row.snapshotId),
  }
}

async function ledgerRows({ table, ledger }: StreamLoader): Promise<Row[]> {
  const lines = (await ledger?.rows()) ?? []
  return lines.map((line) => ({
    stream: table.stream.name,
    source: line.source,
    hour: new Date(line.hour * hourMs).toISOString(),
    accepted: line.accepted,
    committed: line.committed,
    deduplicated: line.deduplicated,
    dead_lettered: line.deadLettered,
    in_flight: line.inFlight,
    removed: line.removed ?? 0,
  }))
}

function snapshotRows(table: StreamTable): Row[] {
  const tags = Object.entries(table.table?.metadata.refs ?? {}).filter(([, { type }]) => type === 'tag')
  const tagsOf = (id: bigint): string =>
    tags.flatMap(([name, ref]) => (ref['snapshot-id'] === id ? name : [])).join(', ')
  return (table.table?.metadata.snapshots ?? []).map((snapshot) => ({
    stream: table.stream.name,
    snapshot_id: snapshot['snapshot-id'],
    parent_id: snapshot['parent-snapshot-id'] ?? null,
    committed_at: new Date(snapshot['timestamp-ms']).toISOString(),
    operation: snapshot.summary['operation'] ?? null,
    added_rows: count(snapshot, 'added-records'),
    added_files: count(snapshot, 'added-data-files'),
    total_rows: count(snapshot, 'total-records'),
    total_files: count(snapshot, 'total-data-files'),
    positions: snapshot.summary[positionsKey] ?? null,
    tags: tagsOf(snapshot['snapshot-id']) || null,
  }))
}

function count(snapshot: Snapshot, field: string): number {
  return Number(snapshot.summary[field] ?? 0)
}

function isoOfMs(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString()
}

function isoOf(micros: bigint | undefined): string | null {
  if (micros === undefined) return null
  const millis = micros / 1000n - (micros % 1000n < 0n ? 1n : 0n)
  return `${new Date(Number(millis)).toISOString().slice(0, -1)}${String(Number(micros - millis * 1000n)).padStart(3, '0')}Z`
}
