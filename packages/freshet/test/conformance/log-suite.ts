import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Log, Position } from '../../src/log/log.ts'
import { batch, codeOf, idsIn, idsOf, numbered, readIds } from '../simulation/log-fixture.ts'

/** A log under test. */
export interface LogUnderTest {
  /** The process that appends. */
  log: Log
  /** Another process that reads. */
  reader: Log
  /** Stops both as if they were killed, and starts them again on the same data. */
  restart(): Promise<{ log: Log; reader: Log }>
  dispose(): Promise<void>
}

/** What every log must do. `make` gives an empty one. */
export function logSuite(name: string, make: () => Promise<LogUnderTest>): void {
  describe(`log: ${name}`, () => {
    let under: LogUnderTest
    let log: Log
    let reader: Log

    beforeEach(async () => {
      under = await make()
      ;({ log, reader } = under)
    })

    afterEach(() => under.dispose())

    const restart = async (): Promise<void> => {
      ;({ log, reader } = await under.restart())
    }
    const endOf = async (of: Log, stream = 'trades'): Promise<Position> => (await of.ends(stream)).get(0)!

    describe('append and read', () => {
      test('what was appended is read in order, in whole batches, from the start and from any position that was given', async () => {
        const sent = Array.from({ length: 20 }, (_, sequence) => numbered('a', sequence, 1 + (sequence % 4)))
        const positions: Position[] = []
        for (const one of sent) positions.push((await log.append('trades', one)).position)
        for (const maxBytes of [1, 1000, 1_000_000]) {
          expect(await readIds(reader, 0n, maxBytes)).toEqual(idsIn(...sent))
          expect(await readIds(reader, positions[12], maxBytes)).toEqual(idsIn(...sent.slice(13)))
        }
        expect(await endOf(reader)).toBe(positions.at(-1))
      })

      test('a chunk says how many events it holds, where the next begins and when the newest arrived', async () => {
        for (const receivedAtMs of [10, 30, 20]) await log.append('trades', batch('x', { receivedAtMs }))
        const chunk = await reader.read('trades', 0, 0n, 1_000_000)
        expect(chunk).toMatchObject({ count: 6, next: await endOf(log), receivedAtMs: 30 })
        expect(idsOf(chunk.bytes)).toHaveLength(6)
        expect(chunk.bytes.at(-1)).toBe(10)
      })

      test('a chunk tells of each batch who sent it, when, and up to which event time, heartbeats included', async () => {
        const first = await log.append('trades', batch('x', { receivedAtMs: 10, source: 'a "b"', eventTimeMaxMs: -5 }))
        const heartbeat = { lines: [], count: 0, receivedAtMs: 20, source: 'c', eventTimeMaxMs: 15 }
        const second = await log.append('trades', heartbeat)
        const third = await log.append('trades', batch('y', { receivedAtMs: 30 }))
        expect([first.from, second.from, third.from]).toEqual([0n, first.position, second.position])
        const { batches, count } = await reader.read('trades', 0, 0n, 1_000_000)
        expect(count).toBe(4)
        expect(batches).toEqual([
          { count: 2, receivedAtMs: 10, source: 'a "b"', eventTimeMaxMs: -5 },
          { count: 0, receivedAtMs: 20, source: 'c', eventTimeMaxMs: 15 },
          { count: 2, receivedAtMs: 30, source: undefined, eventTimeMaxMs: undefined },
        ])
        expect((await reader.read('trades', 0, first.position, 1)).batches[0]).toEqual(batches[1])
      })

      test('a batch is found again at the place that the append told', async () => {
        const sent = [1, 2, 3].map((count) => batch(`b${count}`, { receivedAtMs: count }, count))
        const places = (await Promise.all(sent.map((one) => log.append('trades', one)))).map(({ place }) => place!)
        for (const [index, { partition, from, to, count, receivedAtMs }] of places.entries()) {
          const chunk = await reader.read('trades', partition, from, 1)
          expect(chunk.batches[0]).toMatchObject({ count, receivedAtMs })
          expect(idsOf(chunk.bytes).slice(0, count)).toEqual(idsIn(sent[index]!))
          expect(await readIds(reader, to)).toEqual(idsIn(...sent.slice(index + 1)))
        }
      })

      test('a place tells where the batches begin that arrived at the same time, of which there may be more', async () => {
        const times = [10, 20, 20, 20, 30]
        const appended = await Promise.all(
          times.map((receivedAtMs) => log.append('trades', batch('x', { receivedAtMs }))),
        )
        const first = appended[1]!.from
        const known = appended.map(({ place }) => place!.sameArrivalFrom)
        expect(known.slice(1, 4)).toEqual([first, first, first])
        for (const index of [0, 4]) expect(known[index]).toBeOneOf([undefined, appended[index]!.from])
      })

      test('at the end there is an empty chunk, and reading goes on from there', async () => {
        expect(await reader.read('trades', 0, 0n, 1000)).toMatchObject({ count: 0, next: 0n, receivedAtMs: 0 })
        const { position } = await log.append('trades', batch('x'))
        const empty = await reader.read('trades', 0, position, 1000)
        expect(empty).toMatchObject({ count: 0, next: position, receivedAtMs: 0 })
        expect(empty.bytes).toHaveLength(0)
        await log.append('trades', batch('y'))
        expect(await readIds(reader, position)).toEqual(idsIn(batch('y')))
      })

      test('lines come back byte for byte, in however many buffers they were given', async () => {
        const lines = [
          '{"_event_id":"1","n":1.10000000000000000001}\n',
          '{"_event_id":"2","text":"žluť \\u0000 🦊"}\n{"_event_id":"3"}\n',
        ]
        await log.append('trades', { lines: lines.map((text) => Buffer.from(text)), count: 3, receivedAtMs: 1 })
        const text = (await reader.read('trades', 0, 0n, 1000)).bytes.toString()
        expect(text.endsWith(lines.join(''))).toBe(true)
      })

      test('batches appended at once become durable each, in the order they were given, at positions of their own', async () => {
        const sent = Array.from({ length: 100 }, (_, index) => batch(`b${index}`))
        const appended = await Promise.all(sent.map((one) => log.append('trades', one)))
        expect(new Set(appended.map(({ position }) => position)).size).toBe(100)
        const positions = appended.map(({ position }) => position)
        expect(positions).toEqual(positions.toSorted((a, b) => Number(a - b)))
        expect(await readIds(reader)).toEqual(idsIn(...sent))
      })

      test('a batch of 16 MB goes in and comes out whole, among small ones', async () => {
        const line = `{"_event_id":"x","text":"${'y'.repeat(4000)}"}\n`
        const count = Math.ceil((16 * 1024 * 1024) / line.length)
        await log.append('trades', batch('before'))
        await log.append('trades', { lines: [Buffer.from(line.repeat(count))], count, receivedAtMs: 1 })
        await log.append('trades', batch('after'))
        const ids = await readIds(reader, 0n, 1000)
        expect(ids).toHaveLength(count + 4)
        expect(ids.slice(-2)).toEqual(idsIn(batch('after')))
      })

      test('streams are apart', async () => {
        await log.append('trades', numbered('a', 0))
        expect((await log.append('quotes', numbered('a', 0))).duplicate).toBe(false)
        await log.append('quotes', numbered('a', 1))
        expect(await readIds(reader)).toEqual(idsIn(numbered('a', 0)))
        expect(await readIds(reader, 0n, 512, 'quotes')).toEqual(idsIn(numbered('a', 0), numbered('a', 1)))
      })
    })

    test('a stream that has no log has no ends and nothing to read, and is not made by asking', async () => {
      expect((await reader.ends('trades')).size).toBe(0)
      expect(await readIds(reader)).toEqual([])
      expect((await log.ends('trades')).size).toBe(0)
    })

    test('what was acknowledged is there after a restart, and positions go on', async () => {
      await log.append('trades', numbered('a', 0))
      const before = await endOf(log)
      await restart()
      expect(await endOf(reader)).toBe(before)
      const { position } = await log.append('trades', numbered('a', 1))
      expect(position).toBeGreaterThan(before)
      expect(await readIds(reader)).toEqual(idsIn(numbered('a', 0), numbered('a', 1)))
    })

    describe('repeats by producer and sequence', () => {
      test('are recognised, before and after a restart', async () => {
        const { position } = await log.append('trades', numbered('a', 5))
        for (let round = 0; round < 2; round++) {
          const again = await log.append('trades', numbered('a', 5))
          expect(again.duplicate).toBe(true)
          expect(again.position).toBeGreaterThanOrEqual(position)
          expect((await log.append('trades', numbered(`new${round}`, 5))).duplicate).toBe(false)
          await restart()
        }
        expect(await readIds(reader)).toEqual(idsIn(numbered('a', 5), numbered('new0', 5), numbered('new1', 5)))
      })

      test('are told from numbers that arrive out of order', async () => {
        for (const sequence of [3, 0, 7, 1, 2, 6]) {
          expect((await log.append('trades', numbered('a', sequence))).duplicate).toBe(false)
        }
        await restart()
        for (const sequence of [0, 1, 2, 3, 6, 7]) {
          expect((await log.append('trades', numbered('a', sequence))).duplicate).toBe(true)
        }
        for (const sequence of [4, 5])
          expect((await log.append('trades', numbered('a', sequence))).duplicate).toBe(false)
      })

      test('wait for the first while it is on its way', async () => {
        const sent = Array.from({ length: 10 }, () => log.append('trades', numbered('a', 0)))
        const appended = await Promise.all(sent)
        expect(appended.filter(({ duplicate }) => !duplicate)).toHaveLength(1)
        expect(new Set(appended.map(({ position }) => position)).size).toBe(1)
        expect(await readIds(reader)).toEqual(idsIn(numbered('a', 0)))
      })

      test('are told where the first is, while it is on its way, later, and after a restart', async () => {
        await log.append('trades', batch('before'))
        const [first, atOnce] = await Promise.all([
          log.append('trades', numbered('a', 0, 3)),
          log.append('trades', numbered('a', 0, 3)),
        ])
        expect(first.place).toMatchObject({ partition: 0, from: first.from, to: first.position, count: 3 })
        expect(atOnce).toMatchObject({ duplicate: true, place: first.place })
        await log.append('trades', batch('after'))
        for (let round = 0; round < 2; round++) {
          const { duplicate, place } = await log.append('trades', numbered('a', 0, 1))
          expect(duplicate).toBe(true)
          // A log may forget it, and may forget that no other batch had this arrival time.
          if (place) expect({ ...place, sameArrivalFrom: 0 }).toEqual({ ...first.place, sameArrivalFrom: 0 })
          await restart()
        }
      })

      test('are recognised at the ends of the range of numbers', async () => {
        for (const sequence of [0, 2 ** 53 - 1]) {
          expect((await log.append('trades', numbered('a', sequence))).duplicate).toBe(false)
          expect((await log.append('trades', numbered('a', sequence))).duplicate).toBe(true)
        }
      })
    })

    describe('repeats by Idempotency-Key', () => {
      const keyed = (event: string, key: string, checksum: number): ReturnType<typeof batch> =>
        batch(event, { idempotency: { key, checksum } })

      test('are recognised by key and body, before and after a restart; another body is a conflict', async () => {
        await log.append('trades', keyed('x', 'k', 1))
        for (let round = 0; round < 2; round++) {
          expect((await log.append('trades', keyed('x', 'k', 1))).duplicate).toBe(true)
          expect(await codeOf(log.append('trades', keyed('y', 'k', 2)))).toBe('idempotency_conflict')
          expect((await log.append('trades', keyed(`z${round}`, `k${round}`, 1))).duplicate).toBe(false)
          await restart()
        }
        expect(await readIds(reader)).toEqual(idsIn(batch('x'), batch('z0'), batch('z1')))
      })

      test('wait for the first while it is on its way; another body is a conflict at once', async () => {
        const outcomes = [keyed('x', 'k', 1), keyed('x', 'k', 1), keyed('y', 'k', 2)].map((one) =>
          log.append('trades', one),
        )
        const codes = Promise.all(outcomes.map(codeOf))
        expect(await codes).toEqual(['fulfilled', 'fulfilled', 'idempotency_conflict'])
        expect(await Promise.all(outcomes.slice(0, 2))).toMatchObject([{ duplicate: false }, { duplicate: true }])
        expect(await readIds(reader)).toEqual(idsIn(batch('x')))
      })
    })

    test('batches without marks are never repeats', async () => {
      for (let round = 0; round < 3; round++) expect((await log.append('trades', batch('x'))).duplicate).toBe(false)
      expect(await readIds(reader)).toEqual(idsIn(batch('x'), batch('x'), batch('x')))
    })

    describe('trim', () => {
      const fill = async (count: number): Promise<Position[]> => {
        const positions: Position[] = []
        for (let sequence = 0; sequence < count; sequence++) {
          positions.push((await log.append('trades', numbered('a', sequence))).position)
        }
        return positions
      }

      test('leaves everything at and behind the position, wherever it is called from (I7)', async () => {
        const positions = await fill(40)
        for (const at of [3, 17, 38]) {
          await reader.trim('trades', new Map([[0, positions[at]!]]))
          const rest = Array.from({ length: 39 - at }, (_, index) => numbered('a', at + 1 + index))
          expect(await readIds(reader, positions[at])).toEqual(idsIn(...rest))
        }
      })

      test('to the end leaves positions and the memory of what was taken, over a restart', async () => {
        const positions = await fill(40)
        await reader.trim('trades', await reader.ends('trades'))
        await restart()
        expect(await endOf(reader)).toBe(positions.at(-1))
        for (const sequence of [0, 20, 39]) {
          expect((await log.append('trades', numbered('a', sequence))).duplicate).toBe(true)
        }
        const { position } = await log.append('trades', numbered('a', 40))
        expect(position).toBeGreaterThan(positions.at(-1)!)
        expect(await readIds(reader, positions.at(-1))).toEqual(idsIn(numbered('a', 40)))
      })

      test('of nothing, of an unknown stream, and twice, changes nothing', async () => {
        const positions = await fill(5)
        await reader.trim('trades', new Map([[0, 0n]]))
        await reader.trim('trades', new Map())
        await reader.trim('quotes', new Map([[0, 100n]]))
        expect(await readIds(reader)).toHaveLength(10)
        for (let round = 0; round < 2; round++) await reader.trim('trades', new Map([[0, positions[2]!]]))
        expect(await readIds(reader, positions[2])).toEqual(idsIn(numbered('a', 3), numbered('a', 4)))
      })
    })

    describe('subscribe', () => {
      test('calls with the stream that grew, in the same process and in another, until it is ended', async () => {
        const heard = { log: new Set<string>(), reader: new Set<string>(), ended: new Set<string>() }
        const stops = [
          log.subscribe((stream) => heard.log.add(stream)),
          reader.subscribe((stream) => heard.reader.add(stream)),
        ]
        reader.subscribe((stream) => heard.ended.add(stream))()
        await log.append('trades', batch('x'))
        await vi.waitFor(() => expect([...heard.reader]).toContain('trades'), { timeout: 10_000 })
        await log.append('quotes', batch('x'))
        await vi.waitFor(() => expect([...heard.reader].toSorted()).toEqual(['quotes', 'trades']), { timeout: 10_000 })
        await vi.waitFor(() => expect([...heard.log].toSorted()).toEqual(['quotes', 'trades']), { timeout: 10_000 })
        for (const stop of stops) stop()
        expect(heard.ended.size).toBe(0)
      })

      test('calls after the growth can be read', async () => {
        const seen: Promise<number>[] = []
        const stop = reader.subscribe((stream) => seen.push(readIds(reader, 0n, 512, stream).then((ids) => ids.length)))
        await log.append('trades', batch('x'))
        await vi.waitFor(async () => expect(await Promise.all(seen)).toContain(2), { timeout: 10_000 })
        stop()
      })
    })
  })
}
