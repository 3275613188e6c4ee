/** What receipts tell of events that were taken out of the table since: not that they are lost (I6). */
import { afterEach, describe, expect, test } from 'vitest'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { rewriteFiles } from '../../src/lake/rewrite.ts'
import { planScan } from '../../src/lake/scan.ts'
import { receiptText } from '../../src/log/receipt.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { Lab, streamPlan, tradeColumns, tradeEvents, trades, type LabEngine, type LabEvent } from './engine-harness.ts'
import { done, requestErasure } from './erasure-lab.ts'

let lab: Lab
afterEach(() => lab.close())

const counts = { visible: 0, deduplicated: 0, deadLettered: 0, waiting: 0, removed: 0, missing: 0 }
let arrivals = 1_700_000_000_000

/** Posts a batch at an arrival time of its own; gives its receipt. */
async function post(stream: string, events: readonly LabEvent[]): Promise<string> {
  const { place } = await lab.post(stream, events, { receivedAtMs: (arrivals += 10) })
  return receiptText(stream, place!)
}

async function find(engine: LabEngine, receipt: string): Promise<Record<string, unknown>> {
  const { status, text } = await engine.send('GET', `/v1/receipts/${receipt}`)
  expect(status, text).toBe(200)
  return JSON.parse(text) as Record<string, unknown>
}

describe('events that were taken out of the table', () => {
  const plain = streamPlan('plain', { id: null, time: null, columns: tradeColumns })
  const given = (count: number, price: number): LabEvent[] =>
    Array.from({ length: count }, (_, index) => ({ id: `018f-${price}-${index}`, fields: { price } }))

  test('by an erasure are removed, and not missing, as far as that can be told without the log', async () => {
    lab = await Lab.open({ streams: { plain, trades }, plan: { lake: { flushIntervalMs: 1 } } })
    const engine = await lab.start()
    const part = await post('plain', [...given(3, 1), ...given(2, 2)])
    const whole = await post('plain', given(4, 1))
    const other = await post('plain', given(2, 3))
    const repeats = await post('trades', tradeEvents(4))
    await Promise.all([engine.committed('plain'), engine.committed('trades')])
    const erase = async (stream: string, condition: string): Promise<void> =>
      void (await done(engine, (await requestErasure(lab, engine, condition, { stream })).body.id))
    await erase('plain', 'price = 1')
    await erase('trades', "id = 't1'")
    expect(await find(engine, part)).toMatchObject({ inLog: false, events: { ...counts, visible: 2, removed: 3 } })
    expect((await find(engine, whole))['events']).toEqual({ ...counts, removed: 4 })
    expect((await find(engine, other))['events']).toEqual({ ...counts, visible: 2 })
    // Where ids may repeat, what is nowhere may have been left out.
    const open = { deduplicated: null, removed: null, missing: null }
    expect((await find(engine, repeats))['events']).toEqual({ ...counts, visible: 3, ...open })
  })

  test('by a rollback are removed, and known one by one while the log has them', async () => {
    lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
    const engine = await lab.start()
    const kept = await post('trades', tradeEvents(2))
    await engine.committed('trades')
    await engine.send('POST', '/v1/tables/trades/tags', {}, JSON.stringify({ name: 'before' }))
    const gone = await post('trades', [...tradeEvents(3, { from: 1 })])
    await engine.committed('trades')
    const answer = await engine.send('POST', '/v1/tables/trades/rollback', {}, JSON.stringify({ to: 'before' }))
    expect([answer.status, answer.text]).toEqual([200, expect.stringContaining('"rows":2')])
    expect((await find(engine, kept))['events']).toEqual({ ...counts, visible: 2 })
    expect(await find(engine, gone)).toMatchObject({ inLog: true, events: { ...counts, deduplicated: 1, removed: 2 } })
  })
})

test('events that no ledger counts as removed are missing', async () => {
  lab = await Lab.open({ plan: { lake: { flushIntervalMs: 1 } } })
  const engine = await lab.start()
  const receipt = await post('trades', tradeEvents(3))
  await engine.committed('trades')
  const other = await post('trades', tradeEvents(2, { from: 10, day: '2013-10-08' }))
  await engine.committed('trades')
  // As another engine drops a partition.
  const store = new LocalObjectStore({ root: lab.lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
  const catalog = new FileCatalog({ store, rootLocation: `file://${lab.lakeDir}`, logger: silentLogger })
  const table = (await catalog.load('trades'))!
  const { files } = await planScan(store, table)
  const first = files.toSorted((a, b) => a.partitionValue! - b.partitionValue!)[0]!
  const deps = { store, catalog, clock: systemClock, random: systemRandom, logger: silentLogger }
  await rewriteFiles(deps, { table, remove: [first.path], add: [], operation: 'delete' })
  await post('trades', tradeEvents(1, { from: 20, day: '2013-10-08' }))
  await engine.committed('trades')
  expect((await find(engine, receipt))['events']).toEqual({ ...counts, missing: 3 })
  expect((await find(engine, other))['events']).toEqual({ ...counts, visible: 2 })
})
