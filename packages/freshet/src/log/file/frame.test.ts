import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { batch } from '../../../test/simulation/log-fixture.ts'
import { decodeFrame, encodeFrame, framesBehind, headerBytesMax, walkFrames } from './frame.ts'

const encoded = (...parameters: Parameters<typeof encodeFrame>): Buffer => Buffer.concat(encodeFrame(...parameters))

describe('a frame', () => {
  test('is a header line that names length, count, arrival, durable end and checksum, then the lines as they came', () => {
    const lines = [Buffer.from('{"a":1}\n'), Buffer.from('{"a":2}\n')]
    const text = encoded({ lines, count: 2, receivedAtMs: 5, producer: { id: 'site', sequence: 7 } }, 99).toString()
    expect(text).toMatch(
      /^\{"_frame":\{"bytes":16,"count":2,"at":5,"synced":99,"producer":"site","sequence":7\},"_crc":\d+\}\n\{"a":1\}\n\{"a":2\}\n$/,
    )
  })

  test('is read back with any mark, quotes and other languages included', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', maxLength: 128 }),
        fc.maxSafeNat(),
        fc.nat(),
        (id, sequence, checksum) => {
          const marked = encoded(batch('x', { producer: { id, sequence }, idempotency: { key: id, checksum } }), 0)
          const frame = decodeFrame(Buffer.concat([Buffer.from('before'), marked]), 6)
          expect(frame).toMatchObject({ end: 6 + marked.length, header: { producer: id, sequence, key: id, checksum } })
        },
      ),
    )
  })

  test('has a header within its limit for the longest marks', () => {
    const marks = {
      producer: { id: '\u0001'.repeat(128), sequence: 2 ** 53 - 1 },
      idempotency: { key: '\u0001'.repeat(255), checksum: 2 ** 32 - 1 },
    }
    expect(encodeFrame(batch('x', marks), 2 ** 53 - 1)[0]!.byteLength).toBeLessThan(headerBytesMax)
  })

  test('with any one bit changed is not read as whole', () => {
    const bytes = encoded(batch('x', { producer: { id: 'site', sequence: 7 } }), 3)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      expect(decodeFrame(flipped, 0), `bit ${bit}`).toHaveProperty('problem')
    }
  })

  test('that is cut short anywhere is not read as whole, and says how long it is once its header is there', () => {
    const bytes = encoded(batch('x'), 3)
    const headerEnd = bytes.indexOf('\n')
    for (let length = 0; length < bytes.length; length++) {
      const problem = decodeFrame(bytes.subarray(0, length), 0)
      expect(problem, `${length} bytes`).toEqual({
        problem: 'short',
        end: length > headerEnd ? bytes.length : undefined,
      })
    }
  })

  test.each([
    ['zeros', Buffer.alloc(600), 'no frame header'],
    ['an event', Buffer.from('{"_event_id":"a"}\n'), 'no frame header'],
    ['an empty line', Buffer.from('\n'), 'an unreadable frame header'],
    ['a header that never ends', Buffer.from(`{"_frame":${'x'.repeat(headerBytesMax)}`), 'a frame header without end'],
    ['a header that is no object', Buffer.from('{"_frame":null,"_crc":1}\n'), 'an unreadable frame header'],
    [
      'a negative length',
      Buffer.from('{"_frame":{"bytes":-1,"count":1,"synced":0},"_crc":1}\n'),
      'an unreadable frame header',
    ],
  ])('is not found in %s', (_, bytes, reason) => {
    expect(decodeFrame(bytes, 0)).toEqual({ problem: 'bad', reason })
  })
})

describe('frames in a row', () => {
  const three = ['a', 'b', 'c'].map((name, index) => encoded(batch(name), index))

  test('are walked up to the first that is not whole', () => {
    const bytes = Buffer.concat([...three.slice(0, 2), three[2]!.subarray(0, 40)])
    const starts: number[] = []
    const walked = walkFrames(bytes, (_, start) => starts.push(start))
    expect(starts).toEqual([0, three[0]!.length])
    expect(walked).toEqual({ end: three[0]!.length + three[1]!.length, stopped: { problem: 'short', end: undefined } })
  })

  test('are found again behind a bad place', () => {
    const bytes = Buffer.concat(three)
    bytes[3] = 0
    const starts = framesBehind(bytes, 0).map(({ start }) => start)
    expect(starts).toEqual([three[0]!.length, three[0]!.length + three[1]!.length])
  })

  test('are not found in the text of an event', () => {
    const inner = encoded(batch('inner'), 1000).toString().split('\n')[0]!
    const event = Buffer.from(`{"_event_id":"x","text":${JSON.stringify(`\n${inner}\n`)},"nested":${inner}}\n`)
    const bytes = encoded({ lines: [event], count: 1, receivedAtMs: 0 }, 0)
    bytes[3] = 0
    expect(framesBehind(bytes, 0)).toEqual([])
  })
})
