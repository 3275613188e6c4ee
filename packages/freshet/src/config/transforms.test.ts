import { expect, test } from 'vitest'
import { checkOptions, linesOf } from '../../test/support/config-mistakes.ts'
import { checkConfig } from './check.ts'
import type { StreamPlan } from './plan.ts'

const schema = (...fields: string[]): object => ({
  type: 'object',
  properties: Object.fromEntries(
    fields.map((field) => [field, { type: 'string', ...(field === 'at' && { format: 'date-time' }) }]),
  ),
  required: fields,
})
const each = (event: unknown): unknown => event
const planOf = (streams: Record<string, unknown>): Record<string, StreamPlan> =>
  checkConfig({ streams }, checkOptions).streams

test('a stream that is made of another one has its ids and times, unless its own fields have them', () => {
  const timed = { schema: schema('id', 'at'), id: 'id', time: 'at' }
  const streams = planOf({
    second: { from: 'first', each },
    first: { from: 'orders', each },
    own: { ...timed, from: 'orders', each },
    orders: timed,
  })
  const inherited = { id: '_event_id', time: { field: '_event_time', unit: 'iso' } }
  expect(streams).toMatchObject({
    first: inherited,
    second: inherited,
    own: { id: 'id', time: { field: 'at' } },
    orders: { id: 'id', time: { field: 'at' } },
  })
})

test('ids that are one set for all times stay so in what is made of them', () => {
  const streams = planOf({
    second: { from: 'first', each },
    first: { from: 'orders', each },
    timed: { from: 'first', schema: schema('at'), time: 'at', each },
    orders: { schema: schema('id'), id: 'id' },
    plain: { from: 'bare', each },
    bare: {},
  })
  expect(streams).toMatchObject({
    first: { id: '_event_id', time: null },
    second: { id: '_event_id', time: null },
    timed: { id: '_event_id', time: { field: 'at' } },
    plain: { id: '_event_id', time: { field: '_event_time' } },
  })
})

test('what is wrong with one transform is told by its key', () => {
  const made = (words: object): string[] => linesOf({ streams: { orders: {}, made: words } })
  expect(made({ from: 'orders' })).toEqual([expect.stringMatching(/^streams\.made: needs one of "each", "batch" and/)])
  expect(made({ from: 'orders', each, sql: 'SELECT 1' })).toEqual([expect.stringMatching(/has each and sql$/)])
  expect(made({ each, timeout: '1 s' })).toEqual([
    expect.stringMatching(/^streams\.made\.each: has no meaning without "from"/),
    expect.stringMatching(/^streams\.made\.timeout: has no meaning/),
  ])
  expect(made({ from: 'ordres', each })).toEqual([
    expect.stringMatching(/^streams\.made\.from: there is no stream "ordres"/),
  ])
  expect(made({ from: 'made', each })).toEqual([expect.stringMatching(/^streams\.made\.from: goes round in a circle/)])
  expect(made({ from: 'orders', each, invalid: 'dead-letter' })).toEqual([
    expect.stringMatching(/^streams\.made\.invalid: is about events that are posted/),
  ])
})

test('the version is of the function or statement, and of the files that are imported', () => {
  const version = (words: object, codeHash = ''): string | undefined =>
    checkConfig(
      { streams: { orders: {}, made: { from: 'orders', ...words } } },
      { ...checkOptions, file: { path: 'freshet.config.ts', codeHash } },
    ).streams['made']?.transform?.version
  const versions = [
    version({ each: () => 1 }),
    version({ each: () => 2 }),
    version({ each: () => 2 }, 'other files'),
    version({ sql: 'SELECT 1' }),
    version({ sql: 'SELECT 2' }),
  ]
  expect(new Set(versions).size).toBe(versions.length)
  expect(version({ each: () => 1 })).toBe(versions[0])
  expect(versions.every((one) => /^[0-9a-f]{12}$/.test(one ?? ''))).toBe(true)
})
