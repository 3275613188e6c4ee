import { expect, test } from 'vitest'
import type { SourceState } from '../lake/sources.ts'
import type { Site } from '../sites/site-registry.ts'
import { Completeness } from './completeness.ts'
import { siteStatuses } from './site-status.ts'

const nowMs = 1_000_000

function site(name: string, changes: Partial<Site> = {}): Site {
  return { name, streams: 'all', state: 'active', addedAtMs: 0, changedAtMs: 0, ...changes }
}

/** Reported through `ms`, and heard of at the same time. */
function reported(ms: number | undefined): SourceState {
  return { lastEventMs: ms, reportedThroughMs: ms, lastArrivalMs: ms ?? 0 }
}

function completeness(sites: readonly Site[], streams: Record<string, Record<string, SourceState>>): Completeness {
  return new Completeness({
    sites: { list: async () => sites },
    clock: { nowMs: () => nowMs },
    streams: () =>
      Object.entries(streams).map(([name, states]) => ({ name, sources: new Map(Object.entries(states)) })),
  })
}

const through = async (sites: readonly Site[], sources: Record<string, SourceState>): Promise<number | undefined> =>
  (await completeness(sites, { trades: sources }).through('all')).get('trades')

test('a stream is complete through what its slowest active site has reported', async () => {
  const sources = { a: reported(500), b: reported(300), c: reported(900) }
  expect(await through([site('a'), site('b'), site('c')], sources)).toBe(300)
  expect(await through([site('a'), site('b', { state: 'paused' }), site('c')], sources)).toBe(500)
  expect(await through([site('a'), site('b', { streams: ['orders'] }), site('c')], sources)).toBe(500)
  expect(await through([site('c', { streams: ['orders', 'trades'] })], sources)).toBe(900)
})

test('it is unknown while no active site is registered, or one has not reported', async () => {
  expect(await through([], { a: reported(500) })).toBeUndefined()
  expect(await through([site('a', { state: 'paused' })], { a: reported(500) })).toBeUndefined()
  expect(await through([site('a'), site('b')], { a: reported(500) })).toBeUndefined()
  expect(await through([site('a'), site('b')], { a: reported(500), b: reported(undefined) })).toBeUndefined()
})

test('only the streams that are asked for are looked at', async () => {
  const found = completeness([site('a')], { trades: { a: reported(500) }, orders: { a: reported(100) } })
  expect(await found.through(new Set(['orders', 'others']))).toEqual(new Map([['orders', 100]]))
})

test('times before 1970, and 1970 itself, are times', async () => {
  expect(await through([site('a'), site('b')], { a: reported(0), b: reported(-5) })).toBe(-5)
})

test('streams do not mix', async () => {
  const streams = { trades: { a: reported(500) }, orders: { a: reported(100), b: reported(200) } }
  const sites = [site('a'), site('b', { streams: ['orders'] })]
  expect(await completeness(sites, streams).through('all')).toEqual(
    new Map([
      ['trades', 500],
      ['orders', 100],
    ]),
  )
})

test('a report names what holds back, what is paused and what nobody registered', async () => {
  const sources = {
    b: reported(300),
    a: reported(500),
    stray: reported(100),
    asleep: { lastEventMs: undefined, reportedThroughMs: nowMs + 5, lastArrivalMs: nowMs + 1 },
  }
  const sites = [site('a'), site('asleep', { state: 'paused' }), site('b')]
  const report = (await completeness(sites, { trades: sources }).report()).get('trades')!
  expect(report.completeThroughMs).toBe(300)
  expect(report.sites.map((one) => [one.site, one.state, one.holdsBack])).toEqual([
    ['a', 'active', false],
    ['asleep', 'paused', false],
    ['b', 'active', true],
    ['stray', 'unregistered', false],
  ])
  expect(report.sites[2]).toMatchObject({ lagMs: nowMs - 300, silentMs: nowMs - 300 })
  // Arrived, by a clock that was set since, in the future.
  expect(report.sites[1]).toMatchObject({ lagMs: -5, silentMs: 0, lastEventMs: undefined })
})

test('while sites have not reported, it is those that hold back', async () => {
  const report = (await completeness([site('a'), site('b')], { trades: { a: reported(500) } }).report()).get('trades')!
  expect(report.sites).toMatchObject([
    { site: 'a', holdsBack: false },
    { site: 'b', holdsBack: true, lagMs: undefined, silentMs: undefined, lastArrivalMs: undefined },
  ])
})

test('changes of the registry show at the next look', async () => {
  let sites = [site('a')]
  const found = new Completeness({
    sites: { list: async () => sites },
    clock: { nowMs: () => nowMs },
    streams: () => [{ name: 'trades', sources: new Map([['a', reported(500)]]) }],
  })
  expect(await found.through('all')).toEqual(new Map([['trades', 500]]))
  sites = [site('a', { state: 'paused' })]
  expect(await found.through('all')).toEqual(new Map())
})

test('the status shows a few, what holds back longest in front', async () => {
  const sites = Array.from({ length: 30 }, (_, index) => site(`s${String(index).padStart(2, '0')}`))
  const sources = Object.fromEntries(sites.map(({ name }) => [name, reported(500)]))
  sources['s20'] = { ...reported(100), lastArrivalMs: 700 }
  sources['s21'] = { ...reported(100), lastArrivalMs: 600 }
  sources['unknown'] = reported(50)
  const status = siteStatuses((await completeness(sites, { trades: sources }).report()).get('trades'))
  expect(status).toMatchObject({ completeThrough: '1970-01-01T00:00:00.100Z', sitesTotal: 31 })
  expect(status.sites).toHaveLength(20)
  expect(status.sites!.slice(0, 3).map((one) => one.site)).toEqual(['s21', 's20', 's00'])
  expect(siteStatuses(undefined)).toEqual({ completeThrough: null, sites: null, sitesTotal: null })
})
