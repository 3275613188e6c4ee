/** What changes of the configuration must not do: let repeats in, lose what is there, or stop half-way for good. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Column, StreamPlan } from '../../src/config/plan.ts'
import { until } from './engine-harness.ts'
import { done, requestErasure } from './erasure-lab.ts'
import { EvolutionLab, long, people, struct, text, timeOf } from './evolution-lab.ts'
import { Freezer } from './store-faults.ts'

let world: EvolutionLab
beforeEach(async () => {
  world = await EvolutionLab.open()
})
afterEach(() => world.close())

describe('partitions', () => {
  const by = (unit: 'hour' | 'day' | 'month', column: 'event_time' | 'received_at' = 'event_time') =>
    people([{ name: 'n', type: long }], { partition: { by: column, unit } })
  const events = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, index) => ({
      id: `e${String(from + index).padStart(3, '0')}`,
      hour: from + index,
      n: from + index,
    }))

  test('change from day to hour and back; repeats are recognised across it (I5)', async () => {
    await world.restart(by('day'))
    await world.post(...events(0, 20))
    const units = ['hour', 'day', 'month', 'hour', 'day'] as const
    let sent = 20
    for (const unit of units) {
      // Repeats in the backlog, of files that were cut otherwise, beside new ones of the same partitions.
      await world.restartBehind(by(unit), () => world.post(...events(0, sent + 5)))
      sent += 5
      await world.post(...events(5, sent), ...events(sent, sent + 5))
      sent += 5
      await world.caughtUp()
      expect(await world.engine.sql('select count(*) as n, count(distinct id) as d from people')).toEqual([
        { n: sent, d: sent },
      ])
    }
    await world.restart(by('day', 'received_at'))
    await world.post(...events(0, sent))
    await world.caughtUp()
    expect(await world.engine.value('select count(*) from people')).toBe(sent)
    const { metadata } = await world.table()
    expect(metadata['partition-specs'].map(({ fields }) => fields[0]!.transform)).toEqual([
      'day',
      'hour',
      'month',
      'day',
    ])
    expect(await world.rows('id', `people where _event_time = '${timeOf(3)}' and id < 'e020'`)).toEqual([
      { id: 'e003' },
    ])
  })
})

describe('a configuration that is refused', () => {
  const columns: Column[] = [{ name: 'n', type: long }]

  test('stops the start and changes nothing; accepted, it starts', async () => {
    await world.restart(people(columns))
    await world.post({ id: 'a', n: 1 })
    await world.stop()
    const before = await world.table()
    const refused = people([...columns, { name: 'more', type: long }], { id: 'n' })
    await expect(world.lab.start({ streams: refused })).rejects.toMatchObject({ code: 'plan_refused' })
    expect((await world.table()).version).toBe(before.version)
    await world.start({ streams: refused, accept: ['people.id'] })
    expect(await world.rows('n')).toEqual([{ n: 1 }])
    expect(await world.idOf('more')).toBeDefined()
  })

  test('a stream that is declared no longer has to be accepted; what is in its log is still recognised (I5)', async () => {
    await world.restart(people(columns))
    await world.post({ id: 'a', n: 1 }, { id: 'b', n: 2 })
    await world.stop()
    await world.post({ id: 'b', n: 2 }, { id: 'c', n: 3 })
    await expect(world.lab.start({ streams: {} })).rejects.toThrow(/people is declared no longer/)
    await world.start({ streams: {}, accept: ['people.remove'] })
    await world.caughtUp()
    expect(await world.rows('id, n')).toEqual([
      { id: 'a', n: 1 },
      { id: 'b', n: 2 },
      { id: 'c', n: 3 },
    ])
    await world.stop()
    await world.start({ streams: {} })
    expect(await world.engine.value('select count(*) from people')).toBe(3)
  })
})

test('compaction and erasure write files of before anew under the present names, and lose nothing', async () => {
  const before: Column[] = [
    { name: 'address', type: struct({ name: 'town', type: text }, { name: 'fax', type: text }) },
  ]
  const after: Column[] = [
    { name: 'address', type: struct({ name: 'country', type: text }, { name: 'city', type: text }) },
  ]
  const streams = people(after, {
    renames: [{ path: ['address', 'city'], former: ['town'] }],
    drops: [['address', 'fax']],
  })
  for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) {
    await world.restart(people(before))
    await world.post({ id, address: { town: `t${id}`, fax: id } })
  }
  await world.restart(streams)
  await world.post({ id: 'g', address: { city: 'tg' } })
  await world.restart(streams)

  const cities = async (): Promise<unknown[]> => (await world.rows('address.city as city')).map(({ city }) => city)
  const all = ['ta', 'tb', 'tc', 'td', 'te', 'tf', 'tg']
  const files = "select count(*) from freshet.files where stream = 'people'"
  expect(await world.engine.value(files)).toBe(7)
  const json = { 'content-type': 'application/json' }
  await world.engine.send('POST', '/v1/maintenance', json, JSON.stringify({ table: 'people', job: 'compaction' }))
  await until('the files are merged', async () => (await world.engine.value(files)) === 1)
  expect(await cities()).toEqual(all)

  const { body } = await requestErasure(world.lab, world.engine, "address.city = 'tc'", { stream: 'people' })
  await done(world.engine, body.id)
  expect(await cities()).toEqual(all.filter((city) => city !== 'tc'))
})

test('an erasure finds rows in files of before by the present names', async () => {
  const at = (name: string): Column[] => [{ name: 'address', type: struct({ name, type: text }) }]
  await world.restart(people(at('town')))
  await world.post({ id: 'a', address: { town: 'ta' } }, { id: 'b', address: { town: 'tb' } })
  await world.restart(people(at('city'), { renames: [{ path: ['address', 'city'], former: ['town'] }] }))
  const { body } = await requestErasure(world.lab, world.engine, "address.city = 'ta'", { stream: 'people' })
  await done(world.engine, body.id)
  expect(await world.rows('id, address')).toEqual([{ id: 'b', address: { city: 'tb' } }])
})

// Each table is one new version and its hint.
test.each([1, 2, 3, 4].flatMap((step) => [['before', step] as const, ['after', step] as const]))(
  'an engine that is killed at its start, %s change %i of the store, goes on at the next',
  async (side, step) => {
    const both = (...args: Parameters<typeof people>): Record<string, StreamPlan> => {
      const streams = people(...args)
      return { ...streams, pets: { ...streams['people']!, name: 'pets' } }
    }
    await world.restart(both([{ name: 'postcode', type: text }]))
    await world.post({ id: 'a', postcode: 'A' })
    await world.lab.post('pets', [{ id: 'p', time: timeOf(1), fields: { id: 'p', postcode: 'P', at: timeOf(1) } }])
    await world.stop()
    const renamed = both([{ name: 'zip', type: text }], { renames: [{ path: ['zip'], former: ['postcode'] }] })
    const freezer = new Freezer(step, side)
    void world.lab.start({ ...freezer.options, streams: renamed })
    await until('the freeze', async () => freezer.frozen)
    await world.restartBehind(renamed, () => world.post({ id: 'b', postcode: 'B' }))
    await world.engine.caughtUp('pets')
    expect(await world.rows('zip')).toEqual([{ zip: 'A' }, { zip: 'B' }])
    expect(await world.rows('zip', 'pets')).toEqual([{ zip: 'P' }])
    expect((await world.table()).metadata.schemas).toHaveLength(2)
  },
)
