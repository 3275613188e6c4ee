/**
 * Previews, applies and undoes one replay.
 *
 * After an apply, the stream's rows with times in the range are what the present code makes of all that its source has, except for
 * events that the transform has not taken yet: those are its own to deal with, by the same code. Rows that are made again as they were
 * stay, with their files; a partition without a difference is not touched.
 *
 * 1. The code runs over the source while everything goes on as ever.
 * 2. Upkeep is held back, the transform rests, and what it has made is committed. The code runs over what came since.
 * 3. The rows are compared. If something else was appended to the stream meanwhile, this round is over, and the next begins.
 * 4. A tag keeps the table as it is. Then each partition that differs is swapped, in a commit of its own (swap.ts).
 * 5. A tag keeps what came of it; letters of events that have outputs by now are dropped.
 *
 * Crash points: what the code has made is in scratch, which the next start empties. The record says that the replay is to be applied, so the next
 * start begins with 1; what was swapped differs no more, and is not touched again. Letters are known again by their ids. The transform goes
 * on by itself when the engine is gone. A crash in 4 leaves some partitions as they were and others as they are to be, each whole. The round that
 * was cut short is closed first: what it had come to is tagged, so that an undo finds the rows that it took.
 *
 * An undo compares, round by round and the last first, what the tags keep, and brings the rows that differ back to what they were, whatever
 * became of their files meanwhile. What has been brought back differs no more, so it can be repeated. Once all of it is, the record forgets its
 * rounds, and only then the tags go.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { join } from 'node:path'
import type { Column } from '../../config/plan.ts'
import type { DeadLetter } from '../../events/dead-letter.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { ErasedTable } from '../erasure/rewrite.ts'
import { dropWhere } from '../letters/drop-letters.ts'
import { knownColumns } from '../stream-view.ts'
import { findChanges, forget, partitionsShownMax, type Changes, type NamedPart } from './changes.ts'
import type { SampleRow } from './difference.ts'
import type { Findings, StreamReplayRecord } from './record.ts'
import { Rehearsal, settledLetters } from './rehearsal.ts'
import type { ReplayDeps, ReplayedStream } from './replayed-stream.ts'
import { closeRound, forgetTag, openRound, tagsLeft } from './rounds.ts'
import { replayKey } from './summary.ts'
import { growTable, swapRows } from './swap.ts'
import type { TimeRange } from './time-range.ts'
import type { Pause } from './transform-runner.ts'
import { undoRound } from './undo.ts'

/** What a preview shows of single rows and events. */
export interface Sample {
  rows: SampleRow[]
  letters: { event_id: string | null; code: string; message: string }[]
}

const lettersShownMax = 20
const roundsMax = 20
const partition = 0

/** Finds out what a replay would do. Nothing changes, except that what is hot is committed. */
export async function preview(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  signal: AbortSignal,
): Promise<{ findings: Findings; sample: Sample }> {
  const leave = deps.views.enter()
  try {
    const rest = await settled(deps, stream, signal)
    // What the table has from here on is compared: the files stay while this is a reader.
    const { table, scanned } = tableOf(stream)
    await stream.sourceShown(rest.place.log, signal)
    const letters: Sample['letters'] = []
    let lettersAll = 0
    const onLetters = async (found: DeadLetter[]): Promise<void> => {
      lettersAll += found.length
      letters.push(...found.slice(0, lettersShownMax - letters.length).map(letterShown))
    }
    return await withRehearsal(deps, stream, record, { onLetters, signal }, async (rehearsal, connection) => {
      await rehearsal.take(rest.place)
      const changes = await findChanges(connection, compared(deps, record, { table, scanned, rehearsal, signal }))
      const findings = { ...changes.findings, events: rehearsal.events, letters: lettersAll }
      return { findings, sample: { rows: changes.sample, letters } }
    })
  } finally {
    leave()
  }
}

/** Brings the stream to what the present code makes. @throws whatever keeps it from going on; it can be begun again */
export async function apply(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  signal: AbortSignal,
): Promise<void> {
  const { name } = stream.plan
  let lettersAll = 0
  const onLetters = async (found: DeadLetter[]): Promise<void> => {
    lettersAll += found.length
    await deps.bury(found)
  }
  const first = await settled(deps, stream, signal)
  await withRehearsal(deps, stream, record, { onLetters, signal }, async (rehearsal, connection) => {
    await stream.sourceShown(first.place.log, signal)
    await rehearsal.take(first.place)
    for (let round = 0; round < roundsMax; round++) {
      const isDone = await deps.holdUpkeep(async () => {
        await stream.kept.refresh()
        await closeRound(deps, stream, record)
        const rest = await deps.transforms.pause(name, signal)
        try {
          return await swapAll(deps, stream, record, {
            rehearsal,
            connection,
            rest,
            lettersOf: () => lettersAll,
            signal,
          })
        } finally {
          await rest.resume()
        }
      })
      if (isDone) return
    }
    throw new FreshetError('commit_conflict', `${name} does not come to rest: others go on appending to it.`)
  })
}

/** Commits what the transform has made so far, and lets it go on. */
async function settled(
  { transforms }: ReplayDeps,
  { plan, settle }: ReplayedStream,
  signal: AbortSignal,
): Promise<Pause> {
  const rest = await transforms.pause(plan.name, signal)
  try {
    await settle(signal)
  } finally {
    await rest.resume()
  }
  return rest
}

interface Round {
  rehearsal: Rehearsal
  connection: DuckDBConnection
  rest: Pause
  lettersOf: () => number
  signal: AbortSignal
}

/** @returns false when it has to be begun again */
async function swapAll(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  { rehearsal, connection, rest, lettersOf, signal }: Round,
): Promise<boolean> {
  const { kept, plan } = stream
  const end = await stream.settle(signal)
  await stream.sourceShown(rest.place.log, signal)
  await rehearsal.take(rest.place)
  await growTable(deps, kept, rehearsal.columns)
  const { table, scanned } = tableOf(stream)
  const changes = await findChanges(connection, compared(deps, record, { table, scanned, rehearsal, signal }))
  try {
    if (((await deps.log.ends(plan.name)).get(partition) ?? 0n) !== end) return false
    record.applied = {
      ...nothing,
      ...record.applied,
      same: changes.findings.same,
      partitionsSame: changes.findings.partitionsSame,
    }
    record.applied.events = rehearsal.events
    record.applied.letters = lettersOf()
    if (changes.groups.length > 0) {
      await openRound(deps, stream, record)
      if (!(await swapGroups(deps, stream, record, { changes, connection, signal }))) return false
      await closeRound(deps, stream, record)
    }
  } finally {
    await forget(connection, changes)
  }
  await dropSettled(deps, stream, record, rehearsal, signal)
  return true
}

async function swapGroups(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  { changes, connection, signal }: { changes: Changes; connection: DuckDBConnection; signal: AbortSignal },
): Promise<boolean> {
  for (const parts of changes.groups) {
    signal.throwIfAborted()
    const { table, scanned } = tableOf(stream)
    const partitions = parts.map(({ name }) => name).join(' ')
    try {
      const request = { key: replayKey, id: record.id, partitions, parts, table, files: scanned.files }
      record.commits.push(await swapRows(connection, deps, stream.kept, request))
    } catch (error) {
      if (error instanceof FreshetError && error.code === 'commit_conflict') return false
      throw error
    }
    record.applied = withParts(record.applied!, parts)
    await deps.save(record)
  }
  return true
}

/** Takes the rows that a replay has swapped back to what they were. */
export async function undo(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  signal: AbortSignal,
): Promise<void> {
  if (record.rounds.length > 0) await deps.holdUpkeep(() => undoRounds(deps, stream, record, signal))
  for (const tag of tagsLeft(stream, record)) await forgetTag(deps, stream.kept, tag)
}

/** A record without rounds has nothing left to be undone, whichever of their tags are there. */
async function undoRounds(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  signal: AbortSignal,
): Promise<void> {
  const rest = await deps.transforms.pause(stream.plan.name, signal)
  try {
    await stream.settle(signal)
    await stream.kept.refresh()
    await closeRound(deps, stream, record)
    for (const { before, after } of record.rounds.toReversed()) {
      if (after === null) continue
      await undoRound(deps, stream, record, { before, after, signal })
    }
    record.rounds = []
    await deps.save(record)
  } finally {
    await rest.resume()
  }
}

/** Drops the letters of events that have outputs now. */
async function dropSettled(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  rehearsal: Rehearsal,
  signal: AbortSignal,
): Promise<void> {
  const letters = stream.letters()
  const passed = rehearsal.passedEvents()
  if (letters?.table === undefined || passed === undefined) return
  await letters.refresh()
  const condition = settledLetters(stream.plan.name, passed)
  await dropWhere(deps, letters, { id: record.id, condition }, signal)
}

async function withRehearsal<T>(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  { onLetters, signal }: { onLetters: (letters: DeadLetter[]) => Promise<void>; signal: AbortSignal },
  work: (rehearsal: Rehearsal, connection: DuckDBConnection) => Promise<T>,
): Promise<T> {
  const { plan, kept, sourceColumns, recordBytesMax } = stream
  return deps.database.with(async (connection) => {
    const interrupt = (): void => connection.interrupt()
    signal.addEventListener('abort', interrupt)
    const { table } = tableOf(stream)
    const request = {
      stream: plan,
      range: rangeOf(record),
      sourceColumns,
      table,
      unreadable: (lines: readonly Buffer[]) => kept.unreadable(lines),
      recordBytesMax,
      onLetters,
      signal,
    }
    const rehearsal = await Rehearsal.open(deps, request, connection, join(deps.tmpDir, `replay-${record.id}`))
    try {
      return await work(rehearsal, connection)
    } finally {
      signal.removeEventListener('abort', interrupt)
      await rehearsal.close()
    }
  })
}

interface ComparedNow {
  table: NonNullable<ErasedTable['table']>
  scanned: NonNullable<ErasedTable['scanned']>
  rehearsal: Rehearsal
  signal: AbortSignal
}

function compared(
  { lakeDir }: ReplayDeps,
  record: StreamReplayRecord,
  { table, scanned, rehearsal, signal }: ComparedNow,
): Parameters<typeof findChanges>[1] {
  const shown = knownColumns(table)
  const names = new Set(shown.map(({ name }) => name))
  const columns = [...shown, ...rehearsal.columns.filter(({ name }) => !names.has(name))]
  const made = (list: readonly Column[], range: TimeRange): string | undefined => rehearsal.select(list, range)
  return { table, files: scanned.files, lakeDir, range: rangeOf(record), columns, made, signal }
}

export function rangeOf({ from, to }: Pick<StreamReplayRecord, 'from' | 'to'>): TimeRange {
  return { from: microsOf(from), to: microsOf(to) }
}

function microsOf(time: string | null): bigint | undefined {
  return time === null ? undefined : BigInt(Date.parse(time)) * 1000n
}

function tableOf({ plan, kept }: ReplayedStream): Pick<ComparedNow, 'table' | 'scanned'> {
  const { table, scanned } = kept
  if (table !== undefined && scanned !== undefined) return { table, scanned }
  throw new FreshetError('replay_refused', `Nothing of ${plan.name} is committed yet.`, {
    hint: 'Its transform has to take its first events before they can be taken again.',
  })
}

function letterShown({ eventId, code, message }: DeadLetter): Sample['letters'][number] {
  return { event_id: eventId ?? null, code, message }
}

const nothing: Findings = {
  appear: 0,
  change: 0,
  vanish: 0,
  same: 0,
  events: 0,
  letters: 0,
  partitions: [],
  partitionsChanged: 0,
  partitionsSame: 0,
}

function withParts(found: Findings, parts: readonly NamedPart[]): Findings {
  const next = { ...found, partitions: [...found.partitions] }
  for (const { name, difference } of parts) {
    const { appear, change, vanish, same } = difference
    next.appear += appear
    next.change += change
    next.vanish += vanish
    next.partitionsChanged++
    if (next.partitions.length < partitionsShownMax)
      next.partitions.push({ partition: name, appear, change, vanish, same })
  }
  return next
}
