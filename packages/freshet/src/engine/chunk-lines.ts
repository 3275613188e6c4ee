/** Cutting events out of a chunk, and finding those that DuckDB cannot read. */
import type { ScannedEvents } from './dedup/scan.ts'

/** The pieces of `bytes` that are left without the events at `dropped` (indexes in order). */
export function withoutEvents(bytes: Buffer, events: ScannedEvents, dropped: readonly number[]): Buffer[] {
  const pieces: Buffer[] = []
  let from = 0
  for (const index of dropped) {
    const start = events.start[index]!
    if (start > from) pieces.push(bytes.subarray(from, start))
    from = events.end[index]!
  }
  if (from < bytes.length) pieces.push(bytes.subarray(from))
  return pieces
}

/** The lines of the events at `indexes`. */
export function linesOf(bytes: Buffer, events: ScannedEvents, indexes: readonly number[]): Buffer[] {
  return indexes.map((index) => bytes.subarray(events.start[index], events.end[index]))
}

export interface Unreadable {
  index: number
  reason: string
}

/** Overwrites an event with white space, so that those behind it keep their places. */
export function blankEvent(bytes: Buffer, events: ScannedEvents, index: number): void {
  bytes.fill(' ', events.start[index], events.end[index]! - 1)
}

/** Resolves to undefined when these lines can be read together, or to the reason why not. */
export type TryRead = (lines: Buffer[]) => Promise<string | undefined>

/**
 * Finds the events that `read` rejects, by halving: a few of them among many cost few tries. Where each of two events can be read
 * but not both (two spellings of a field, say), the first one wins.
 * @returns them by index, in order
 */
export async function findUnreadable(
  bytes: Buffer,
  events: ScannedEvents,
  indexes: readonly number[],
  read: TryRead,
): Promise<Unreadable[]> {
  const alone = await halve(indexes, (part) => read(linesOf(bytes, events, part)))
  const dead = new Set(alone.map(({ index }) => index))
  const rest = indexes.filter((index) => !dead.has(index))
  if (rest.length === 0 || (await read(linesOf(bytes, events, rest))) === undefined) return alone
  const accepted: number[] = []
  const together = await halve(rest, async (part) => {
    const reason = await read(linesOf(bytes, events, [...accepted, ...part]))
    if (reason === undefined) accepted.push(...part)
    return reason
  })
  return [...alone, ...together].toSorted((a, b) => a.index - b.index)
}

async function halve(
  indexes: readonly number[],
  read: (indexes: readonly number[]) => Promise<string | undefined>,
): Promise<Unreadable[]> {
  if (indexes.length === 0) return []
  const reason = await read(indexes)
  if (reason === undefined) return []
  if (indexes.length === 1) return [{ index: indexes[0]!, reason }]
  const middle = indexes.length >> 1
  const left = await halve(indexes.slice(0, middle), read)
  const right = await halve(indexes.slice(middle), read)
  return [...left, ...right]
}
