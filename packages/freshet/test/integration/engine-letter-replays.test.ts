/** Replays of dead letters: each event comes in once, whatever is killed when. */
import { afterEach, describe, expect, test } from 'vitest'
import { deadLettersOf } from '../../src/events/dead-letter.ts'
import type { Log } from '../../src/log/log.ts'
import { openDataFolder } from '../../src/runtime/data-folder.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { Lab, until, type LabEngine, type LabEvent } from './engine-harness.ts'
import { balancedLedger } from './ledger-checks.ts'
import { asked, at, expectVerified, large, nameless, order, orders, wider, widerNameless } from './letters-lab.ts'

let lab: Lab
afterEach(() => lab.close())

async function open(stream = orders): Promise<LabEngine> {
  lab = await Lab.open({ streams: { orders: stream } })
  await openDataFolder({ dataDir: lab.dir, version: '0.0.0', fileSystem: nodeFileSystem })
  return lab.start()
}

async function ids(engine: LabEngine): Promise<unknown[]> {
  return (await engine.sql('select _event_id from orders order by all')).map((row) => row['_event_id'])
}

describe('a replay', () => {
  test('sends again what fits now, keeps what does not, and shows before what it would do', async () => {
    let engine = await open()
    const from = (id: string, size: number): LabEvent => order(id, size, 'site-1')
    await lab.post('orders', [from('a', 1), from('b', large), from('c', large)], { source: 'site-1' })
    await lab.post('orders', [{ id: 'd', time: at, raw: `{"id":"d","at":"${at}","size":1,"size":2}` }])
    await engine.letters('orders')
    expect(await asked(engine, 'replay', { all: true, dryRun: true })).toMatchObject({
      letters: 3,
      accepted: 0,
      failed: 3,
    })
    await engine.stop()
    engine = await lab.start({ streams: { orders: wider } })
    const dry = await asked(engine, 'replay', { all: true, dryRun: true })
    expect(dry).toMatchObject({ letters: 3, accepted: 2, failed: 1, more: false })
    expect((dry['outcomes'] as { accepted: boolean }[]).filter(({ accepted }) => !accepted)).toMatchObject([
      { code: 'unreadable', message: expect.stringContaining('duplicate key') },
    ])
    expect(await ids(engine)).toEqual(['a'])
    expect(await asked(engine, 'replay', { where: "event_id = 'b'" })).toMatchObject({
      state: 'done',
      replayed: 1,
      failed: 0,
    })
    expect(await asked(engine, 'replay', { all: true })).toMatchObject({
      state: 'done',
      letters: 2,
      replayed: 1,
      failed: 1,
      failures: [{ code: 'unreadable' }],
    })
    await engine.caughtUp('orders')
    expect(await engine.sql('select _event_id, _event_time, _source, size from orders order by id')).toEqual(
      [
        ['a', 1],
        ['b', large],
        ['c', large],
      ].map(([id, size]) => ({
        _event_id: id,
        _event_time: at,
        _source: 'site-1',
        size,
      })),
    )
    expect(await engine.letters('orders', 'event_id')).toEqual([{ event_id: 'd' }])
    await balancedLedger(engine, 'orders')
    await engine.stop()
    await expectVerified(lab)
  })

  test('again finds nothing to send', async () => {
    let engine = await open()
    await lab.post('orders', [order('b', large)])
    await engine.letters('orders')
    await engine.stop()
    engine = await lab.start({ streams: { orders: wider } })
    const all = await Promise.all([1, 2, 3].map(() => asked(engine, 'replay', { all: true })))
    expect(all.reduce((sum, { replayed }) => sum + Number(replayed), 0)).toBe(1)
    await engine.caughtUp('orders')
    expect(await ids(engine)).toEqual(['b'])
  })

  test.each([
    ['with ids of their own', orders, wider],
    ['without', nameless, widerNameless],
  ])('that is killed at any write goes on, and sends each event once: streams %s', async (_, before, after) => {
    let engine = await open(before)
    await lab.post(
      'orders',
      Array.from({ length: 5 }, (__, index) => order(`e${index}`, large)),
      { source: 'a' },
    )
    await lab.post(
      'orders',
      Array.from({ length: 4 }, (__, index) => order(`f${index}`, large)),
      { source: 'b' },
    )
    await engine.letters('orders')
    await engine.stop()
    for (const step of ['before append', 'after append', 'after append 2', 'before drop']) {
      // The process is as good as dead from then on: nothing it asks for is done, or answered.
      const never = new Promise<never>(() => undefined)
      const dead = { is: false, appends: 0 }
      const killed = await lab.start({
        streams: { orders: after },

        wrapLog: (log): Log => ({
          append: async (stream, batch) => {
            if (dead.is || batch.producer === undefined) return dead.is ? never : log.append(stream, batch)
            dead.is = step === 'before append'
            if (dead.is) return never
            const appended = await log.append(stream, batch)
            dead.is = step === 'after append' || (step === 'after append 2' && ++dead.appends === 2)
            return dead.is ? never : appended
          },
          read: (...place) => log.read(...place),
          ends: (stream) => log.ends(stream),
          trim: (...request) => log.trim(...request),
          subscribe: (onGrowth) => log.subscribe(onGrowth),
        }),
        wrapCatalog: (catalog) => ({
          tables: () => catalog.tables(),
          load: (name) => catalog.load(name),
          create: (...request) => catalog.create(...request),
          commit: (base, next) => {
            dead.is ||= step === 'before drop' && base.name === deadLettersOf('orders')
            return dead.is ? never : catalog.commit(base, next)
          },
        }),
      })
      const controller = new AbortController()
      const request = killed
        .send('POST', '/v1/streams/orders/dead-letters/replay', {}, '{"all":true}', controller.signal)
        .catch(() => undefined)
      await until(
        `it is killed ${step}`,
        async () => dead.is || (await Promise.race([request, Promise.resolve(null)])) !== null,
      )
      controller.abort()
      await killed.abandon()
    }
    engine = await lab.start({ streams: { orders: after } })
    await until('all letters are gone', async () => (await engine.letters('orders')).length === 0)
    await engine.caughtUp('orders')
    expect(await engine.sql('select count(*) as n, count(distinct _event_id) as d from orders')).toEqual([
      { n: 9, d: 9 },
    ])
    await engine.committed('orders')
    await balancedLedger(engine, 'orders')
  })

  test('of letters of consumers asks them, and drops what they took', async () => {
    lab = await Lab.open({ streams: { orders } })
    const given: unknown[] = []
    const engine = await lab.start({
      atConsumer: async (consumer, inputs, dryRun) => {
        given.push([consumer, inputs, dryRun])
        return inputs.map((input) =>
          input.includes('bad') ? { accepted: false, code: 'thrown', message: 'no good' } : { accepted: true },
        )
      },
    })
    const letter = (id: string): LabEvent => ({
      id: `sink:crm:${id}`,
      time: at,
      fields: { stage: 'sink', consumer: 'sink:crm', code: 'x', message: 'm', event: `{"id":"${id}"}`, failed_at: at },
    })
    await lab.post('orders', [order('a', 1)])
    await lab.post(deadLettersOf('orders'), [letter('good'), letter('bad')])
    await engine.letters('orders')
    expect(await asked(engine, 'replay', { all: true, dryRun: true })).toMatchObject({ accepted: 1, failed: 1 })
    expect(await asked(engine, 'replay', { all: true })).toMatchObject({
      replayed: 1,
      failed: 1,
      failures: [{ id: 'sink:crm:bad', code: 'thrown', message: 'no good' }],
    })
    expect(given).toEqual([
      ['sink:crm', ['{"id":"bad"}', '{"id":"good"}'], true],
      ['sink:crm', ['{"id":"bad"}', '{"id":"good"}'], false],
    ])
    expect(await engine.letters('orders', '_event_id')).toEqual([{ _event_id: 'sink:crm:bad' }])
  })
})
