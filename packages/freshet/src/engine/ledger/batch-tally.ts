/**
 * Adds up the batches of a chunk by source and hour of arrival. A chunk may have a hundred thousand of them, when events are sent one by
 * one: each costs a look-up and a few additions here.
 */
import { hourMs } from '../../lake/ledger-rows.ts'
import type { Chunk, LoggedBatch } from '../../log/log.ts'

/** What became of the events of a chunk, by index in order; all others were loaded. */
export interface ChunkFate {
  repeats: readonly number[]
  deadLetters: readonly number[]
}

interface HourTally {
  /** Whole hours since 1970. */
  hour: number
  accepted: number
  deduplicated: number
  deadLettered: number
}

export interface SourceTally {
  source: string | undefined
  /** For each hour in which events of the source arrived. */
  hours: HourTally[]
  /** The latest event time of its batches with events; undefined when there is none. */
  lastEventMs: number | undefined
  /** The latest event time of its batches and heartbeats, none more than `aheadMsMax` beyond its arrival. */
  reportedThroughMs: number | undefined
  lastArrivalMs: number
}

/** @throws Error when a chunk's batches do not add up to its events: then nobody could say what became of each (I6) */
export function checkBatches(stream: string, { batches, count }: Chunk): void {
  const total = batches.reduce((sum, batch) => sum + batch.count, 0)
  if (total !== count) throw new Error(`A chunk of ${stream} has ${count} events, but its batches have ${total}`)
}

export function tallyBatches(
  batches: readonly LoggedBatch[],
  { repeats, deadLetters }: ChunkFate,
  aheadMsMax: number,
): SourceTally[] {
  const tallies = new Map<string | undefined, SourceTally>()
  let end = 0
  let repeatsSeen = 0
  let deadSeen = 0
  for (const batch of batches) {
    const tally = tallyOf(tallies, batch.source)
    noteTimes(tally, batch, aheadMsMax)
    if (batch.count === 0) continue
    end += batch.count
    const hour = hourOf(tally, Math.floor(batch.receivedAtMs / hourMs))
    hour.accepted += batch.count
    for (; repeatsSeen < repeats.length && repeats[repeatsSeen]! < end; repeatsSeen++) hour.deduplicated++
    for (; deadSeen < deadLetters.length && deadLetters[deadSeen]! < end; deadSeen++) hour.deadLettered++
  }
  return [...tallies.values()]
}

function tallyOf(tallies: Map<string | undefined, SourceTally>, source: string | undefined): SourceTally {
  const known = tallies.get(source)
  if (known !== undefined) return known
  const added: SourceTally = {
    source,
    hours: [],
    lastEventMs: undefined,
    reportedThroughMs: undefined,
    lastArrivalMs: 0,
  }
  tallies.set(source, added)
  return added
}

/** Batches arrive in order of time, nearly always: the hour is the last one, or a new one. */
function hourOf({ hours }: SourceTally, hour: number): HourTally {
  const known = hours.at(-1)?.hour === hour ? hours.at(-1) : hours.find((each) => each.hour === hour)
  if (known !== undefined) return known
  const added = { hour, accepted: 0, deduplicated: 0, deadLettered: 0 }
  hours.push(added)
  return added
}

function noteTimes(tally: SourceTally, { count, receivedAtMs, eventTimeMaxMs }: LoggedBatch, aheadMsMax: number): void {
  tally.lastArrivalMs = Math.max(tally.lastArrivalMs, receivedAtMs)
  if (eventTimeMaxMs === undefined) return
  const reportedMs = Math.min(eventTimeMaxMs, receivedAtMs + aheadMsMax)
  if (tally.reportedThroughMs === undefined || reportedMs > tally.reportedThroughMs)
    tally.reportedThroughMs = reportedMs
  if (count > 0 && (tally.lastEventMs === undefined || eventTimeMaxMs > tally.lastEventMs))
    tally.lastEventMs = eventTimeMaxMs
}
