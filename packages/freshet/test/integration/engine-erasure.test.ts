/** What is erased is gone from every byte on disk, whatever happens meanwhile; what is not meant stays (I5, I6, I10). */
import { afterEach, describe, expect, test } from 'vitest'
import { Lab, until, type LabEngine } from './engine-harness.ts'
import {
  brokenOrder,
  done,
  erasure,
  expectVerified,
  filesWith,
  killedAtEach,
  orderEvents,
  orders,
  requestErasure,
  secret,
  where,
} from './erasure-lab.ts'
import { balancedLedger } from './ledger-checks.ts'
import { Freezer } from './store-faults.ts'

let lab: Lab

const options = { streams: { orders }, plan: { lake: { flushIntervalMs: 1 } } }
const slow = { streams: { orders } }
const secrets = `select count(*) from orders where ${where}`

/** Four commits over two days with the secret in three of them, one tagged, and two dead letters; 8 + 40 orders. */
async function history(engine: LabEngine, own = lab): Promise<void> {
  await own.post('orders', [...orderEvents(10), ...orderEvents(3, { of: secret })])
  await engine.committed('orders')
  await tag(engine, 'with-secret')
  await own.post('orders', orderEvents(10, { prefix: 'p', day: '2013-10-08' }))
  await engine.committed('orders')
  await own.post('orders', [
    ...orderEvents(10, { prefix: 'q' }),
    ...orderEvents(3, { of: secret, prefix: 'q', day: '2013-10-08' }),
    brokenOrder('b-1', secret),
    brokenOrder('b-2', 'customer-1'),
  ])
  await engine.committed('orders')
  await own.post('orders', orderEvents(2, { of: secret, prefix: 'whole', day: '2013-10-09' }))
  await engine.committed('orders')
  await own.post('orders', orderEvents(10, { prefix: 'r' }))
  await engine.caughtUp('orders')
}

async function tag(engine: LabEngine, name: string): Promise<void> {
  const { status, text } = await engine.send('POST', '/v1/tables/orders/tags', {}, JSON.stringify({ name }))
  expect([status, text]).toEqual([201, expect.any(String)])
}

async function expectErased(engine: LabEngine, kept = 40): Promise<void> {
  expect(await engine.value(secrets)).toBe(0)
  expect(await engine.value('select count(*) from orders')).toBe(kept)
  expect(await engine.letters('orders')).toHaveLength(1)
}

describe('an erasure', () => {
  afterEach(() => lab.close())

  test('leaves no byte of what it means, and everything else', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    expect(await filesWith(lab.dir, secret)).not.toEqual([])
    const asked = await requestErasure(lab, engine)
    expect(asked.status).toBe(202)
    const { report, ...rest } = await done(engine, asked.body.id)
    expect(await filesWith(lab.dir, secret)).toEqual([])
    await expectErased(engine)

    expect(rest).toMatchObject({ stream: 'orders', state: 'done', waitingFor: null, requestedBy: 'a test' })
    expect(rest.where).toMatch(/^customer_id = 'sha256:[0-9a-f]{32}'$/)
    expect(report.commits.reduce((sum, { rows }) => sum + rows, 0)).toBe(3 + 3 + 2 + 1)
    expect(report.droppedRefs).toMatchObject([{ table: 'orders', name: 'with-secret', type: 'tag' }])
    expect(report.check).toMatchObject({ matches: 0 })
    expect(report.check!.places.map(({ place }) => place)).toEqual([
      'data files of orders',
      'metadata of orders',
      'data files of orders_dead_letters',
      'metadata of orders_dead_letters',
      'ids',
      'scratch and spill files',
      'log of orders',
      'ids',
      'log of orders_dead_letters',
    ])
    expect(report.check!.places.every(({ matches }) => matches.length === 0)).toBe(true)
    const ledger = await balancedLedger(engine, 'orders')
    expect(ledger.reduce((sum, { removed }) => sum + removed, 0)).toBe(8)
    await expectVerified(lab)
  })

  test('does not touch what comes after it, nor stops it from coming', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    const asked = await requestErasure(lab, engine)
    await lab.post('orders', orderEvents(4, { of: secret, prefix: 'later' }))
    await done(engine, asked.body.id)
    await engine.committed('orders')
    expect(await engine.value(secrets)).toBe(4)
    const again = await requestErasure(lab, engine)
    await done(engine, again.body.id)
    await expectErased(engine)
    expect(await filesWith(lab.dir, secret)).toEqual([])
    await expectVerified(lab)
  })

  test('forgets ids: events that are sent again are new ones, and only once', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    await done(engine, (await requestErasure(lab, engine)).body.id)
    for (let times = 0; times < 2; times++) {
      await lab.post('orders', [...orderEvents(10), ...orderEvents(3, { of: secret })])
      await engine.committed('orders')
      expect(await engine.value(secrets)).toBe(3)
      expect(await engine.value('select count(*) from orders')).toBe(43)
    }
  })

  test('of a stream that commits rarely commits it first', async () => {
    lab = await Lab.open(slow)
    const engine = await lab.start()
    await lab.post('orders', [...orderEvents(10), ...orderEvents(3, { of: secret })])
    await engine.caughtUp('orders')
    await done(engine, (await requestErasure(lab, engine)).body.id)
    expect(await filesWith(lab.dir, secret)).toEqual([])
    expect(await engine.value('select count(*) from orders')).toBe(10)
  })

  test('of nothing changes nothing but the log', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    await engine.committed('orders')
    const before = await engine.sql('select snapshot_id from freshet.snapshots')
    const { report } = await done(engine, (await requestErasure(lab, engine, `customer_id = 'nobody-at-all'`)).body.id)
    expect(report).toMatchObject({ commits: [], expired: [], droppedRefs: [], filesDeleted: 0 })
    expect(await engine.sql('select snapshot_id from freshet.snapshots')).toEqual(before)
    expect(await engine.value(secrets)).toBe(8)
  })

  test('of everything has to be said', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    expect((await requestErasure(lab, engine, 'amount >= 0')).body.code).toBe('erases_everything')
    const { body } = await requestErasure(lab, engine, 'amount >= 0', { all: true })
    await done(engine, body.id)
    expect(await engine.value('select count(*) from orders')).toBe(0)
    await lab.post('orders', orderEvents(10))
    await engine.committed('orders')
    expect(await engine.value('select count(*) from orders')).toBe(10)
  })

  test('that cannot be meant is refused before anything is done', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await lab.post('orders', orderEvents(3))
    const codeOf = async (condition: string, stream = 'orders'): Promise<string | undefined> =>
      (await requestErasure(lab, engine, condition, { stream })).body.code
    expect(await codeOf(where, 'ordres')).toBe('unknown_stream')
    expect(await codeOf('custmer_id = 1')).toBe('forbidden_sql')
    expect(await codeOf('customer_id = ')).toBe('invalid_sql')
    expect(await codeOf('year(customer_id) = 2')).toBe('invalid_sql')
    expect((await engine.send('GET', '/v1/erasures')).text).toBe('{"erasures":[]}')
    expect((await engine.send('GET', '/v1/erasures/none')).status).toBe(404)
  })

  test('can be counted first, hot and committed', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    const body = JSON.stringify({ where, dryRun: true, untilMs: Date.now() })
    const { text } = await engine.send('POST', '/v1/streams/orders/erasures', {}, body)
    expect(JSON.parse(text)).toMatchObject({ matches: 8, rows: 48, dryRun: true })
    expect(await engine.value(secrets)).toBe(8)
  })

  test('waits for those before it', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    const first = await requestErasure(lab, engine)
    const second = await requestErasure(lab, engine, `customer_id = 'customer-1'`)
    await done(engine, second.body.id)
    expect((await erasure(engine, first.body.id)).state).toBe('done')
    expect(await engine.value('select count(*) from orders')).toBe(32)
    expect(await filesWith(lab.dir, 'customer-1')).toEqual([])
    await expectVerified(lab)
  })

  test('of a key that goes on coming ends, though commits go on', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    const end = { isReached: false, rounds: 0 }
    const sending = (async () => {
      for (; !end.isReached; end.rounds++) {
        await lab.post('orders', orderEvents(2, { of: secret, prefix: `again-${end.rounds}` }))
        await engine.committed('orders')
      }
    })()
    await until('it has begun', async () => end.rounds > 2)
    const { body } = await requestErasure(lab, engine)
    const { report } = await done(engine, body.id).finally(() => (end.isReached = true))
    await sending
    expect(report.check).toMatchObject({ matches: 0 })
    const left = Number(await engine.value(secrets))
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThan(2 * end.rounds)
    expect(await engine.value(`select count(*) from orders where ${where} and id not like 'again-%'`)).toBe(0)
    await engine.committed('orders')
    await expectVerified(lab)
  })

  test('while events and queries come in all the time disturbs neither', async () => {
    lab = await Lab.open(options)
    const engine = await lab.start()
    await history(engine)
    const asked = await requestErasure(lab, engine)
    let sent = 40
    const end = { isReached: false }
    const sending = (async () => {
      for (let round = 0; !end.isReached; round++) {
        await lab.post('orders', orderEvents(5, { prefix: `round-${round}` }))
        sent += 5
      }
    })()
    await until('it is done', async () => {
      const counted = Number(await engine.value("select count(*) from orders where customer_id like 'customer-_'"))
      expect(counted).toBeGreaterThanOrEqual(40)
      end.isReached = (await erasure(engine, asked.body.id)).state === 'done'
      return end.isReached
    })
    await sending
    await engine.committed('orders')
    await expectErased(engine, sent)
  })
})

describe('an erasure that is killed', () => {
  test('after any change of the store goes on at the next start', { timeout: 600_000 }, async () => {
    const prepare = async (own: Lab): Promise<void> => {
      const engine = await own.start()
      await history(engine, own)
      await engine.committed('orders')
      await engine.stop()
    }
    expect(await killedAtEach(options, prepare, killedAt)).toBeGreaterThan(20)
  })

  /** @returns true when the erasure was done before the change */
  async function killedAt(own: Lab, step: number, scratch: string): Promise<boolean> {
    const freezer = new Freezer(step, 'after')
    const killed = await own.start(freezer.options)
    await killed.caughtUp('orders')
    const { body } = await requestErasure(own, killed)
    await until('it is done or killed', async () => freezer.frozen || (await erasure(killed, body.id)).state === 'done')
    const isOver = !freezer.frozen
    await killed.abandon()
    const engine = await own.start()
    const { report } = await done(engine, body.id)
    await expectErased(engine)
    const commits = report.commits.filter(({ table }) => table === 'orders')
    expect(commits.reduce((sum, { rows }) => sum + rows, 0)).toBe(8)
    const ledger = await balancedLedger(engine, 'orders')
    expect(ledger.reduce((sum, { removed }) => sum + removed, 0)).toBe(8)
    await engine.stop()
    expect(await filesWith(own.dir, secret, [scratch])).toEqual([])
    await expectVerified(own)
    return isOver
  }
})
