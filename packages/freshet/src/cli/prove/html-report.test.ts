import { expect, test } from 'vitest'
import { createColors } from 'picocolors'
import { chart, escapeHtml } from './chart.ts'
import { isProved, type Facts } from './facts.ts'
import { htmlReport } from './html-report.ts'
import { jsonReport } from './json-report.ts'
import { proveOptions } from './options.ts'
import { textReport } from './report.ts'

const hostile = '</td><script>alert("1")</script>\u001b[2J\'&'
const flags = { sites: 1, duplicates: 0.1, late: 0.1, kill: 1, batch: 500, readers: 1, seed: 5, stream: 'prove' }

function facts(change: Partial<Facts> = {}): Facts {
  return {
    options: proveOptions(flags, '/'),
    run: 'r1',
    startedAt: '2026-11-20T12:00:00.000Z',
    versions: { freshet: '1', server: '1', node: '24', platform: 'linux x64', cpus: 2 },
    sites: [{ name: 's00', kind: 'key', stream: 'prove', events: 10, clockOffsetMs: 1500, outages: 1 }],
    sent: 10,
    acknowledged: 10,
    refused: 0,
    unknown: 0,
    accepted: 11,
    counts: {
      requests: 2,
      repeatedEvents: 1,
      repeatedBatches: 0,
      retries: 0,
      lostAnswers: 0,
      reasons: [],
      contradictions: [],
    },
    audit: {
      rows: 10,
      missing: 0,
      twice: 0,
      changed: 0,
      unexpected: 0,
      deadLettered: 0,
      examples: { missing: [], twice: [], changed: [], unexpected: [] },
    },
    ledger: null,
    readings: { queries: 3, unanswered: 0, twice: [], vanished: [], catchingUp: 0 },
    kills: [{ role: 'engine', atMs: 400, backMs: 900 }],
    samples: [
      { atMs: 100, delayMs: 40 },
      { atMs: 500, delayMs: 450 },
    ],
    freshnessMs: { p50: 40, p99: 450, max: 450 },
    freshnessQuietMs: { p50: 40, p99: 40, max: 40 },
    moments: [
      { atMs: 0, acknowledged: 0, lagBytes: 0 },
      { atMs: 500, acknowledged: 6, lagBytes: null },
      { atMs: 1000, acknowledged: 10, lagBytes: 2_000 },
    ],
    sendingMs: 1000,
    settlingMs: 10,
    auditMs: 20,
    totalMs: 1030,
    checks: [{ name: 'All is well', ok: true, detail: 'It is.' }],
    ...change,
  }
}

test('the page is whole by itself, and nothing in it can become markup', () => {
  const bad = { name: hostile, ok: false, detail: hostile, advice: hostile }
  const versions = { ...facts().versions, server: hostile }
  const html = htmlReport(facts({ checks: [bad], versions, sites: [{ ...facts().sites[0]!, name: hostile }] }))
  expect(html).not.toContain('<script')
  expect(html.match(/&#60;script&#62;/g)!.length).toBeGreaterThan(3)
  expect(html).not.toMatch(/(?:src|href)=|url\(|@import/)
  expect(html.match(/<svg /g)).toHaveLength(3)
  expect(html.match(/class="mark engine"/g)).toHaveLength(3)
})

test('text in a page or an attribute of it stays text', () => {
  expect(escapeHtml(`<a b="c" d='e'>&`)).toBe('&#60;a b=&#34;c&#34; d=&#39;e&#39;&#62;&#38;')
})

test('the text says the verdict first, and what to do about what failed; control characters are harmless', () => {
  const style = createColors(false)
  expect(textReport(facts(), style)).toMatch(/^PROVED: 10 events from 1 site, each there once, after 1 kill\./)
  const failed = facts({
    audit: { ...facts().audit, missing: 3 },
    checks: [{ name: 'None is missing', ok: false, detail: hostile, advice: 'Report it.' }],
  })
  const text = textReport(failed, style)
  expect(text).toMatch(/^FAILED: 3 missing, 0 twice\./)
  expect(text).toContain('what to do: Report it.')
  expect(text).not.toContain('\u001b')
})

test('the JSON has what it promises, and ok only when no check failed', () => {
  const json = jsonReport(facts())
  expect(json).toMatchObject({
    ok: true,
    sent: 10,
    accepted: 11,
    committed: 10,
    deduplicated: 1,
    deadLettered: 0,
    missing: 0,
    twice: 0,
    kills: 1,
    eventsPerSecond: 10,
    freshnessMs: { p50: 40, p99: 450, max: 450 },
    seed: 5,
  })
  expect(isProved({ checks: [{ name: 'a', ok: null, detail: '' }] })).toBe(true)
  expect(isProved({ checks: [{ name: 'a', ok: false, detail: '' }] })).toBe(false)
})

test('a chart without values says so; one with a single value has a scale', () => {
  const common = { title: 'T', endMs: 10, marks: [], format: String }
  expect(chart({ ...common, series: [], logarithmic: true })).toContain('Not measured')
  const series = [{ name: 'a', style: 'blue', as: 'dots', points: [[5, 0]] }] as const
  for (const logarithmic of [true, false]) expect(chart({ ...common, series, logarithmic })).not.toMatch(/NaN|Infinity/)
})
