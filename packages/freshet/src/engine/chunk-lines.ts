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

/**
 * Finds the events that `read` rejects, by halving: a few of them among many cost few tries.
 * @param read resolves to undefined when these lines can be read, or to the reason why not
 */
export async function findUnreadable(
  bytes: Buffer,
  events: ScannedEvents,
  indexes: readonly number[],
  read: (lines: Buffer[]) => Promise<string | undefined>,
): Promise<Unreadable[]> {
  if (indexes.length === 0) return []
  const reason = await read(linesOf(bytes, events, indexes))
  if (reason === undefined) return []
  if (indexes.length === 1) return [{ index: indexes[0]!, reason }]
  const middle = indexes.length >> 1
  const left = await findUnreadable(bytes, events, indexes.slice(0, middle), read)
  const right = await findUnreadable(bytes, events, indexes.slice(middle), read)
  return [...left, ...right]
}
