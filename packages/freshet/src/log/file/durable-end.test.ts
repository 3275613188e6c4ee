import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeEnd, encodeEnd, readEnd } from './durable-end.ts'

const readerOf = (...contents: (Buffer | undefined)[]): { readNow: () => Buffer | undefined } => ({
  readNow: () => (contents.length > 1 ? contents.shift() : contents[0]),
})

describe('the published end (I2)', () => {
  test('is read back', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (end) => {
        expect(decodeEnd(encodeEnd(end))).toBe(end)
      }),
    )
  })

  test('is not believed when any bit of it changed, when it is short, or zeros', () => {
    const bytes = encodeEnd(123_456_789)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      expect(decodeEnd(flipped)).toBeUndefined()
    }
    for (let length = 0; length < bytes.length; length++) expect(decodeEnd(bytes.subarray(0, length))).toBeUndefined()
    expect(decodeEnd(Buffer.alloc(12))).toBeUndefined()
  })

  test('is read again when the read met a write half way', () => {
    expect(readEnd(readerOf(Buffer.alloc(12), encodeEnd(7)), '/log', 'trades', 0)).toBe(7)
  })

  test('is unknown when there is none, or only a damaged one', () => {
    expect(readEnd(readerOf(undefined), '/log', 'trades', 0)).toBeUndefined()
    expect(readEnd(readerOf(Buffer.alloc(12)), '/log', 'trades', 0)).toBeUndefined()
  })
})
