import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BatchPlace } from './log.ts'
import { parseReceipt, receiptLengthMax, receiptText } from './receipt.ts'

const place: BatchPlace = {
  partition: 0,
  from: 1000n,
  to: 1500n,
  count: 5,
  receivedAtMs: 1_763_670_000_123,
  sameArrivalFrom: undefined,
}

const places = fc
  .record({
    partition: fc.nat(99_999),
    from: fc.bigInt(0n, 2n ** 62n),
    bytes: fc.bigInt(1n, 2n ** 62n - 1n),
    count: fc.integer({ min: 1, max: 9_999_999_999 }),
    receivedAtMs: fc.integer({ min: 0, max: 36 ** 9 - 1 }),
    since: fc.option(fc.bigInt(0n, 2n ** 40n), { nil: undefined }),
  })
  .map(({ bytes, since, ...rest }): BatchPlace => ({
    ...rest,
    to: rest.from + bytes,
    sameArrivalFrom: since === undefined ? undefined : rest.from < since ? 0n : rest.from - since,
  }))
  // What is further away than that is not told.
  .filter(({ from, sameArrivalFrom = from }) => from - sameArrivalFrom < 36n ** 10n)

/** The text with a check that fits. */
const sealed = (text: string): string => `${text}.${crc32(text).toString(36)}`

test('a receipt says all that is to be known of the place of a batch', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z][a-z0-9_]{0,62}$/), places, (stream, one) => {
      const text = receiptText(stream, one)
      expect(text.length).toBeLessThanOrEqual(receiptLengthMax)
      expect(parseReceipt(text)).toEqual({ ...one, stream, text })
    }),
  )
})

test('a receipt with any character changed, missing or added is refused', () => {
  const text = receiptText('trades', { ...place, sameArrivalFrom: 900n })
  const others = '0189az_.-%/ A'.split('')
  const accepted: string[] = []
  const offer = (bad: string): void => {
    try {
      parseReceipt(bad)
      if (bad !== text) accepted.push(bad)
    } catch (error) {
      expect(error).toMatchObject({ code: 'unknown_receipt' })
    }
  }
  for (let index = 0; index <= text.length; index++) {
    offer(text.slice(0, index) + text.slice(index + 1))
    for (const other of others) {
      offer(text.slice(0, index) + other + text.slice(index))
      offer(text.slice(0, index) + other + text.slice(index + 1))
    }
  }
  expect(accepted).toEqual([])
})

describe('what nobody was given is refused, though its check fits', () => {
  test.each([
    ['an empty batch', 'trades.0.1000.1500.mi7x3k2a.0'],
    ['a batch without bytes', 'trades.0.1000.1000.mi7x3k2a.5'],
    ['a batch that ends before it begins', 'trades.0.1500.1000.mi7x3k2a.5'],
    ['a negative position', 'trades.0.-1.1000.mi7x3k2a.5'],
    ['a position of more than 63 bits', 'trades.0.0.9999999999999999999.mi7x3k2a.5'],
    ['a position with a zero in front', 'trades.0.01000.1500.mi7x3k2a.5'],
    ['a position in other digits', 'trades.0.١٠٠٠.1500.mi7x3k2a.5'],
    ['others of the same time before the start of the log', 'trades.0.1000.1500.mi7x3k2a.5.zz'],
    ['a name no stream has', 'Trades.0.1000.1500.mi7x3k2a.5'],
    ['a name that is too long', `${'t'.repeat(64)}.0.1000.1500.mi7x3k2a.5`],
    ['a path', '../trades.0.1000.1500.mi7x3k2a.5'],
    ['a part too many', 'trades.0.1000.1500.mi7x3k2a.5.0.0'],
    ['nothing', ''],
  ])('%s', (_, text) => {
    expect(() => parseReceipt(sealed(text))).toThrow(expect.objectContaining({ code: 'unknown_receipt', status: 404 }))
  })

  test('and a very long one is not repeated whole', () => {
    expect(() => parseReceipt('x'.repeat(1_000_000))).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^.{1,400}$/) }),
    )
  })
})
