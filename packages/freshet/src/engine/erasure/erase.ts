/**
 * Erases what a condition means from everything that is left of a stream on disk, and looks afterwards whether it is gone.
 *
 * What is meant: events of the stream that fulfil the condition and arrived until the request (`_received_at`). The gateway begins a new
 * segment of the log behind them before the request comes here, so all of them lie below a position at which a segment begins. Events that
 * come later are not touched, nor are those that are sent again: their ids are forgotten, so they are new ones.
 *
 * Where an event can be, and what takes it from there:
 * - Log segments, the active one too: everything below the position is committed, and the segments below are trimmed (I7: the loader is the only
 *   consumer). A group that was refused, or torn, lies in one of them as well.
 * - Hot tables, and large chunks that are hot as files: dropped when their rows are committed; the files go when no query reads them.
 * - Data files of the current snapshot: rewritten without the rows, or removed (rewrite.ts).
 * - Data files of former snapshots, of tags and branches: the snapshots expire, whatever protects them, and the files are removed once no
 *   query reads them (history.ts).
 * - Files in no snapshot, which a crash left, or an upkeep that was interrupted: removed (unreached.ts). Upkeep is held back from before the
 *   first file is looked at until the check: what it read before, it would write anew after.
 * - What is made of it: rollups correct the buckets that events have left, and their former snapshots expire (made-tables.ts).
 * - The stream's dead letters: the event's text is a column there; their table and log are treated like the stream's own (letters.ts). A
 *   letter that comes while the erasure works is found by its check, and taken out in another round.
 * - Column bounds in manifests: those of rewritten files are of what is left; entries of removed files have none of ours, and other
 *   engines' are dropped; manifests of expired snapshots are removed with them.
 * - Former versions of the metadata: they name files and snapshots, no values of rows. Sources and columns have names, which are no events.
 * - Runs of ids (`cache/ids`): the book is told that ids are gone, and makes anew what named files that are gone.
 * - `.seen` files of the log: names of producers and idempotency keys, which clients chose for batches; they go a day after their last use
 *   (keys) or when newer ones need the room (producers). The check tells of them.
 * - Scratch and spill files: scratch goes with what made it, the loader's chunk, a query, a compaction; what DuckDB has spilled goes with the query, and at
 *   the next start in any case. The check waits for both.
 * - The record of the erasure itself: the condition's values are replaced by hashes at the end (record.ts).
 * - The state of `freshet send` on clients, and copies elsewhere: not ours.
 *
 * Crash points: every step looks at what is there, and does what is left to do; none relies on an earlier one having been noted. So
 * after a kill at any moment the next start begins with the first step, and passes over what is done. The record is durable
 * before the request is answered, and keeps the condition until the check has found nothing.
 */
import { deadLettersOf } from '../../events/dead-letter.ts'
import type { Positions } from '../../log/log.ts'
import type { Logger } from '../../runtime/logging.ts'
import type { Timers } from '../../runtime/timers.ts'
import { messageOf } from '../../runtime/errors.ts'
import { join } from 'node:path'
import { dropBounds, expireReaching, type HistoryRequest } from './history.ts'
import { expireMade, type MadeTables } from './made-tables.ts'
import { meansPresent } from './meant-columns.ts'
import { boundTest, needlesOf } from './needles.ts'
import type { ErasureCommit, ErasureRecord, ErasureState, SearchedPlace } from './record.ts'
import { commitsOf, eraseFromFiles, type ErasedTable, type RewriteDeps } from './rewrite.ts'
import { columnsIn, rowCondition } from './rows.ts'
import { searchIds, searchScratch, searchTable, type SearchLog } from './search.ts'
import { removeUnreached, type Sought } from './unreached.ts'
import { allFiles, mayBeMeant } from './wanted.ts'

/** A stream that can be erased from. */
export interface ErasedStream {
  kept: ErasedTable
  /** Resolves when everything before a log position is in the table, and the log trimmed as far as that goes. */
  trimUpTo(position: bigint, signal: AbortSignal): Promise<void>
}

export interface EraseDeps extends RewriteDeps {
  timers: Timers
  logger: Logger
  /** Where is remembered which ids the tables hold. */
  idDir: string
  /** The engine's scratch, all of it. */
  scratchDir: string
  searchLog: SearchLog
  /** The dead letters of a stream, if it has some. */
  lettersOf: (stream: string) => ErasedStream | undefined
  /** What is made of streams; left out, nothing is. */
  made?: MadeTables
  /** Begins a new segment of a stream's log behind all that was appended; gives the positions there. */
  rollLog: (stream: string) => Promise<Positions>
  /** Runs `work` while upkeep rewrites nothing, and has nothing left on disk of what it read before. */
  holdUpkeep: <T>(work: () => Promise<T>) => Promise<T>
  save: (record: ErasureRecord) => Promise<void>
}

const searchAgainMsMin = 250
const searchAgainMsMax = 5000
const toldMax = 3
const partition = 0

/**
 * Erases until the check finds nothing. Whatever fails is tried again by the caller.
 * @throws the signal's reason when it is aborted
 */
export async function erase(
  deps: EraseDeps,
  stream: ErasedStream,
  record: ErasureRecord,
  signal: AbortSignal,
): Promise<void> {
  const enter = async (state: ErasureState): Promise<void> => {
    signal.throwIfAborted()
    if (record.state === state) return
    record.state = state
    await deps.save(record)
  }
  const { report } = record
  for (let waitMs = searchAgainMsMin, round = 0; ; waitMs = Math.min(searchAgainMsMax, waitMs * 2), round++) {
    await enter('flushing')
    await stream.trimUpTo(BigInt(record.position), signal)
    // Behind the stream's own events: what of them could not be loaded has a letter by then.
    const lettersEnd = await commitLetters(deps, record.stream, signal)
    report.trimmedBelow = record.position

    const matches = await deps.holdUpkeep(async () => {
      // Bounds are believed once: when the check has found something, nothing is passed over.
      const requests = (): HistoryRequest[] => requestsOf(deps, stream, record, { isWhole: round > 0, signal })
      await enter('rewriting')
      await rewriteAll(deps, record, requests)
      // Before the snapshots go that tell what is made of the stream which rows have changed.
      await deps.made?.settle(record.stream, signal)
      await enter('expiring')
      await expireAll(deps, record, requests)
      await expireAllMade(deps, record, signal)
      await enter('checking')
      return check(deps, record, requests, lettersEnd)
    })
    if (matches.length === 0) return finish(deps, record)
    await wait(deps, record, `still there: ${matches.slice(0, toldMax).join('; ')}`)
    await deps.timers.sleep(waitMs, signal)
  }
}

/** @returns the position of the letters' log below which it has been let go of; undefined where there are no letters */
async function commitLetters(deps: EraseDeps, stream: string, signal: AbortSignal): Promise<bigint | undefined> {
  const letters = deps.lettersOf(stream)
  if (letters === undefined) return undefined
  const position = (await deps.rollLog(deadLettersOf(stream))).get(partition) ?? 0n
  await letters.trimUpTo(position, signal)
  return position
}

/** Takes what is meant out of the tables. */
async function rewriteAll(deps: EraseDeps, record: ErasureRecord, requests: () => HistoryRequest[]): Promise<void> {
  for (const request of requests()) {
    await request.kept.refresh()
    for (const commit of commitsOf(record.id, request.kept.table!)) addCommit(record, commit)
    await eraseFromFiles(deps, request, async (commit) => {
      addCommit(record, commit)
      await deps.save(record)
    })
  }
}

/** Takes it out of what was before, and of what is in no snapshot. */
async function expireAll(deps: EraseDeps, record: ErasureRecord, requests: () => HistoryRequest[]): Promise<void> {
  const { report } = record
  for (const request of requests()) {
    await dropBounds(deps, request)
    // Also after a crash between a commit and this, which the commit's own change would have done.
    await request.kept.change((table) => Promise.resolve(table), 'fewer')
    await expireReaching(deps, request, report, () => deps.save(record))
    await removeUnreached(deps, request, soughtOf(record), report)
  }
}

async function expireAllMade(deps: EraseDeps, record: ErasureRecord, signal: AbortSignal): Promise<void> {
  const { report, stream } = record
  if (deps.made === undefined || report.commits.length + report.expired.length === 0) return
  await expireMade(deps, deps.made.madeOf(stream), { report, save: () => deps.save(record), signal })
}

/** Looks through everything. @returns where it still is */
async function check(
  deps: EraseDeps,
  record: ErasureRecord,
  requests: () => HistoryRequest[],
  lettersEnd: bigint | undefined,
): Promise<string[]> {
  const begunMs = deps.timers.monotonicMs()
  const { stream, literals = [], position } = record
  const sought = soughtOf(record)
  const places: SearchedPlace[] = []
  for (const request of requests()) places.push(...(await searchTable(deps, request, sought)))
  places.push(
    await searchIds(deps.fileSystem, join(deps.idDir, stream), sought.needles),
    await searchScratch(deps, deps.scratchDir, { literals, ...sought }),
    ...(await deps.searchLog({ stream, ...sought, position: BigInt(position) })),
  )
  if (lettersEnd !== undefined) {
    const letters = deadLettersOf(stream)
    places.push(
      await searchIds(deps.fileSystem, join(deps.idDir, letters), sought.needles),
      ...(await deps.searchLog({ stream: letters, ...sought, position: lettersEnd })),
    )
  }
  const matches = places.flatMap((place) => place.matches.map((match) => `${place.place}: ${match}`))
  record.report.check = {
    at: isoOf(deps),
    seconds: Math.round(deps.timers.monotonicMs() - begunMs) / 1000,
    bytes: places.reduce((sum, { bytes }) => sum + bytes, 0),
    matches: matches.length,
    places,
  }
  return matches
}

function soughtOf({ literals = [], untilMs }: ErasureRecord): Sought {
  return { needles: needlesOf(literals), untilMs }
}

/** What is done to each table that the stream's events are in. */
function requestsOf(
  deps: EraseDeps,
  stream: ErasedStream,
  record: ErasureRecord,
  { isWhole, signal }: { isWhole: boolean; signal: AbortSignal },
): HistoryRequest[] {
  const { id, untilMs, literals = [], schemaId } = record
  const letters = deps.lettersOf(record.stream)
  const tables = letters === undefined ? [stream.kept] : [stream.kept, letters.kept]
  const columns = columnsIn(stream.kept.table, schemaId)
  return tables.flatMap((kept) => {
    if (kept.table === undefined) return []
    const { name } = kept.stream
    const condition = rowCondition(name, record, stream.kept.stream, columns)
    const isOwn = kept === stream.kept
    // Of dead letters, bounds tell no more than when they arrived; so where names mean other fields than at present.
    const where = isOwn && meansPresent(kept.table.metadata, schemaId) ? record.where : undefined
    const choose = isWhole ? allFiles : mayBeMeant(deps, { stream: name, where, columns, untilMs })
    return { id, kept, condition, choose, signal, isMeant: boundTest(literals), ...(isOwn && { schemaId }) }
  })
}

function addCommit({ report }: ErasureRecord, commit: ErasureCommit): void {
  const isKnown = report.commits.some(
    ({ table, snapshotId }) => table === commit.table && snapshotId === commit.snapshotId,
  )
  if (!isKnown) report.commits.push(commit)
}

/** Says what it waits for, durably only when that changes. */
export async function wait(
  deps: Pick<EraseDeps, 'save' | 'logger'>,
  record: ErasureRecord,
  reason: unknown,
): Promise<void> {
  const text = messageOf(reason)
  if (record.waitingFor === text) return
  record.waitingFor = text
  deps.logger.warn({ erasure: record.id, stream: record.stream, reason: text }, 'erasure waits')
  await deps.save(record)
}

/** From here on the record has no value of the condition any more; nobody is told that it is done before that is on disk. */
async function finish(deps: EraseDeps, record: ErasureRecord): Promise<void> {
  const { where: _where, literals: _literals, ...rest } = record
  await deps.save({ ...rest, state: 'done', finishedAt: isoOf(deps), waitingFor: null })
  const rows = record.report.commits.reduce((sum, commit) => sum + commit.rows, 0)
  deps.logger.info({ erasure: record.id, stream: record.stream, rows }, 'erasure done')
}

function isoOf({ clock }: EraseDeps): string {
  return new Date(clock.nowMs()).toISOString()
}
