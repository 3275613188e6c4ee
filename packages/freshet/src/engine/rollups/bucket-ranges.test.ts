import { expect, test } from 'vitest'
import { filesIn, joinBuckets } from './bucket-ranges.ts'

test('buckets that follow on each other are one range', () => {
  const buckets = [0n, 10n, 20n, 50n, 60n].map((from) => ({ from, to: from + 10n }))
  expect(joinBuckets(buckets)).toEqual([
    { from: 0n, to: 30n },
    { from: 50n, to: 70n },
  ])
  expect(buckets[0]).toEqual({ from: 0n, to: 10n })
  expect(joinBuckets([])).toEqual([])
})

test('a file is left out only when its bounds exclude every range', () => {
  const file = (lower: bigint | undefined, upper: bigint | undefined) => ({ eventTime: { lower, upper } })
  const ranges = [
    { from: 10n, to: 20n },
    { from: 40n, to: 50n },
  ]
  const within = [file(0n, 10n), file(19n, 30n), file(undefined, 10n), file(15n, undefined), file(undefined, undefined)]
  const other = [file(0n, 100n), file(25n, 40n), file(49n, 60n)]
  const beyond = [file(0n, 9n), file(20n, 39n), file(undefined, 9n), file(50n, undefined), file(60n, 70n)]
  expect(filesIn([...within, ...beyond, ...other], ranges)).toEqual([...within, ...other])
  expect(filesIn(within, [])).toEqual([])
})
