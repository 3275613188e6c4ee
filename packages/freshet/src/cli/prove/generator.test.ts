import { expect, test } from 'vitest'
import { checksumOf } from './checksum.ts'
import { Generator } from './generator.ts'
import { planSites } from './sites.ts'
import { parseEventId, type ProveEvent } from './workload.ts'

const startedAtMs = Date.parse('2026-11-20T12:00:00Z')

async function made(seed: number, batch: number): Promise<ProveEvent[][]> {
  const sites = planSites({ seed, sites: 5, batchEvents: 100, withoutIds: true })
  const generator = new Generator({ seed, run: 'r', sites, events: 1_000, late: 0.2, startedAtMs })
  return Promise.all(
    sites.map(async ({ index }) => {
      const events: ProveEvent[] = []
      for (let next = await generator.next(index, batch); next.length > 0; next = await generator.next(index, batch))
        events.push(...next)
      return events
    }),
  )
}

test('a seed decides every event, whatever the size of the batches', async () => {
  const one = await made(7, 13)
  expect(one.flat()).toHaveLength(1_000)
  expect(await made(7, 500)).toEqual(one)
  expect(await made(8, 13)).not.toEqual(one)
})

test('each event has an id of its own that names it, and the checksum of what it says', async () => {
  const all = (await made(7, 100)).flatMap((events, site) => events.map((event) => ({ ...event, site })))
  expect(new Set(all.map(({ id }) => id)).size).toBe(1_000)
  for (const { id, n, site, line, checksum } of all) {
    expect(parseEventId('r', id)).toEqual({ site: `s0${site}`, n })
    expect(checksumOf(JSON.parse(line) as Record<string, unknown>)).toBe(checksum)
  }
})

test('the part that is late is hours to days late, and clocks are off by less than a minute', async () => {
  const times = (await made(7, 100))
    .flat()
    .map(({ line }) => Date.parse((JSON.parse(line) as { prove_at: string }).prove_at))
  const lateness = times.map((at) => startedAtMs - at)
  const late = lateness.filter((ms) => ms > 30 * 60_000)
  expect(late.length).toBeGreaterThan(150)
  expect(late.length).toBeLessThan(250)
  expect(Math.max(...late)).toBeLessThan(73 * 3_600_000)
  expect(Math.min(...lateness)).toBeGreaterThan(-60_000)
})

test('ids of other runs, and text that is no id, name nothing', () => {
  for (const id of ['x-s00-1', 'r-s00-01', 'r-s00--1', 'r-s00-1e3', 'r-s00', ''])
    expect(parseEventId('r', id)).toBeUndefined()
})
