import { expect, test } from 'vitest'
import { checkOptions, linesOf } from '../../test/support/config-mistakes.ts'
import { checkConfig } from './check.ts'
import type { RollupPlan } from './plan.ts'

const select = { trades: 'count(*)' }
const linesFor = (rollups: unknown): string[] => linesOf({ streams: { trades: {} }, rollups })

function planOf(rollup: Record<string, unknown>): RollupPlan {
  const words = { streams: { trades: {} }, rollups: { bars: { from: 'trades', ...rollup } } }
  return checkConfig(words, checkOptions).rollups['bars']!
}

test('aggregates become one SELECT, with names in quotes', () => {
  const { sql, by, partition } = planOf({ bucket: '1 minute', by: ['symbol'], select, where: 'size > 0' })
  expect(sql).toBe(
    `SELECT time_bucket(INTERVAL 60 SECOND, _event_time, TIMESTAMPTZ '2000-01-03 00:00:00+00') AS bucket, "symbol", ` +
      `count(*) AS "trades" FROM "trades" WHERE (size > 0) GROUP BY ALL`,
  )
  expect(by).toEqual(['symbol'])
  expect(partition).toEqual({ unit: 'day' })
  expect(planOf({ bucket: '2 months', select })).toMatchObject({
    bucket: { unit: 'month', count: 2 },
    partition: { unit: 'month' },
  })
})

test('what is wrong with one rollup is told by its key', () => {
  const bars = (words: object): string[] => linesFor({ bars: { from: 'trades', bucket: '1 hour', ...words } })
  expect(bars({})).toEqual([expect.stringMatching(/^rollups\.bars: needs either "select" or "sql"/)])
  expect(bars({ select, sql: 'SELECT 1' })).toEqual([expect.stringMatching(/needs either "select" or "sql"/)])
  expect(bars({ sql: 'SELECT 1', where: 'true' })).toEqual([expect.stringMatching(/^rollups\.bars\.where: /)])
  expect(bars({ select, by: ['bucket'] })).toEqual([expect.stringMatching(/"bucket" is taken/)])
  expect(bars({ select, by: ['trades'] })).toEqual([
    expect.stringMatching(/^rollups\.bars\.select: "trades" is in "by"/),
  ])
  expect(bars({ select, bucket: '1.5 seconds' })).toEqual([expect.stringMatching(/^rollups\.bars\.bucket: /)])
  expect(bars({ select: { trades: 7 } })).toEqual([expect.stringMatching(/"trades" must be a SQL expression/)])
  expect(linesFor({ trades: { from: 'trades', bucket: '1 hour', select } })).toEqual([
    'rollups.trades: a stream has this name already',
  ])
})

test.each([
  ['1 minute', '1 hour', true],
  ['1 minute', '90 seconds', false],
  ['1 hour', '1 minute', false],
  ['1 hour', '1 month', true],
  ['7 days', '1 month', false],
  ['1 month', '1 year', true],
  ['5 months', '1 year', false],
  ['1 month', '1 day', false],
])('buckets of %s make up those of %s: %s', (part, width, isWhole) => {
  const rollups = {
    small: { from: 'trades', bucket: part, select },
    large: { from: 'small', bucket: width, select },
  }
  if (isWhole)
    expect(Object.keys(checkConfig({ streams: { trades: {} }, rollups }, checkOptions).rollups)).toHaveLength(2)
  else
    expect(linesFor(rollups)).toEqual([expect.stringMatching(/^rollups\.large\.bucket: must be made of whole buckets/)])
})
