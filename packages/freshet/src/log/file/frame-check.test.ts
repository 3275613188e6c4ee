import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { batch } from '../../../test/simulation/log-fixture.ts'
import type { AppendBatch } from '../log.ts'
import { FrameCheck } from './frame-check.ts'
import { encodeFrame } from './frame.ts'

const base = 5000

interface Checked {
  frames: { count: number; start: number; end: number }[]
  problems: { at: number; reason: string }[]
  unfinished: number | undefined
}

/** Checks `bytes`, fed in pieces that end at `cuts` (offsets). */
function check(bytes: Buffer, cuts: readonly number[] = [], length = bytes.length): Checked {
  const result: Checked = { frames: [], problems: [], unfinished: undefined }
  const frames = new FrameCheck({
    base,
    length,
    onFrame: ({ count }, start, end) => result.frames.push({ count, start, end }),
    onProblem: (at, reason) => result.problems.push({ at, reason }),
  })
  const ends = [...cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length]
  let from = 0
  for (const end of ends) {
    frames.feed(bytes.subarray(from, end))
    from = end
  }
  result.unfinished = frames.unfinished()
  return result
}

const heartbeat: AppendBatch = { lines: [], count: 0, receivedAtMs: 1, source: 'site', eventTimeMaxMs: 5 }
const batches = [batch('a', {}, 3), heartbeat, batch('b', { producer: { id: 'p', sequence: 1 } }, 1), batch('c', {}, 4)]
const encoded = batches.map((one) => Buffer.concat(encodeFrame(one, 0)))
const whole = Buffer.concat(encoded)
const startOf = (index: number): number => base + Buffer.concat(encoded.slice(0, index)).length

describe('frames that come in pieces', () => {
  test('are all found, wherever the pieces end', () => {
    const expected = batches.map(({ count }, index) => ({ count, start: startOf(index), end: startOf(index + 1) }))
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length), { maxLength: 12 }), (cuts) => {
        expect(check(whole, cuts)).toEqual({ frames: expected, problems: [], unfinished: undefined })
      }),
    )
  })

  test('with any one bit changed are a problem at the frame that has it, and the frames behind it are found', () => {
    fc.assert(
      fc.property(
        fc.nat(whole.length - 1),
        fc.nat(7),
        fc.array(fc.nat(whole.length), { maxLength: 3 }),
        (offset, bit, cuts) => {
          const damaged = Buffer.from(whole)
          damaged[offset]! ^= 1 << bit
          const index = batches.findIndex((_, at) => offset + base < startOf(at + 1))
          const { frames, problems } = check(damaged, cuts)
          expect(problems.length).toBeGreaterThan(0)
          expect(problems[0]!.at).toBe(startOf(index))
          // A header that claims too many lines may hide the frame behind it, never one before it.
          for (let before = 0; before < index; before++) expect(frames[before]!.start).toBe(startOf(before))
        },
      ),
    )
  })
})

describe('what is no whole frame', () => {
  test('a frame without its end is unfinished, from where it starts', () => {
    for (let length = startOf(3) - base + 1; length < whole.length; length++) {
      expect(check(whole.subarray(0, length), [], whole.length)).toMatchObject({ problems: [], unfinished: startOf(3) })
    }
  })

  test('a damaged frame is one problem, however many lines it has', () => {
    const many = Buffer.concat(encodeFrame(batch('many', {}, 100), 0))
    many[4]! ^= 1
    const bytes = Buffer.concat([many, whole])
    const { problems, frames } = check(bytes)
    expect(problems).toEqual([{ at: base, reason: 'no frame header' }])
    expect(frames).toHaveLength(batches.length)
  })

  test('garbage, long or without a line feed, is one problem and takes no memory', () => {
    expect(check(Buffer.alloc(100_000)).problems).toEqual([{ at: base, reason: 'no frame header' }])
    const long = Buffer.from(`{"_frame":${'9'.repeat(10_000)}\n`)
    const { problems, frames } = check(Buffer.concat([long, whole]), [100, 5000, 9000])
    expect(problems).toEqual([{ at: base, reason: 'a frame header without end' }])
    expect(frames).toHaveLength(batches.length)
  })

  test('a header that claims more than there is does not hide the frames behind it', () => {
    const lying = Buffer.from('{"_frame":{"bytes":999999,"count":1,"at":1,"synced":0},"_crc":1}\n')
    const { problems, frames } = check(Buffer.concat([lying, whole]))
    expect(problems).toEqual([{ at: base, reason: 'a frame cut short' }])
    expect(frames).toHaveLength(batches.length)
  })
})

describe('a frame whose checksum is right', () => {
  const frame = (text: string, count: number, synced = 0): Buffer =>
    Buffer.concat(encodeFrame({ lines: [Buffer.from(text)], count, receivedAtMs: 1 }, synced))

  test('is a problem when it has other lines than its header says', () => {
    expect(check(frame('{"_event_id":"1"}\n', 2)).problems).toEqual([
      { at: base, reason: '1 whole lines, where its header says 2, in a frame' },
    ])
    expect(check(frame('{"_event_id":"1"}\n{"_event_id":"2"}', 2)).problems[0]?.reason).toContain('1 whole lines')
  })

  test('is a problem when a line does not begin as stored events do, at that line', () => {
    const bytes = frame('{"_event_id":"1"}\n{"id":"2","a":"long enough"}\n', 2)
    const at = base + bytes.indexOf('{"id"')
    for (const cut of [0, at - base, at - base + 2]) {
      expect(check(bytes, [cut]).problems).toEqual([{ at, reason: 'a line that does not begin as a stored event' }])
    }
  })

  test('is a problem when it knows more as durable than was written', () => {
    const { problems } = check(frame('{"_event_id":"1"}\n', 1, base + 1))
    expect(problems).toEqual([{ at: base, reason: 'a frame that claims to know of later ones' }])
  })
})
