/** Dead letters in the engine: written to their own log before anything behind them is committed, listed and dropped. */
import { afterEach, describe, expect, test } from 'vitest'
import { systemColumns } from '../../src/config/plan.ts'
import { deadLettersOf } from '../../src/events/dead-letter.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { formatPositions, newTableMetadata, positionsKey } from '../../src/lake/metadata.ts'
import type { Log } from '../../src/log/log.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { openDataFolder } from '../../src/runtime/data-folder.ts'
import { FreshetError } from '../../src/runtime/errors.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { Lab, until, type LabEngine, type LabEvent } from './engine-harness.ts'
import { balancedLedger, expectLedgerOfTable } from './ledger-checks.ts'
import { ask, asked, at, expectVerified, large, order, orders } from './letters-lab.ts'

let lab: Lab
afterEach(() => lab.close())

async function open(stream = orders): Promise<LabEngine> {
  lab = await Lab.open({ streams: { orders: stream } })
  await openDataFolder({ dataDir: lab.dir, version: '0.0.0', fileSystem: nodeFileSystem })
  return lab.start()
}

describe('letters of loads', () => {
  test('wait in front of the commit while their log cannot be written, and nothing is lost', async () => {
    lab = await Lab.open({ streams: { orders }, plan: { lake: { flushIntervalMs: 1 } } })
    const disk = { full: true }
    const engine = await lab.start({
      wrapLog: (log): Log => ({
        append: (stream, batch) =>
          disk.full ? Promise.reject(new FreshetError('disk_full', 'The disk is full.')) : log.append(stream, batch),
        read: (...place) => log.read(...place),
        ends: (stream) => log.ends(stream),
        trim: (...request) => log.trim(...request),
        subscribe: (onGrowth) => log.subscribe(onGrowth),
      }),
    })
    await lab.post('orders', [order('a', 1), order('b', large)])
    await until('the load waits', async () => (await engine.status('orders')).problem === 'The disk is full.')
    expect(await engine.status('orders')).toMatchObject({ checkpoint: '0', ledger: { inFlight: 2 } })
    disk.full = false
    await engine.committed('orders')
    expect(await engine.letters('orders', 'event_id, stage, code')).toEqual([
      { event_id: 'b', stage: 'load', code: 'unreadable' },
    ])
    await expectLedgerOfTable(engine, 'orders')
  })

  test('are listed newest first, with a condition and a limit, and shown one by one', async () => {
    const engine = await open()
    await lab.post('orders', [order('a', large, 's'), order('b', large, 's'), order('c', 1, 's')], { source: 's' })
    await engine.letters('orders')
    const all = await asked(engine, 'list', {})
    expect(all).toMatchObject({ stream: 'orders', more: false, letters: [{}, {}] })
    const { letters, more } = await asked(engine, 'list', { where: "event_id = 'b'", limit: 1 })
    expect([letters, more]).toMatchObject([
      [
        {
          stage: 'load',
          code: 'unreadable',
          eventId: 'b',
          eventTime: at,
          event: expect.stringContaining('"size":3000'),
        },
      ],
      false,
    ])
    expect(await asked(engine, 'list', { limit: 1 })).toMatchObject({ more: true })
    const [{ id }] = letters as [{ id: string }]
    const shown = await ask(engine, 'GET', `/v1/streams/orders/dead-letters/${encodeURIComponent(id)}`)
    expect(JSON.parse(shown.text)).toMatchObject({ id, stack: null, receivedAt: expect.stringMatching(/Z$/) })
    const overview = await ask(engine, 'GET', '/v1/dead-letters')
    expect(JSON.parse(overview.text)).toEqual({
      streams: [{ stream: 'orders', letters: 2, stages: [{ stage: 'load', consumer: null, letters: 2 }] }],
    })
  })

  test.each([
    ['select 1 from orders_dead_letters', 'invalid_sql'],
    ["code = (select 'x')", 'forbidden_sql'],
    ["read_text('/etc/passwd') = ''", 'forbidden_sql'],
    ['true) or (true', 'invalid_sql'],
    ["customer = 'c'", 'forbidden_sql'],
    ['1 = 1; drop table orders', 'forbidden_sql'],
    ["position = 'x'", 'invalid_sql'],
  ])('a condition that is none is refused: %s', async (where, code) => {
    const engine = await open()
    await lab.post('orders', [order('a', large)])
    await engine.letters('orders')
    for (const what of ['list', 'replay', 'drop']) {
      const { status, text } = await ask(engine, 'POST', `/v1/streams/orders/dead-letters/${what}`, { where })
      expect([what, status >= 400 && status < 500, (JSON.parse(text) as { code: string }).code]).toEqual([
        what,
        true,
        code,
      ])
    }
    expect(await engine.letters('orders')).toHaveLength(1)
  })

  test('of streams that are none, or have none', async () => {
    const engine = await open()
    expect(await asked(engine, 'list', {})).toEqual({ stream: 'orders', letters: [], more: false })
    expect(await asked(engine, 'drop', { all: true })).toMatchObject({ dropped: 0 })
    expect(await asked(engine, 'replay', { all: true })).toMatchObject({ state: 'done', letters: 0 })
    for (const [path, body] of [
      ['list', {}],
      ['replay', { all: true }],
      ['drop', { all: true }],
    ] as const) {
      const { text } = await ask(engine, 'POST', `/v1/streams/oders/dead-letters/${path}`, body)
      expect(JSON.parse(text)).toMatchObject({ code: 'unknown_stream' })
    }
    for (const what of ['replay', 'drop']) {
      const { text } = await ask(engine, 'POST', `/v1/streams/orders/dead-letters/${what}`, {})
      expect(JSON.parse(text)).toMatchObject({ code: 'invalid_request' })
    }
    const { text } = await ask(engine, 'GET', '/v1/streams/orders/dead-letters/load%3A7')
    expect(JSON.parse(text)).toMatchObject({ code: 'not_found' })
  })
})

describe('a drop', () => {
  test('takes out what a condition means, says how many, and the ledger goes on balancing', async () => {
    let engine = await open()
    await lab.post(
      'orders',
      ['a', 'b', 'c'].map((id) => order(id, large)),
    )
    await engine.letters('orders')
    expect(await asked(engine, 'drop', { where: "event_id < 'c'", dryRun: true })).toEqual({
      stream: 'orders',
      dryRun: true,
      dropped: 2,
    })
    expect(await asked(engine, 'drop', { where: "event_id < 'c'" })).toMatchObject({ dryRun: false, dropped: 2 })
    expect(await engine.letters('orders', 'event_id')).toEqual([{ event_id: 'c' }])
    const later = await ask(engine, 'POST', '/v1/streams/orders/dead-letters/drop', { where: 'failed_at < now()' })
    expect(JSON.parse(later.text)).toMatchObject({ code: 'forbidden_sql' })
    await engine.stop()
    await expectVerified(lab)
    engine = await lab.start()
    await balancedLedger(engine, 'orders')
    await balancedLedger(engine, deadLettersOf('orders'))
    expect(await asked(engine, 'drop', { all: true })).toMatchObject({ dropped: 1 })
    await engine.stop()
    await expectVerified(lab)
  })
})

test('letters are dropped with the day of their events where the stream keeps less, and the ledgers balance', async () => {
  const dayMs = 24 * 3600 * 1000
  const keeping = { ...orders, retainMs: 36 * 3600 * 1000 }
  let engine = await open(keeping)
  const late = new Date(Date.now() - 5 * dayMs).toISOString()
  const fresh = new Date().toISOString()
  const of = (id: string, time: string): LabEvent => ({ id, time, fields: { id, at: time, size: large } })
  await lab.post('orders', [of('late', late), of('fresh', fresh)])
  await engine.letters('orders')
  await engine.stop()
  engine = await lab.start()
  const body = JSON.stringify({ table: deadLettersOf('orders'), job: 'retention' })
  const { status, text } = await engine.send('POST', '/v1/maintenance', { 'content-type': 'application/json' }, body)
  expect(status, text).toBe(202)
  await until('retention is done', async () => (await engine.letters('orders')).length === 1)
  expect(await engine.letters('orders', 'event_id')).toEqual([{ event_id: 'fresh' }])
  expect(await balancedLedger(engine, 'orders')).toMatchObject([{ dead_lettered: 2, removed: 0 }])
  expect(await balancedLedger(engine, deadLettersOf('orders'))).toMatchObject([{ committed: 2, removed: 1 }])
  await engine.stop()
  await expectVerified(lab)
})

test('the one table of letters that first versions had can be read, and is no problem', async () => {
  let engine = await open()
  await engine.stop()
  const store = new LocalObjectStore({ root: lab.lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
  const catalog = new FileCatalog({ store, rootLocation: `file://${lab.lakeDir}`, logger: silentLogger })
  const metadata = newTableMetadata({
    columns: [...systemColumns, { name: 'stream', type: { kind: 'string' } }],
    partition: { by: 'event_time', unit: 'day' },
    clock: systemClock,
    random: systemRandom,
    // Of a log that never was.
    properties: { [positionsKey]: formatPositions(new Map([[0, 999n]])) },
  })
  await catalog.create('dead_letters', metadata)
  engine = await lab.start()
  expect(await engine.value('select count(stream) from dead_letters')).toBe(0)
  await lab.post('orders', [order('a', large)])
  expect(await engine.letters('orders')).toHaveLength(1)
  await engine.stop()
  await expectVerified(lab)
})
