/** The rows of one stream, as far as receipts ask for them. Only data files whose bounds allow it are opened. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection, JS } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema } from '../../lake/metadata.ts'
import type { ScanFile } from '../../lake/scan.ts'
import type { Position } from '../../log/log.ts'
import { readJson } from '../columns.ts'
import { partitionOf, type Scope } from '../dedup/scan.ts'
import type { HotTable } from '../hot-table.ts'
import { idFile } from '../id-source.ts'
import { eventKey, idInKey } from './receipt-batch.ts'
import { identifier, literal } from '../sql-text.ts'

/** What a stream's table was at one moment. */
export interface TableState {
  /** Everything before it is in queries. */
  position: Position
  /** Everything before it is committed. */
  checkpoint: Position
  table: LoadedTable | undefined
  files: readonly ScanFile[]
  hot: readonly HotTable[]
}

export interface RowsOptions {
  /** Used by nobody else meanwhile. */
  connection: DuckDBConnection
  state: TableState
  scope: Scope
  lakeDir: string
  tmpDir: string
  /** The view of the stream's letters, if there is one, and where events start whose letters are in the log behind it. */
  letters: { view: string | undefined; logged: readonly Position[] }
  /** Aborted when nobody waits for the answer any more. */
  signal: AbortSignal
}

const systemTypes = {
  _event_id: 'VARCHAR',
  _event_time: 'TIMESTAMP WITH TIME ZONE',
  _received_at: 'TIMESTAMP WITH TIME ZONE',
}
const idBytesMax = 65_536

export class ReceiptRows {
  readonly #options: RowsOptions

  constructor(options: RowsOptions) {
    this.#options = options
  }

  /** Calls `onRow` for each row that arrived then, with its key and its file; undefined for a row that is not committed. */
  async arrivedAt(receivedAtMs: number, onRow: (key: string, file: string | undefined) => void): Promise<void> {
    const { state, scope } = this.#options
    const time = `TIMESTAMPTZ ${literal(new Date(receivedAtMs).toISOString())}`
    const parts = state.hot.map(
      ({ relation }) => `SELECT _event_id, epoch_us(_event_time), NULL FROM ${relation} WHERE _received_at = ${time}`,
    )
    const files = state.files.filter(({ receivedAt }) => holds(receivedAt, BigInt(receivedAtMs) * 1000n))
    if (files.length > 0) {
      parts.push(
        `SELECT _event_id, epoch_us(_event_time), _file FROM ${this.#read(files)} WHERE _received_at = ${time}`,
      )
    }
    await this.#eachRow(parts, ([id, timeMicros, file]) => {
      const key = eventKey(partitionOf(timeMicros as bigint, scope), id as string)
      onRow(key, file === null ? undefined : (file as string))
    })
  }

  /** Which of the events with these keys there are, whenever they arrived. */
  async present(keys: readonly string[]): Promise<Set<string>> {
    const { state, scope, tmpDir } = this.#options
    const present = new Set<string>()
    if (keys.length === 0) return present
    const wanted = new Set(keys)
    const partitions = new Set(keys.map((key) => Number.parseInt(key, 10)))
    const files = state.files.filter((file) => {
      const { partition } = idFile(file, scope)
      return partition === undefined || partitions.has(partition)
    })
    const sources = state.hot.map(({ relation }) => relation)
    if (files.length > 0) sources.push(this.#read(files))
    const list = join(tmpDir, `receipt-${process.hrtime.bigint()}.ndjson`)
    await writeFile(list, keys.map((key) => `${JSON.stringify({ id: idInKey(key) })}\n`).join(''))
    try {
      const ids = `SELECT id FROM ${readJson(list, [{ name: 'id', type: { kind: 'string' } }], idBytesMax)}`
      const parts = sources.map(
        (source) => `SELECT _event_id, epoch_us(_event_time) FROM ${source} WHERE _event_id IN (${ids})`,
      )
      await this.#eachRow(parts, ([id, timeMicros]) => {
        const key = eventKey(partitionOf(timeMicros as bigint, scope), id as string)
        if (wanted.has(key)) present.add(key)
      })
    } finally {
      await rm(list, { force: true })
    }
    return present
  }

  /** Where the events of a stream start in its log that could not be loaded, between two positions. */
  async deadLetters(from: Position, to: Position): Promise<Set<Position>> {
    const { letters } = this.#options
    const found = new Set<Position>()
    const isAsked = (position: Position): boolean => position >= from && position < to
    const query = `SELECT position FROM ${identifier(letters.view ?? '')} WHERE stage = 'load' AND position >= ${from} AND position < ${to}`
    await this.#eachRow(letters.view === undefined ? [] : [query], ([position]) => found.add(position as bigint))
    for (const position of letters.logged) if (isAsked(position)) found.add(position)
    return found
  }

  /** The rows of all parts, a piece at a time. */
  async #eachRow(parts: readonly string[], onRow: (row: readonly JS[]) => void): Promise<void> {
    const { connection, signal } = this.#options
    signal.throwIfAborted()
    if (parts.length === 0) return
    const result = await connection.stream(parts.join(' UNION ALL '))
    for (
      let chunk = await result.fetchChunk();
      chunk !== null && chunk.rowCount > 0;
      chunk = await result.fetchChunk()
    ) {
      for (const row of chunk.getRows()) onRow(row as readonly JS[])
    }
  }

  /** A FROM item over data files, read by field id, with each row's file as `_file`. */
  #read(files: readonly ScanFile[]): string {
    const { state, lakeDir } = this.#options
    const fields = currentSchema(state.table!.metadata).fields.filter(({ name }) => Object.hasOwn(systemTypes, name))
    const types = fields.map(
      ({ id, name }) =>
        `${id}: {name: ${literal(name)}, type: ${literal(systemTypes[name as keyof typeof systemTypes])}, default_value: NULL}`,
    )
    const paths = files.map(({ key }) => literal(join(lakeDir, key)))
    return `read_parquet([${paths.join(', ')}], schema = MAP {${types.join(', ')}}, filename = '_file')`
  }
}

function holds({ lower, upper }: ScanFile['receivedAt'], micros: bigint): boolean {
  return (lower === undefined || lower <= micros) && (upper === undefined || micros <= upper)
}
