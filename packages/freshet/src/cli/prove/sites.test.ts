import { expect, test } from 'vitest'
import { planVictims } from './killer.ts'
import { quantilesOf } from './quantiles.ts'
import { Repeats } from './repeats.ts'
import { planSites, shareOut, siteOfRow } from './sites.ts'

const sites = planSites({ seed: 3, sites: 12, batchEvents: 500, withoutIds: true })

test('sites differ in rate, clock and batch, and every kind of recognition is there', () => {
  expect(sites.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1)
  expect(new Set(sites.map(({ batchEvents }) => batchEvents)).size).toBeGreaterThan(8)
  expect(new Set(sites.map(({ clockOffsetMs }) => clockOffsetMs)).size).toBe(12)
  expect(new Set(sites.map(({ kind, hasIds }) => `${kind} ${hasIds}`))).toEqual(
    new Set(['sequence true', 'key true', 'ids true', 'sequence false', 'key false']),
  )
  expect(sites.some(({ outages }) => outages.length > 0)).toBe(true)
  expect(planSites({ seed: 3, sites: 12, batchEvents: 500, withoutIds: false }).every(({ hasIds }) => hasIds)).toBe(
    true,
  )
})

test.each([0, 1, 7, 11, 1_000_003])('%i events are shared out to the last', (events) => {
  expect(shareOut(events, sites).reduce((sum, count) => sum + count, 0)).toBe(events)
})

test('rows of files are spread like the sites, the same each time', () => {
  const counts = sites.map(() => 0)
  for (let row = 0; row < 20_000; row++) counts[siteOfRow(3, row, sites)]!++
  for (const { index, share } of sites) expect(Math.abs(counts[index]! / 20_000 - share)).toBeLessThan(0.02)
})

test('events that are sent twice are as many as asked for, and none of them is lost or invented', () => {
  const repeats = new Repeats({ seed: 5, site: 0, duplicates: 0.1 })
  const events = Array.from({ length: 10_000 }, (_, n) => ({ n, id: `${n}`, line: '', checksum: 0 }))
  const again: number[] = []
  for (let at = 0; at < events.length; at += 100) {
    const batch = events.slice(at, at + 100)
    again.push(...repeats.some(5).map(({ n }) => n))
    again.push(
      ...repeats
        .choose(batch)
        .slice(100)
        .map(({ n }) => n),
    )
    again.push(...repeats.batch(100).map(({ n }) => n))
  }
  while (repeats.waiting > 0) again.push(...repeats.rest(100).map(({ n }) => n))
  expect(new Set(again).size).toBe(again.length)
  expect(Math.abs(again.length - 1_000)).toBeLessThan(150)
  expect(again).not.toEqual(again.toSorted((a, b) => a - b))
})

test('all kinds of processes are killed, none so often in a row that it would be left lying', () => {
  const victims = planVictims(200, 9)
  expect(victims).toHaveLength(200)
  const deaths = { gateway: 0, engine: 0 }
  for (const role of victims) {
    if (role === 'supervisor') Object.assign(deaths, { gateway: 0, engine: 0 })
    else expect(++deaths[role]).toBeLessThan(5)
  }
  for (const role of ['gateway', 'engine', 'supervisor'] as const)
    expect(victims.filter((one) => one === role).length).toBeGreaterThan(30)
  expect(planVictims(200, 9)).toEqual(victims)
})

test('quantiles are values that were measured', () => {
  expect(quantilesOf([])).toBeNull()
  expect(quantilesOf([5])).toEqual({ p50: 5, p99: 5, max: 5 })
  expect(quantilesOf(Array.from({ length: 100 }, (_, index) => 100 - index))).toEqual({ p50: 50, p99: 99, max: 100 })
})
