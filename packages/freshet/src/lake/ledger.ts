/**
 * The ledger of a table (I6): for each source and hour of arrival, how many events the log took and what became of them. It
 * changes in the same compare-and-swap as the data files and positions, so it says neither more nor less than the table has.
 *
 * Format: the table property `freshet.ledger` holds, as JSON,
 * - `positions`: the log positions up to which it counts; they are the table's, always (see below);
 * - `begun`: the positions from which it counts, and how many rows the table had then (null: not known);
 * - `totals`: accepted, committed, deduplicated, dead-lettered, and removed where there are some, over all rows;
 * - `recent`: the newest rows, [source, hour, accepted, committed, deduplicated, deadLettered] and removed where there are some;
 * - `files`: the other rows, in files that never change (ledger-file.ts). A source and hour may be in several places: they add up;
 * - `retired`: files that merging has replaced, each with the sequence number of the commit that did. They stay for as many commits
 *   as there are former versions of the metadata, whose properties name them, and are removed then.
 *
 * Cost: when `recent` outgrows its limit, the older rows move to a new file; when enough files of one size are there, they are merged
 * to one of the next size. A row is so written once a size, and there are O(log n) files; a file of full size is left alone for ever, which
 * bounds what one commit may have to do.
 *
 * Crash points: a new file is written before the swap; without the swap nothing refers to it, and it only takes space. After the
 * swap, retired files may be left behind: likewise. A conflict makes the commit anew from the winner's properties.
 *
 * Rows that leave the table by erasure, retention or a roll-back of ours stay committed, and are counted as removed as well, in the
 * commit that takes them out: committed - removed is what the data files hold.
 *
 * When the positions are not the table's, somebody else moved the table: another engine rolled it back, or a version of Freshet
 * that kept no ledger wrote to it. Nobody can say which rows still hold, so the ledger begins anew from where the table is. So it does for a table
 * that never had one.
 *
 * Other engines pass the property through. Their clean-up of orphan files does not know ledger files and must leave
 * `metadata/ledger-*` alone. Without its files the ledger cannot be read, but the table can, and commits go on.
 */
import type { Positions } from '../log/log.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { encodeLedgerFile, ledgerFileKey, readLedgerFile, type LedgerFile } from './ledger-file.ts'
import {
  LedgerSum,
  readStoredRow,
  storedRow,
  totalOf,
  type LedgerCounts,
  type LedgerRow,
  type StoredRow,
} from './ledger-rows.ts'
import {
  currentSnapshot,
  formatPositions,
  parsePositions,
  samePositions,
  tablePositions,
  uuid,
  type TableMetadata,
} from './metadata.ts'
import { dropIdleSources, formatSources, noteSource, sourcesKey, tableSources, type Sources } from './sources.ts'

/** What a commit adds to the ledger. */
export interface LedgerDelta {
  /** Each balances: accepted = committed + deduplicated + deadLettered. */
  rows: readonly LedgerRow[]
  /** What is new of the sources. */
  sources: Sources
  /** Sources that stay, however long ago they were seen. */
  keptSources?: ReadonlySet<string>
}

interface LedgerBeginning {
  /** Events before these log positions are not in the ledger. */
  positions: Positions
  /** Rows that the table had then; null when that is not known. */
  rows: number | null
}

export interface TableLedger {
  begun: LedgerBeginning
  totals: LedgerCounts
  /** One for each source and hour, in order of hour and source. */
  rows: LedgerRow[]
}

/** The property, parsed. */
interface LedgerState {
  begun: LedgerBeginning
  totals: LedgerCounts
  recent: LedgerRow[]
  files: LedgerFile[]
  retired: [file: string, sequenceNumber: number][]
}

interface StoredLedger {
  format: number
  positions: Record<string, string>
  begun: { positions: Record<string, string>; rows: number | null }
  totals: [number, number, number, number, number?]
  recent: StoredRow[]
  files: LedgerFile[]
  retired: [string, number][]
}

export const ledgerKey = 'freshet.ledger'
const recentRowsMax = 400
/** Files of one size that are left alone: with one more they are merged. A size has four times the rows of the one before. */
const fileRowsMin = 256
const growth = 4
/** A file with this many rows is never read again by a commit. */
const fileRowsFull = 65_536
/** As many commits as the catalog keeps versions. */
const retiredCommits = 100

/**
 * The ledger of a table as its last commit left it.
 * @throws FreshetError `corrupt_table` when the property or a ledger file is damaged
 */
export async function readLedger(store: ObjectStore, table: LoadedTable): Promise<TableLedger> {
  const { begun, totals, recent, files } = ledgerState(table.metadata)
  const sum = new LedgerSum()
  for (const file of files) sum.addAll(await readLedgerFile(store, table, file))
  sum.addAll(recent)
  return { begun, totals, rows: sum.rows() }
}

/** What the ledger adds up to, without reading its files. @throws FreshetError `corrupt_table` */
export function ledgerTotals(metadata: TableMetadata): LedgerCounts {
  return ledgerState(metadata).totals
}

/** Keys of the files that the ledger has, and of those that former versions of the metadata have. @throws FreshetError `corrupt_table` */
export function ledgerFileKeys(table: Pick<LoadedTable, 'name' | 'metadata'>): string[] {
  const { files, retired } = ledgerState(table.metadata)
  return [...files.map(({ file }) => file), ...retired.map(([file]) => file)].map((file) => ledgerFileKey(table, file))
}

export interface LedgerWriter {
  store: ObjectStore
  random: Random
  logger: Logger
  table: Pick<LoadedTable, 'name' | 'metadata'>
  /** Keys of everything written, for removal should the commit fail for good. */
  written: string[]
}

export interface NextLedger {
  properties: Record<string, string>
  /** Key of the file that was written, if any. */
  added: string[]
  /** Keys of files to be removed after the commit. */
  doomed: string[]
}

/**
 * The table properties after a commit that moves the table to `to` and adds `delta`. May write a ledger file. A damaged ledger
 * keeps nobody from committing: damaged files are left as they are, a damaged property is begun anew.
 */
export async function nextLedger(writer: LedgerWriter, to: Positions, delta: LedgerDelta): Promise<NextLedger> {
  const { table } = writer
  const sequenceNumber = table.metadata['last-sequence-number'] + 1
  const state = readableState(writer)
  const recent = new LedgerSum([...state.recent, ...delta.rows]).rows()
  const { kept, files, retired, added } = await spill(writer, recent, state.files)
  const stays = (since: number): boolean => since > sequenceNumber - retiredCommits
  const former = state.retired.filter(([, since]) => stays(since))
  const stored: StoredLedger = {
    format: 1,
    positions: plain(to),
    begun: { positions: plain(state.begun.positions), rows: state.begun.rows },
    totals: storedTotals(totalOf([state.totals, ...delta.rows])),
    recent: kept.map(storedRow),
    files,
    retired: [...former, ...retired.map(({ file }): [string, number] => [file, sequenceNumber])],
  }
  const sources = tableSources(table.metadata)
  for (const [source, seen] of delta.sources) noteSource(sources, source, seen)
  dropIdleSources(sources, delta.keptSources)
  return {
    properties: { [ledgerKey]: JSON.stringify(stored), [sourcesKey]: formatSources(sources) },
    added,
    doomed: state.retired.flatMap(([file, since]) => (stays(since) ? [] : ledgerFileKey(table, file))),
  }
}

/** Moves rows from the property to a file when they are too many; the newest hour, which is still filling, stays if it is small. */
async function spill(
  writer: LedgerWriter,
  recent: readonly LedgerRow[],
  files: readonly LedgerFile[],
): Promise<{ kept: readonly LedgerRow[]; files: LedgerFile[]; retired: LedgerFile[]; added: string[] }> {
  if (recent.length <= recentRowsMax) return { kept: recent, files: [...files], retired: [], added: [] }
  const newest = recent.at(-1)!.hour
  const filling = recent.filter(({ hour }) => hour === newest)
  const kept = filling.length <= recentRowsMax / 2 ? filling : []
  const moved = new LedgerSum(recent.filter((row) => kept.length === 0 || row.hour !== newest))
  const { rest, retired } = await mergeInto(writer, moved, files)
  const file = `ledger-${uuid(writer.random)}.ndjson`
  const key = ledgerFileKey(writer.table, file)
  writer.written.push(key)
  const rows = moved.rows()
  await writer.store.put(key, encodeLedgerFile(rows))
  return { kept, files: [...rest, { file, rows: rows.length }], retired, added: [key] }
}

/** Adds the rows of files to `moved` for as long as there are enough of its size. */
async function mergeInto(
  { store, table, logger }: LedgerWriter,
  moved: LedgerSum,
  files: readonly LedgerFile[],
): Promise<{ rest: LedgerFile[]; retired: LedgerFile[] }> {
  let rest = [...files]
  const retired: LedgerFile[] = []
  while (moved.size < fileRowsFull) {
    const size = sizeClass(moved.size)
    const peers = rest.filter(({ rows }) => rows < fileRowsFull && sizeClass(rows) === size)
    if (peers.length < growth - 1) break
    const readable = new Map<LedgerFile, LedgerRow[]>()
    for (const file of peers) {
      try {
        readable.set(file, await readLedgerFile(store, table, file))
      } catch (error) {
        logger.error({ table: table.name, reason: messageOf(error) }, 'a ledger file could not be merged')
      }
    }
    if (readable.size < growth - 1) break
    for (const rows of readable.values()) moved.addAll(rows)
    retired.push(...readable.keys())
    rest = rest.filter((file) => !readable.has(file))
  }
  return { rest, retired }
}

function sizeClass(rows: number): number {
  let size = 0
  for (let limit = fileRowsMin * growth; rows >= limit; limit *= growth) size++
  return size
}

function readableState({ table, logger }: LedgerWriter): LedgerState {
  try {
    return ledgerState(table.metadata)
  } catch (error) {
    logger.error({ table: table.name, reason: messageOf(error) }, 'the ledger is damaged and begins anew')
    return newState(table.metadata)
  }
}

/** @throws FreshetError `corrupt_table` */
function ledgerState(metadata: TableMetadata): LedgerState {
  const text = metadata.properties[ledgerKey]
  if (text === undefined) return newState(metadata)
  try {
    const stored = JSON.parse(text) as StoredLedger
    if (stored.format !== 1) throw new Error(`it has the format ${stored.format}`)
    if (!samePositions(positionsOf(stored.positions), tablePositions(metadata))) {
      const since = metadata['last-sequence-number']
      const old = stored.files.map(({ file }): [string, number] => [file, since])
      return { ...newState(metadata), retired: [...stored.retired, ...old] }
    }
    const [accepted, committed, deduplicated, deadLettered, removed] = stored.totals
    return {
      begun: { positions: positionsOf(stored.begun.positions), rows: stored.begun.rows },
      totals: { accepted, committed, deduplicated, deadLettered, ...(removed !== undefined && { removed }) },
      recent: stored.recent.map(readStoredRow),
      files: stored.files,
      retired: stored.retired,
    }
  } catch (error) {
    throw new FreshetError('corrupt_table', `The table property ${ledgerKey} cannot be read: ${messageOf(error)}.`, {
      hint: "Restore the table's metadata. The next commit begins a new ledger.",
      cause: error,
    })
  }
}

function newState(metadata: TableMetadata): LedgerState {
  const snapshot = currentSnapshot(metadata)
  const rows = snapshot === undefined ? 0 : Number(snapshot.summary['total-records'] ?? Number.NaN)
  return {
    begun: { positions: tablePositions(metadata), rows: Number.isSafeInteger(rows) ? rows : null },
    totals: totalOf([]),
    recent: [],
    files: [],
    retired: [],
  }
}

function storedTotals(totals: LedgerCounts): StoredLedger['totals'] {
  const { accepted, committed, deduplicated, deadLettered, removed } = totals
  const counts: StoredLedger['totals'] = [accepted, committed, deduplicated, deadLettered]
  if (removed !== undefined) counts.push(removed)
  return counts
}

function plain(positions: Positions): Record<string, string> {
  return JSON.parse(formatPositions(positions)) as Record<string, string>
}

function positionsOf(stored: Record<string, string>): Positions {
  return parsePositions(JSON.stringify(stored))
}
