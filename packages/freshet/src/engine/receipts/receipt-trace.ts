/** What became of the events of a batch that a receipt names. */
import type { StreamPlan } from '../../config/plan.ts'
import type { Receipt } from '../../log/receipt.ts'
import type { BatchEvent } from './receipt-batch.ts'
import type { ReceiptRows } from './receipt-rows.ts'

/** What became of a batch's events; null where it can no longer be told. */
interface EventCounts {
  /** In queries, as events of this batch. */
  visible: number | null
  /** Left out: the stream had them before. */
  deduplicated: number | null
  /** In the stream's dead letters, as they could not be loaded. */
  deadLettered: number | null
  /** In the log, and not looked at yet. */
  waiting: number | null
  /** Taken out since by an erasure, retention or a rollback, as the ledger says of the hour in which they arrived. */
  removed: number | null
  /** None of these: another engine has taken them out, or they are lost. */
  missing: number | null
}

/** How many events of the batch's hour of arrival have been removed; undefined when nobody can say. */
export type CountRemoved = () => Promise<number | undefined>

export interface Traced {
  /** Data files with events of the batch; null where that can no longer be told. */
  files: string[] | null
  events: EventCounts
}

/** @param isFollowed whether the engine has the stream's table open: else nothing is known but that the log holds the batch */
export function untraced({ count }: Receipt, isFollowed: boolean): Traced {
  const known = isFollowed ? 0 : null
  return {
    files: isFollowed ? [] : null,
    events: {
      visible: known,
      deduplicated: known,
      deadLettered: known,
      waiting: isFollowed ? count : null,
      removed: known,
      missing: known,
    },
  }
}

/**
 * What became of events that are known one by one.
 * @param before those of earlier batches with the same arrival time; undefined when they are not known
 */
export async function traceEvents(
  { from, to, sameArrivalFrom = from, receivedAtMs, count }: Receipt,
  stream: StreamPlan,
  { events, before }: { events: readonly BatchEvent[]; before: readonly BatchEvent[] | undefined },
  rows: ReceiptRows,
  countRemoved: CountRemoved,
): Promise<Traced> {
  const dead = await rows.deadLetters(sameArrivalFrom, to)
  const isAlive = ({ position }: BatchEvent): boolean => !dead.has(position)
  const alive = events.filter(isAlive)
  const own = new Set(alive.map(({ key }) => key))
  for (const event of before ?? []) if (isAlive(event)) own.delete(event.key)
  const visible = new Set<string>()
  const files = new Set<string>()
  await rows.arrivedAt(receivedAtMs, (key, file) => {
    if (!own.has(key)) return
    visible.add(key)
    if (file !== undefined) files.add(file)
  })
  const others = [...new Set(alive.map(({ key }) => key))].filter((key) => !visible.has(key))
  const present = stream.id === null ? new Set() : await rows.present(others)
  const gone = others.filter((key) => !present.has(key)).length
  const isClear = before !== undefined || visible.size === 0
  return {
    files: isClear ? [...files].toSorted() : null,
    events: {
      visible: isClear ? visible.size : null,
      deduplicated: isClear ? alive.length - visible.size - gone : null,
      deadLettered: count - alive.length,
      waiting: 0,
      ...(await whereTo(gone, countRemoved)),
    },
  }
}

/** What became of events of which only the number is known, and the arrival time of all. */
export async function traceByNumbers(
  { from, to, receivedAtMs, count, sameArrivalFrom }: Receipt,
  stream: StreamPlan,
  rows: ReceiptRows,
  countRemoved: CountRemoved,
): Promise<Traced> {
  const deadLettered = (await rows.deadLetters(from, to)).size
  const files = new Set<string>()
  let arrived = 0
  await rows.arrivedAt(receivedAtMs, (_, file) => {
    arrived++
    if (file !== undefined) files.add(file)
  })
  const rest = count - deadLettered - arrived
  const isClear = (sameArrivalFrom === undefined || arrived === 0) && rest >= 0
  const isWhole = isClear && rest === 0
  // Where ids repeat, some of the rest may have been left out.
  const isKnown = isWhole || (isClear && stream.id === null)
  const gone = isKnown ? await whereTo(rest, countRemoved) : undefined
  return {
    files: isClear ? [...files].toSorted() : null,
    events: {
      visible: isClear ? arrived : null,
      deduplicated: isWhole || stream.id === null ? 0 : null,
      deadLettered,
      waiting: 0,
      ...(gone ?? { removed: (await countRemoved()) === 0 ? 0 : null, missing: null }),
    },
  }
}

/** What became of events that are nowhere: no more of them were removed than the ledger says. */
async function whereTo(gone: number, countRemoved: CountRemoved): Promise<Pick<EventCounts, 'removed' | 'missing'>> {
  if (gone === 0) return { removed: 0, missing: 0 }
  const counted = await countRemoved()
  if (counted === undefined) return { removed: null, missing: null }
  const removed = Math.min(gone, counted)
  return { removed, missing: gone - removed }
}
