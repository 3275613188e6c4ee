/** An erasure finds rows under whatever name, and in whatever type, they were written. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Column, StreamPlan } from '../../src/config/plan.ts'
import type { ErasureAnswer } from '../../src/engine/erasure/record.ts'
import { EvolutionLab, long, people, struct, text, timeOf } from './evolution-lab.ts'
import { Freezer } from './store-faults.ts'
import { until } from './engine-harness.ts'
import { done, filesWith, requestErasure } from './erasure-lab.ts'

let world: EvolutionLab
beforeEach(async () => {
  world = await EvolutionLab.open()
})
afterEach(() => world.close())

const secret = 'secret-postcode-17'

async function erase(where: string): Promise<ErasureAnswer> {
  const { status, body } = await requestErasure(world.lab, world.engine, where, { stream: 'people' })
  expect([status, body.code]).toEqual([202, undefined])
  return done(world.engine, body.id)
}

const rowsGone = ({ report }: ErasureAnswer): number => report.commits.reduce((sum, { rows }) => sum + rows, 0)

test('by the present name of a field: in files, in the log behind them and in dead letters of before', async () => {
  await world.restart(people([{ name: 'postcode', type: text }]))
  await world.post({ id: 'a', postcode: secret }, { id: 'b', postcode: 'other' })
  const renamed = people([{ name: 'zip', type: text }], { renames: [{ path: ['zip'], former: ['postcode'] }] })
  await world.restartBehind(renamed, async () => {
    await world.post({ id: 'c', postcode: secret })
    const broken = (id: string, postcode: string): string => `{"id":"${id}","id":"${id}","postcode":"${postcode}"}`
    await world.lab.post('people', [
      { id: 'dead', time: timeOf(1), raw: broken('dead', secret) },
      { id: 'alive', time: timeOf(1), raw: broken('alive', 'other') },
    ])
  })
  await world.post({ id: 'd', postcode: secret }, { id: 'e', zip: secret }, { id: 'f', zip: 'other' })
  await world.caughtUp()
  expect(await world.deadLetters()).toBe(2)
  expect(await filesWith(world.lab.dir, secret)).not.toEqual([])

  const refused = await requestErasure(world.lab, world.engine, `postcode = '${secret}'`, { stream: 'people' })
  expect(refused.body).toMatchObject({ code: 'forbidden_sql', hint: expect.stringContaining('called zip') })

  expect(rowsGone(await erase(`zip = '${secret}'`))).toBe(5)
  expect(await world.rows('id')).toEqual([{ id: 'b' }, { id: 'f' }])
  expect(await world.deadLetters()).toBe(1)
  expect(await filesWith(world.lab.dir, secret)).toEqual([])
})

test('by a field inside another, renamed there, in lists too', async () => {
  const list = (name: string): Column => ({
    name: 'homes',
    type: { kind: 'list', element: struct({ name, type: text }) },
  })
  await world.restart(people([list('town')]))
  await world.post({ id: 'a', homes: [{ town: 'x' }, { town: secret }] }, { id: 'b', homes: [{ town: 'x' }] })
  await world.restartBehind(
    people([list('city')], { renames: [{ path: ['homes', '[]', 'city'], former: ['town'] }] }),
    () => world.post({ id: 'c', homes: [{ town: secret }] }),
  )
  await world.post({ id: 'd', homes: [{ city: secret }] }, { id: 'e', homes: [] }, { id: 'f' })
  await world.caughtUp()
  expect(rowsGone(await erase(`list_contains(list_transform(homes, lambda h: h.city), '${secret}')`))).toBe(3)
  expect(await world.rows('id')).toEqual([{ id: 'b' }, { id: 'e' }, { id: 'f' }])
  expect(await filesWith(world.lab.dir, secret)).toEqual([])
})

test('by a field that is in an older one of another type, whose name is no column of its own', async () => {
  await world.restart(people([{ name: 'account', type: long }]))
  await world.post({ id: 'a', account: 1234567 }, { id: 'b', account: 7654321 })
  const texts = people([{ name: 'account', type: text }])
  await world.stop()
  await world.start({ streams: texts, accept: ['people.account'] })
  await world.caughtUp()
  await world.post({ id: 'c', account: '1234567' }, { id: 'd', account: 'x' })
  await world.caughtUp()
  await world.restart(texts)
  expect(await world.idOf('account_v1')).toBeDefined()
  const refused = await requestErasure(world.lab, world.engine, 'account_v1 = 1234567', { stream: 'people' })
  expect(refused.body.code).toBe('forbidden_sql')
  expect(rowsGone(await erase("account = '1234567'"))).toBe(2)
  expect(await world.rows('id')).toEqual([{ id: 'b' }, { id: 'd' }])
  expect(await filesWith(world.lab.dir, '1234567')).toEqual([])
})

test('what is left of a file keeps the values of fields that are dropped or continued', async () => {
  await world.restart(people([{ name: 'account', type: long }]))
  await world.post({ id: 'a', account: 1 }, { id: 'b', account: 2 })
  const texts = people([{ name: 'account', type: text }])
  await world.stop()
  await world.start({ streams: texts, accept: ['people.account'] })
  await world.caughtUp()
  await world.post({ id: 'c', account: 'x' })
  await world.caughtUp()
  await world.restart(texts)
  await erase("id = 'a'")
  expect(await world.rows('id, account')).toEqual([
    { id: 'b', account: '2' },
    { id: 'c', account: 'x' },
  ])
})

test.each<[string, Record<string, StreamPlan>]>([
  ['renamed', people([{ name: 'zip', type: text }], { renames: [{ path: ['zip'], former: ['postcode'] }] })],
  ['dropped', people([{ name: 'n', type: long }], { drops: [['postcode']] })],
])('an erasure that is resumed after its field was %s means the same', async (_, after) => {
  const before = people([{ name: 'postcode', type: text }])
  await world.restart(before)
  await world.post({ id: 'a', postcode: secret }, { id: 'b', postcode: 'other' })
  await world.stop()
  const freezer = new Freezer(1, 'before')
  await world.start({ ...freezer.options, streams: before })
  await world.caughtUp()
  const { body } = await requestErasure(world.lab, world.engine, `postcode = '${secret}'`, { stream: 'people' })
  await until('it is killed', async () => freezer.frozen)
  await world.engine.abandon()
  await world.start({ streams: after })
  expect(rowsGone(await done(world.engine, body.id))).toBe(1)
  expect(await world.rows('id')).toEqual([{ id: 'b' }])
  // The scratch of the killed engine is not that of its successor here.
  expect(await filesWith(world.lab.dir, secret, ['tmp-2'])).toEqual([])
})
