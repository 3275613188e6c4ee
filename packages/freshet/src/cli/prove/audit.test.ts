/** The audit finds what a server got wrong, whatever it is: each fault here is planted in what it answers. */
import { beforeEach, describe, expect, test } from 'vitest'
import { FreshetError } from '../../runtime/errors.ts'
import { audit, type AuditOptions, type AuditResult } from './audit.ts'
import type { Row } from './door.ts'
import { Generator } from './generator.ts'
import { RunRecord } from './record.ts'
import { planSites } from './sites.ts'

const seed = 4
const run = 'r1'
const sites = planSites({ seed, sites: 2, batchEvents: 100, withoutIds: false })
let record: RunRecord
let rows: Row[]
let letters: Row[]

beforeEach(async () => {
  const generator = new Generator({ seed, run, sites, events: 300, late: 0, startedAtMs: Date.UTC(2026, 10, 20) })
  record = new RunRecord(sites, generator.counts)
  rows = []
  letters = []
  for (const site of sites) {
    for (const { n, id, line, checksum } of await generator.next(site.index, 1_000)) {
      record.sites[site.index]!.sending(n, checksum)
      record.sites[site.index]!.acknowledged(n)
      const event = JSON.parse(line) as Row
      rows.push({ _event_id: id, _source: `prove-${run}-${site.name}`, ...event, prove_at: sqlTime(event) })
    }
  }
})

function sqlTime({ prove_at: at }: Row): string {
  return `${String(at).replace('T', ' ').replace('Z', '')}+00`
}

/** A server that answers with `rows`, in one page. */
const door: AuditOptions['door'] = {
  rows: async (sql) => {
    if (sql.startsWith('select count(*)')) return [{ total: rows.length }]
    if (sql.includes('freshet.streams')) return letters.length === 0 ? [] : [{ name: 'prove_dead_letters' }]
    return letters
  },
  eachRow: async (_sql, _params, onRow) => {
    for (const event of rows) onRow({ event })
  },
}

function audited(from: AuditOptions['door'] = door): Promise<AuditResult> {
  const stop = new AbortController().signal
  return audit({ door: from, record, run, streams: [{ name: 'prove', hasIds: true }], stop, onProgress: () => {} })
}

const clean = { missing: 0, twice: 0, changed: 0, unexpected: 0, deadLettered: 0 }

test('nothing is found where everything is as it was sent', async () => {
  expect(await audited()).toMatchObject({ rows: 300, ...clean })
})

describe('a planted fault is found, and named', () => {
  test('an event that is missing', async () => {
    const [gone] = rows.splice(17, 1)
    const found = await audited()
    expect(found).toMatchObject({ ...clean, missing: 1 })
    expect(found.examples.missing).toEqual([gone!['prove_id']])
  })

  test('an event that is there twice, and three times', async () => {
    rows.push({ ...rows[5]! }, { ...rows[9]! }, { ...rows[9]! })
    expect(await audited()).toMatchObject({ ...clean, twice: 3 })
  })

  test('a value that has changed', async () => {
    rows[8] = { ...rows[8]!, amount: Number(rows[8]!['amount']) + 1 }
    const found = await audited()
    expect(found).toMatchObject({ ...clean, changed: 1 })
    expect(found.examples.changed).toEqual([rows[8]['prove_id']])
  })

  test('a field that got lost', async () => {
    delete rows[8]!['note']
    expect(await audited()).toMatchObject({ ...clean, changed: 1 })
  })

  test.each([
    ['a number beyond', `${run}-s00-9999`],
    ['a site that there is not', `${run}-s77-1`],
    ['no number', `${run}-s00-x`],
  ])('an event that was never sent: %s', async (_what, id) => {
    rows.push({ ...rows[0]!, prove_id: id, _event_id: id })
    expect(await audited()).toMatchObject({ ...clean, unexpected: 1 })
  })

  test('an event that was refused', async () => {
    const id = `${run}-s00-0`
    record = new RunRecord(
      sites,
      record.sites.map(({ events }) => events),
    )
    record.sites[0]!.sending(0, 1)
    record.sites[0]!.refused(0)
    rows = rows.filter(({ prove_id: one }) => one === id)
    expect(await audited()).toMatchObject({ ...clean, unexpected: 1 })
  })

  test('an event under another id or source than it was sent with', async () => {
    rows[3] = { ...rows[3]!, _event_id: 'other' }
    rows[4] = { ...rows[4]!, _source: null }
    expect(await audited()).toMatchObject({ unexpected: 2, missing: 2 })
  })
})

test('an event whose answer never came may be there or not', async () => {
  record = new RunRecord(
    sites,
    record.sites.map(({ events }) => events),
  )
  for (const { prove_site: site, prove_n: n } of rows) record.find(String(site))!.sending(Number(n), 0)
  rows = []
  expect(await audited()).toMatchObject({ rows: 0, ...clean })
})

test('a dead letter is no missing event', async () => {
  const [gone] = rows.splice(0, 1)
  letters = [{ event: JSON.stringify(gone) }]
  expect(await audited()).toMatchObject({ ...clean, deadLettered: 1 })
})

test('a page that broke off is read again, and counted once', async () => {
  let attempts = 0
  const breaking: AuditOptions['door'] = {
    rows: door.rows,
    eachRow: async (sql, params, onRow) => {
      attempts++
      if (attempts === 1) {
        onRow({ event: rows[0]! })
        throw new FreshetError('engine_unavailable', 'It went away.')
      }
      await door.eachRow(sql, params, onRow)
    },
  }
  expect(await audited(breaking)).toMatchObject({ rows: 300, ...clean })
  expect(attempts).toBe(2)
})
