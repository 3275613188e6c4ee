import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { partitionValueAt } from '../../lake/partition.ts'
import { blankEvent, withoutEvents } from '../chunk-lines.ts'
import { IdHash, locateId, partitionOf, scanEvents, type ScannedEvents, type Scope } from './scan.ts'

function idOf(bytes: Buffer, events: ScannedEvents, index: number): string {
  const id = { bytes, start: 0, end: 0 }
  locateId(bytes, events, index, id)
  return id.bytes.toString('utf8', id.start, id.end)
}

const line = (id: string, time: string, rest = ''): string =>
  `{"_event_id":${JSON.stringify(id)},"_event_time":"${time}","_received_at":"2026-01-01T00:00:00.000Z"${rest}}\n`
const frame = '{"_frame":{"bytes":1,"count":1,"at":1,"synced":0},"_crc":1}\n'

/** Ids as the gateway admits them: no control characters, no half surrogate pairs. */
const ids = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  .filter((id) => !/\p{Cc}/u.test(id) && id.isWellFormed())
const millis = fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 })

describe('scanEvents', () => {
  test('finds events between frame lines, with their offsets and ids', () => {
    const lines = [
      frame,
      line('a', '2013-10-07T01:02:03Z'),
      frame,
      line('b"\\é😀', '2013-10-08T00:00:00Z', ',"x":"{\\"_event_id\\":1}"'),
      frame,
    ]
    const bytes = Buffer.from(lines.join(''))
    const events = scanEvents(bytes, 2, 'day', 7)
    expect(events.count).toBe(2)
    expect([idOf(bytes, events, 0), idOf(bytes, events, 1)]).toEqual(['a', 'b"\\é😀'])
    expect(bytes.toString('utf8', events.start[1], events.end[1])).toBe(lines[3])
    expect([...events.partition]).toEqual([15_985, 15_986])
  })

  test('hashes an id as its own bytes, however it is escaped', () => {
    fc.assert(
      fc.property(ids, fc.integer(), (id, seed) => {
        const bytes = Buffer.from(line(id, '2013-10-07T01:02:03Z'))
        const events = scanEvents(bytes, 1, 'table', seed)
        const hash = new IdHash(seed)
        const raw = Buffer.from(id)
        hash.ofBytes(raw, 0, raw.length)
        expect(idOf(bytes, events, 0)).toBe(id)
        expect([events.low[0], events.high[0]]).toEqual([hash.low, hash.high])
      }),
    )
  })

  test('gives the partitions that the table has, before 1970 too', () => {
    fc.assert(
      fc.property(millis, fc.constantFrom<Scope>('hour', 'day', 'month', 'table'), (ms, scope) => {
        const bytes = Buffer.from(line('a', new Date(ms).toISOString()))
        const { partition } = scanEvents(bytes, 1, scope, 0)
        const wanted = scope === 'table' ? 0 : partitionValueAt(scope, BigInt(ms) * 1000n)
        expect(partition[0]).toBe(wanted)
        expect(partitionOf(BigInt(ms) * 1000n, scope)).toBe(wanted)
      }),
    )
  })

  test('has other hashes for another seed', () => {
    const bytes = Buffer.from(line('a', '2013-10-07T01:02:03Z'))
    expect(scanEvents(bytes, 1, 'day', 1).low[0]).not.toBe(scanEvents(bytes, 1, 'day', 2).low[0])
  })
})

test('events are cut out or blanked, and the others keep their bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(ids, fc.boolean(), fc.boolean()), { maxLength: 20 }), (rows) => {
      const text = rows.map(([id, , framed]) => `${framed ? frame : ''}${line(id, '2013-10-07T01:02:03Z')}`)
      const bytes = Buffer.from(text.join(''))
      const events = scanEvents(bytes, rows.length, 'day', 0)
      const dropped = rows.flatMap(([, drop], index) => (drop ? [index] : []))
      const kept = rows.filter(([, drop]) => !drop).map(([id]) => id)
      const cut = Buffer.concat(withoutEvents(bytes, events, dropped))
      for (const index of dropped) blankEvent(bytes, events, index)
      for (const rest of [cut, bytes]) {
        const found = scanEvents(rest, rows.length, 'day', 0)
        expect(Array.from({ length: found.count }, (_, index) => idOf(rest, found, index))).toEqual(kept)
      }
      expect(bytes.length).toBe(Buffer.byteLength(text.join('')))
    }),
  )
})
