/** Spools: the events of segments, one a line, as they came. */
import { join } from 'node:path'
import type { FileSystem } from '../../runtime/file-system.ts'
import type { SinkEvent } from '../sink.ts'
import { spoolName, type FilesState, type Segment } from './state.ts'

/** An event that is taken, and the file it goes to among those of its segment. */
export interface NewLines {
  text: string
  group: string
}

export interface SegmentLimits {
  events: number
  bytes: number
  groups: number
}

/**
 * Appends lines behind the open segment, and begins another one wherever it is full. All bytes, and the names of new spools, are durable
 * when it resolves; that they are taken only the state says.
 * @returns the segments that are full, the one that grows with its groups, and the number of the next one
 */
export async function appendSegments(
  { fileSystem, folder }: { fileSystem: FileSystem; folder: string },
  addition: {
    state: FilesState
    groups: ReadonlySet<string>
    lines: readonly NewLines[]
    /** When a segment that begins is to be cut. */
    dueMs: number
    limits: SegmentLimits
  },
): Promise<{ cut: Segment[]; open: Segment | null; groups: Set<string>; sequence: number }> {
  const { state, lines, dueMs, limits } = addition
  const segments: Segment[] = state.open === null ? [] : [{ ...state.open }]
  const additions: { segment: Segment; position: number; parts: Buffer[] }[] = []
  let groups = new Set(addition.groups)
  let sequence = state.sequence
  for (const { text, group } of lines) {
    const line = Buffer.from(`${text}\n`)
    let segment = segments.at(-1)
    if (segment === undefined || isFull(segment, groups, limits, { group, bytes: line.length })) {
      segment = { sequence, bytes: 0, events: 0, dueMs }
      sequence++
      segments.push(segment)
      groups = new Set()
    }
    if (additions.at(-1)?.segment !== segment) additions.push({ segment, position: segment.bytes, parts: [] })
    additions.at(-1)!.parts.push(line)
    segment.bytes += line.length
    segment.events++
    groups.add(group)
  }
  for (const { segment, position, parts } of additions) {
    const file = await fileSystem.open(join(folder, spoolName(segment.sequence)), 'create')
    try {
      await file.write([Buffer.concat(parts)], position)
      await file.sync()
    } finally {
      await file.close()
    }
  }
  if (additions.some(({ position }) => position === 0)) await fileSystem.syncDir(folder)
  const last = segments.at(-1)
  const open = last === undefined || last.events >= limits.events || last.bytes >= limits.bytes ? null : last
  return {
    cut: open === null ? segments : segments.slice(0, -1),
    open,
    groups: open === null ? new Set() : groups,
    sequence,
  }
}

function isFull(
  segment: Segment,
  groups: ReadonlySet<string>,
  limits: SegmentLimits,
  next: { group: string; bytes: number },
): boolean {
  if (segment.events >= limits.events || segment.bytes + next.bytes > limits.bytes) return segment.events > 0
  return groups.size >= limits.groups && !groups.has(next.group)
}

/** The events of a segment, in order. @throws Error when the spool has fewer bytes than the state says */
export async function eventsOf(fileSystem: FileSystem, folder: string, segment: Segment): Promise<SinkEvent[]> {
  const path = join(folder, spoolName(segment.sequence))
  const bytes = await fileSystem.readFile(path)
  if (bytes.length < segment.bytes)
    throw new Error(`${path} has ${bytes.length} bytes, and should have ${segment.bytes}: it was damaged.`)
  const text = bytes.subarray(0, segment.bytes).toString()
  return text.split('\n').slice(0, -1).map(eventOf)
}

function eventOf(text: string): SinkEvent {
  const fields = JSON.parse(text) as Record<string, unknown>
  const { _event_id, _event_time, _received_at, _source, _tenant, ...own } = fields
  return {
    id: _event_id as string,
    eventTime: _event_time as string,
    receivedAt: _received_at as string,
    source: _source as string | undefined,
    tenant: _tenant as string | undefined,
    text,
    fields: own,
  }
}
