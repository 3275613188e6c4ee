/**
 * What a stream's table has, for a consumer that is new to the stream: all rows of one snapshot as lines of the log, in the order of arrival, some
 * at a time. Behind the last row the consumer goes on in the log, from the position that the snapshot stands for (I3): so it is given each event
 * once, with no gap.
 *
 * - A tag keeps the snapshot, `back-fill:<consumer>`, as long as the consumer is at it. A crash leaves the tag: beginning anew moves it.
 * - Rows are in a total order, of `_received_at`, `_event_time` and `_event_id`, and a place among them is the row before. The same question has the
 *   same answer, however often it is asked and whatever was committed since.
 * - An erasure drops the tag with the snapshot: then the place is in no snapshot any more, and the consumer has to begin anew.
 *
 * Rows without id or time, which only other engines add, are not events and are left out. What the table does not tell is lost: whether a field
 * that is null was sent, and how a number or time was spelled.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { CommitDeps } from '../../lake/commit.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { currentSchema, currentSnapshot, formerFields, snapshotById, tablePositions } from '../../lake/metadata.ts'
import { createTag, dropTag } from '../../lake/refs.ts'
import { planScan, type ScanFile } from '../../lake/scan.ts'
import type { Position } from '../../log/log.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { Column } from '../../config/plan.ts'
import type { Database } from '../duckdb.ts'
import { FileLayouts } from '../file-layouts.ts'
import { logLine, utcText } from '../json-lines.ts'
import type { Readers } from '../readers.ts'
import { literal } from '../sql-text.ts'
import { knownColumns, selectStream } from '../stream-view.ts'
import type { KeptTable } from '../upkeep/job.ts'
import { BackFillPage, type Page, type Row, type RowPlace } from './page.ts'

export interface BackFillsDeps extends CommitDeps {
  database: Database
  readers: Readers
  lakeDir: string
  tableOf: (stream: string) => KeptTable | undefined
}

export interface Begun {
  /** The snapshot's id. */
  snapshot: string
  /** The log position that it stands for. */
  position: Position
}

export interface PageRequest {
  snapshot: string
  /** The row before; undefined for the first page. */
  after: RowPlace | undefined
  /** Most bytes of lines; one line there is in any case. */
  bytesMax: number
}

/** The files of a snapshot, in the order in which their rows begin to arrive. */
interface SnapshotFiles {
  files: readonly ScanFile[]
  layouts: FileLayouts
}

const partition = 0
const pageRowsMax = 50_000
/** What a line takes at least, and how much longer lines are than their share of a data file, for want of anything better. */
const lineBytesMin = 100
const unpackedTimes = 3
const snapshotsMax = 8
/** Rows of so many pages are read together. */
const pagesAtOnce = 8
const rowsAtOnceMax = 100_000

/** Rows that were read and are to come next. */
interface Ahead {
  snapshot: string
  after: RowPlace
  rows: readonly Row[]
}

export class BackFills {
  readonly #deps: BackFillsDeps
  /** By stream and snapshot, the one that was read last at the end. */
  readonly #files = new Map<string, SnapshotFiles>()

  /** By stream, those that were read last at the end. */
  readonly #ahead = new Map<string, Ahead>()

  constructor(deps: BackFillsDeps) {
    this.#deps = deps
  }

  /** Keeps the newest snapshot of a stream's table for a consumer. undefined while there is none. */
  async begin(stream: string, consumer: string): Promise<Begun | undefined> {
    const kept = this.#deps.tableOf(stream)
    if (kept?.table === undefined || currentSnapshot(kept.table.metadata) === undefined) return undefined
    const tag = tagOf(consumer)
    let begun: Begun | undefined
    await kept.change(async (base) => {
      const id = currentSnapshot(base.metadata)!['snapshot-id']
      begun = { snapshot: String(id), position: tablePositions(base.metadata).get(partition) ?? 0n }
      const former = base.metadata.refs[tag]
      const free = former === undefined || former['snapshot-id'] === id ? base : await this.#dropped(base, tag)
      return (await createTag(this.#deps, free, tag, id)).table
    }, 'kept')
    return begun
  }

  /** Lets a consumer's snapshot go. */
  async end(stream: string, consumer: string): Promise<void> {
    const tag = tagOf(consumer)
    const kept = this.#deps.tableOf(stream)
    if (kept?.table?.metadata.refs[tag] === undefined) return
    await kept.change((base) => this.#dropped(base, tag), 'kept')
  }

  async #dropped(base: LoadedTable, tag: string): Promise<LoadedTable> {
    return base.metadata.refs[tag] === undefined ? base : (await dropTag(this.#deps, base, tag)).table
  }

  /** The next rows; none at the end. @throws FreshetError `unknown_snapshot` */
  async read(stream: string, request: PageRequest): Promise<Page> {
    const leave = this.#deps.readers.enter()
    try {
      const table = this.#deps.tableOf(stream)?.table
      const snapshot = table && snapshotById(table.metadata, BigInt(request.snapshot))
      if (table === undefined || snapshot === undefined) {
        throw new FreshetError('unknown_snapshot', `The snapshot ${request.snapshot} of ${stream} is gone.`, {
          hint: 'An erasure or another engine has removed it: the consumer begins anew.',
        })
      }
      const { files, layouts } = await this.#filesOf(table, request.snapshot)
      const rowsMax = rowsFor(files, request.bytesMax)
      const known = this.#ahead.get(stream)
      this.#ahead.delete(stream)
      if (known?.snapshot === request.snapshot && isSame(known.after, request.after)) {
        const page = this.#pageOf(stream, request, rowsMax, known.rows)
        if (page !== undefined) return page
      }
      const rowsAtOnce = Math.min(rowsAtOnceMax, pagesAtOnce * rowsMax)
      const rows = await this.#deps.database.with((connection) =>
        this.#rows(connection, table, { files, layouts }, request, Math.max(rowsAtOnce, rowsMax)),
      )
      return this.#pageOf(stream, request, rowsMax, rows, true)!
    } finally {
      leave()
    }
  }

  async #filesOf(table: LoadedTable, id: string): Promise<SnapshotFiles> {
    const key = `${table.name}/${id}`
    let found = this.#files.get(key)
    if (found === undefined) {
      const snapshot = snapshotById(table.metadata, BigInt(id))!
      const { files } = await planScan(this.#deps.store, table, { snapshot })
      const ordered = files.toSorted((a, b) => compare(lowerOf(a), lowerOf(b)) || compare(a.key, b.key))
      found = { files: ordered, layouts: new FileLayouts() }
    }
    this.#files.delete(key)
    this.#files.set(key, found)
    for (const old of this.#files.keys()) if (this.#files.size > snapshotsMax) this.#files.delete(old)
    return found
  }

  /** A page of rows that were read, and the rest for the next; undefined when more rows would make it a larger one. */
  #pageOf(
    stream: string,
    { snapshot, bytesMax }: PageRequest,
    rowsMax: number,
    rows: readonly Row[],
    isAll = false,
  ): Page | undefined {
    const page = new BackFillPage(bytesMax, rowsMax)
    const { taken, isFull } = page.fill(rows)
    if (!isFull && !isAll) return undefined
    const made = page.finish()
    if (made.last !== undefined && taken < rows.length) {
      this.#ahead.set(stream, { snapshot, after: made.last, rows: rows.slice(taken) })
      for (const old of this.#ahead.keys()) if (this.#ahead.size > snapshotsMax) this.#ahead.delete(old)
    }
    return made
  }

  /** The next rows, of some pages. Opens as few files as it needs: those behind begin with later rows than these end with. */
  async #rows(
    connection: DuckDBConnection,
    table: LoadedTable,
    { files, layouts }: SnapshotFiles,
    { after, bytesMax }: PageRequest,
    rowsMax: number,
  ): Promise<Row[]> {
    const afterMicros = after && microsOf(after.receivedAt)
    const left = files.filter(({ receivedAt: { upper } }) => !(afterMicros && upper && upper < afterMicros))
    const schema = currentSchema(table.metadata)
    const known = knownColumns(table)
    const rows = async (some: readonly ScanFile[], columns: readonly Column[]): Promise<string> => {
      const paths = some.map(({ key }) => join(this.#deps.lakeDir, key))
      await layouts.learn(connection, table.metadata, paths)
      const former = formerFields(table.metadata)
      const { lakeDir } = this.#deps
      return selectStream(columns, { schema, formerFields: former, files: some, lakeDir, layouts }, [])
    }
    const order = known.filter(({ name }) => orderNames.includes(name))
    if (order.length < orderNames.length) return []
    for (let count = filesWith(left, 0, rowsMax); count > 0; count = filesWith(left, count, rowsMax)) {
      const chosen = left.slice(0, count)
      const next = left[count]
      const beyond = next && lowerOf(next)
      const conditions = [behind(after), ...(beyond === undefined ? [] : [`_received_at < ${momentOf(beyond)}`])]
      const where = conditions.join(' AND ')
      const bound = await boundOf(connection, `SELECT * FROM (${await rows(chosen, order)}) WHERE ${where}`, rowsMax)
      if (bound.rows < rowsMax && count < left.length) continue
      if (bound.last === undefined) break
      // Without a LIMIT, for which DuckDB would keep a heap of whole lines: no more rows come than arrived at that very moment.
      const select = `
        SELECT ${logLine(known)}, _event_id, ${utcText('_event_time', '%f')}, ${utcText('_received_at', '%f')},
          ${known.some(({ name }) => name === '_source') ? '_source' : 'NULL'}, epoch_us(_event_time)
        FROM (${await rows(chosen, known)})
        WHERE ${where} AND _received_at <= ${momentOf(bound.last)}
        ORDER BY _received_at, _event_time, _event_id`
      const result = await connection.stream(select)
      const found: Row[] = []
      let bytes = 0
      for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
        for (const row of chunk.getRows() as unknown as Row[]) {
          found.push(row)
          bytes += row[0].length
        }
        // A page more than is asked for, so that the last one is whole.
        if (found.length >= rowsMax || bytes > (pagesAtOnce + 1) * bytesMax) break
      }
      return found
    }
    return []
  }
}

const orderNames = ['_event_id', '_event_time', '_received_at']

function isSame(a: RowPlace, b: RowPlace | undefined): boolean {
  return b !== undefined && a.id === b.id && a.eventTime === b.eventTime && a.receivedAt === b.receivedAt
}

function tagOf(consumer: string): string {
  return `back-fill:${consumer}`
}

/** Files whose rows nobody has bounds of may begin anywhere. */
function lowerOf({ receivedAt: { lower } }: ScanFile): bigint {
  return lower ?? -(2n ** 63n)
}

function compare<T extends bigint | string>(a: T, b: T): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

/** How many of the files have so many rows at least, more than `beyond` of them unless that is all. */
function filesWith(files: readonly ScanFile[], beyond: number, rows: number): number {
  if (beyond >= files.length) return 0
  let sum = 0
  let count = 0
  for (const { recordCount } of files) {
    sum += recordCount
    count++
    if (count > beyond * 2 && sum >= rows) break
  }
  return count
}

/** By what the snapshot's rows take on average: the same for each page of it. */
function rowsFor(files: readonly ScanFile[], bytesMax: number): number {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const rows = files.reduce((sum, { recordCount }) => sum + recordCount, 0)
  const lineBytes = Math.max(lineBytesMin, (unpackedTimes * bytes) / Math.max(1, rows))
  return Math.max(1, Math.min(pageRowsMax, Math.ceil(bytesMax / lineBytes)))
}

/** The condition for rows behind a place. */
function behind(after: RowPlace | undefined): string {
  const isEvent = '_event_id IS NOT NULL AND _event_time IS NOT NULL AND _received_at IS NOT NULL'
  if (after === undefined) return isEvent
  const [received, time] = [after.receivedAt, after.eventTime].map((text) => `TIMESTAMPTZ ${literal(text)}`)
  const later = `_event_time > ${time} OR (_event_time = ${time} AND _event_id > ${literal(after.id)})`
  return `${isEvent} AND _received_at >= ${received} AND (_received_at > ${received} OR ${later})`
}

/** When the last of the first rows arrived, microseconds since 1970, and how many there are. */
async function boundOf(
  connection: DuckDBConnection,
  rows: string,
  rowsMax: number,
): Promise<{ rows: number; last: bigint | undefined }> {
  const first = `SELECT _received_at AS moment FROM (${rows}) ORDER BY 1 LIMIT ${rowsMax}`
  const result = await connection.runAndReadAll(`SELECT count(*), epoch_us(max(moment)) FROM (${first})`)
  const [count, last] = result.getRows()[0]! as [bigint, bigint | null]
  return { rows: Number(count), last: last ?? undefined }
}

function momentOf(micros: bigint): string {
  return `make_timestamptz(${micros})`
}

/** @param text `YYYY-MM-DDTHH:MM:SS[.f{1,6}]Z` */
function microsOf(text: string): bigint {
  const [seconds = '', fraction = ''] = text.replace('Z', '').split('.')
  return BigInt(Date.parse(`${seconds}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0'))
}
