import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatDuration, formatSize, readDuration, readSize } from './quantities.ts'

test.each([
  [16, 16],
  ['16 MB', 16_000_000],
  ['16MiB', 16_777_216],
  ['16 mib', 16_777_216],
  ['1.5 KiB', 1536],
  ['1_000 B', 1000],
  [' 2 GiB ', 2 ** 31],
])('the size %j is %i bytes', (words, bytes) => {
  expect(readSize(words)).toEqual({ value: bytes })
})

test.each([
  [250, 250],
  ['10s', 10_000],
  ['2 minutes', 120_000],
  ['0.5 h', 1_800_000],
  ['1 day', 86_400_000],
])('the duration %j is %i ms', (words, ms) => {
  expect(readDuration(words)).toEqual({ value: ms })
})

test.each([
  ['16M', '16 MiB'],
  ['16 MBs', '16 MB'],
])('the size %j has an unknown unit; %j is suggested', (words, suggestion) => {
  expect(readSize(words)).toMatchObject({ reason: expect.stringContaining('unknown unit'), suggestion })
})

test('a number in quotes needs its unit', () => {
  expect(readDuration('10')).toEqual({
    reason: 'has no unit: write the number without quotes for milliseconds, or name one',
  })
})

test.each([null, undefined, {}, [], NaN, Infinity, '', 'soon', '-1 s', '1e3 s', 's', '9'.repeat(100)])(
  '%j is no quantity, and says so',
  (words) => {
    expect(readDuration(words)).toHaveProperty('reason')
    expect(readSize(words)).toHaveProperty('reason')
  },
)

test('what is formatted reads back as the same', () => {
  fc.assert(
    fc.property(fc.nat(), (amount) => {
      expect(readSize(formatSize(amount))).toEqual({ value: amount })
      expect(readDuration(formatDuration(amount))).toEqual({ value: amount })
    }),
  )
})
