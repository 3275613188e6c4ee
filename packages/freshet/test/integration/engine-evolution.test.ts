/** Streams whose configuration changes: the table follows, old files and old events are read as they are, and nothing is lost. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Column, ColumnType, StreamPlan } from '../../src/config/plan.ts'
import { streamPlan } from './engine-harness.ts'
import { EvolutionLab, int, long, people, struct, text, timeColumn, timeOf } from './evolution-lab.ts'

let world: EvolutionLab
beforeEach(async () => {
  world = await EvolutionLab.open()
})
afterEach(() => world.close())

describe('a backlog of old-shape events, and old and new shapes interleaved', () => {
  test('when a field is added', async () => {
    await world.restart(people([{ name: 'name', type: text }]))
    await world.post({ id: 'a', name: 'A' })
    await world.restartBehind(
      people([
        { name: 'age', type: long },
        { name: 'name', type: text },
      ]),
      () => world.post({ id: 'b', name: 'B' }),
    )
    await world.post({ id: 'c', name: 'C', age: 3 }, { id: 'd', name: 'D' })
    await world.caughtUp()
    expect(await world.rows('id, age, name')).toEqual([
      { id: 'a', age: null, name: 'A' },
      { id: 'b', age: null, name: 'B' },
      { id: 'c', age: 3, name: 'C' },
      { id: 'd', age: null, name: 'D' },
    ])
    // Columns are in the schema's order.
    const columns = await world.columnNames()
    expect(columns.slice(-4)).toEqual(['id', 'at', 'age', 'name'])
  })

  test('when a field is renamed: its values are in one column, before and after the commit', async () => {
    await world.restart(people([{ name: 'postcode', type: text }]))
    await world.post({ id: 'a', postcode: 'A1' })
    const before = { postcode: undefined as number | undefined }
    await world.stop()
    before.postcode = await world.idOf('postcode')
    const renamed = people([{ name: 'zip', type: text }], { renames: [{ path: ['zip'], former: ['postcode'] }] })
    await world.restartBehind(renamed, () => world.post({ id: 'b', postcode: 'B1' }))
    await world.post({ id: 'c', zip: 'C1' }, { id: 'd', postcode: 'D1' }, { id: 'e', zip: 'E1', postcode: 'no' })
    await world.caughtUp()
    const expected = ['A1', 'B1', 'C1', 'D1', 'E1']
    expect((await world.rows('zip')).map(({ zip }) => zip)).toEqual(expected)
    await world.restart(renamed)
    expect((await world.rows('zip')).map(({ zip }) => zip)).toEqual(expected)
    expect(await world.idOf('zip')).toBe(before.postcode)
    expect(await world.idOf('postcode')).toBeUndefined()
    expect(await world.deadLetters()).toBe(0)
    await expect(world.engine.sql('select postcode from people')).rejects.toThrow(/postcode/)
  })

  test('when the id is renamed: repeats are recognised under either name (I5)', async () => {
    await world.restart(people([]))
    await world.post({ id: 'a' }, { id: 'b' })
    const columns: Column[] = [{ name: 'person', type: text }, timeColumn]
    const renamed = {
      people: streamPlan('people', { columns, id: 'person', renames: [{ path: ['person'], former: ['id'] }] }),
    }
    await world.restartBehind(renamed, () => world.post({ id: 'a' }, { id: 'c' }))
    await world.lab.post('people', [{ id: 'b', time: timeOf(1), fields: { person: 'b', at: timeOf(1) } }])
    await world.caughtUp()
    expect(await world.engine.sql('select person from people order by person')).toEqual([
      { person: 'a' },
      { person: 'b' },
      { person: 'c' },
    ])
  })

  test('when a field is dropped: its values stay in the files of before', async () => {
    await world.restart(
      people([
        { name: 'fax', type: text },
        { name: 'name', type: text },
      ]),
    )
    await world.post({ id: 'a', fax: '1', name: 'A' })
    await world.stop()
    const fax = await world.idOf('fax')
    const dropped = people([{ name: 'name', type: text }], { drops: [['fax']] })
    await world.restartBehind(dropped, () => world.post({ id: 'b', fax: '2', name: 'B' }))
    expect(await world.rows('* exclude (_received_at, _event_time)')).toMatchObject([
      { id: 'a', name: 'A' },
      { id: 'b', name: 'B' },
    ])
    expect(await world.columnNames()).not.toContain('fax')
    // A later field of that name is another one.
    await world.restart(
      people([
        { name: 'name', type: text },
        { name: 'fax', type: text },
      ]),
    )
    expect((await world.rows('fax')).map((row) => row['fax'])).toEqual([null, null])
    expect(await world.idOf('fax')).toBeGreaterThan(fax!)
  })

  test('when a type becomes wider', async () => {
    const decimal = (precision: number): ColumnType => ({ kind: 'decimal', precision, scale: 2 })
    const narrow: Column[] = [
      { name: 'n', type: int },
      { name: 'f', type: { kind: 'float' } },
      { name: 'd', type: decimal(6) },
    ]
    const wide: Column[] = [
      { name: 'n', type: long },
      { name: 'f', type: { kind: 'double' } },
      { name: 'd', type: decimal(20) },
    ]
    await world.restart(people(narrow))
    await world.post({ id: 'a', n: 1, f: 1.5, d: '12.34' })
    await world.stop()
    const ids = await Promise.all(['n', 'f', 'd'].map((name) => world.idOf(name)))
    await world.restartBehind(people(wide), () => world.post({ id: 'b', n: 2, f: 2.5, d: '23.45' }))
    await world.post({ id: 'c', n: 2 ** 40, f: 1e300, d: '123456789012345678.90' })
    await world.caughtUp()
    await world.restart(people(wide))
    expect(await world.rows('n, f, d::varchar as d')).toEqual([
      { n: 1, f: 1.5, d: '12.34' },
      { n: 2, f: 2.5, d: '23.45' },
      { n: 2 ** 40, f: 1e300, d: '123456789012345678.90' },
    ])
    expect(await Promise.all(['n', 'f', 'd'].map((name) => world.idOf(name)))).toEqual(ids)
  })

  test('when a type becomes one that Iceberg cannot widen it to', async () => {
    await world.restart(people([{ name: 'n', type: long }]))
    await world.post({ id: 'a', n: 1 })
    const wide = people([{ name: 'n', type: { kind: 'double' } }])
    await world.restartBehind(wide, () => world.post({ id: 'b', n: 2 }))
    await world.post({ id: 'c', n: 2.5 })
    await world.caughtUp()
    await world.restart(wide)
    expect((await world.rows('n')).map(({ n }) => n)).toEqual([1, 2, 2.5])
    // A rename of it takes the older values along.
    await world.restart(
      people([{ name: 'm', type: { kind: 'double' } }], { renames: [{ path: ['m'], former: ['n'] }] }),
    )
    expect((await world.rows('m')).map(({ m }) => m)).toEqual([1, 2, 2.5])
  })
})

describe('fields inside structs, lists and maps', () => {
  const before: Column[] = [
    { name: 'address', type: struct({ name: 'street', type: text }, { name: 'town', type: text }) },
    {
      name: 'legs',
      type: { kind: 'list', element: struct({ name: 'cost', type: int }, { name: 'note', type: text }) },
    },
    { name: 'rates', type: { kind: 'map', value: struct({ name: 'offer', type: int }, { name: 'note', type: text }) } },
  ]
  const after: Column[] = [
    {
      name: 'address',
      type: struct({ name: 'city', type: text }, { name: 'street', type: text }, { name: 'country', type: text }),
    },
    { name: 'legs', type: { kind: 'list', element: struct({ name: 'price', type: long }) } },
    { name: 'rates', type: { kind: 'map', value: struct({ name: 'bid', type: long }) } },
  ]
  const evolution: Partial<StreamPlan> = {
    renames: [
      { path: ['address', 'city'], former: ['town'] },
      { path: ['legs', '[]', 'price'], former: ['cost'] },
      { path: ['rates', '*', 'bid'], former: ['offer'] },
    ],
    drops: [
      ['legs', '[]', 'note'],
      ['rates', '*', 'note'],
    ],
  }
  const oldShape = (id: string) => ({
    id,
    address: { street: `s${id}`, town: `t${id}` },
    legs: [{ cost: 1, note: 'n' }],
    rates: { k: { offer: 2, note: 'n' } },
  })
  const shown = (id: string) => ({
    address: { city: `t${id}`, street: `s${id}`, country: null },
    legs: [{ price: 1 }],
    rates: { k: { bid: 2 } },
  })

  test('are added, renamed, dropped, widened and ordered', async () => {
    await world.restart(people(before))
    await world.post(oldShape('a'))
    await world.restartBehind(people(after, evolution), () => world.post(oldShape('b')))
    await world.post({
      id: 'c',
      address: { city: 'tc', street: 'sc', country: 'x' },
      legs: [{ price: 2 ** 40 }],
      rates: { k: { bid: 2 ** 40 } },
    })
    await world.caughtUp()
    const expected = [
      shown('a'),
      shown('b'),
      {
        address: { city: 'tc', street: 'sc', country: 'x' },
        legs: [{ price: 2 ** 40 }],
        rates: { k: { bid: 2 ** 40 } },
      },
    ]
    expect(await world.rows('address, legs, rates')).toEqual(expected)
    await world.restart(people(after, evolution))
    expect(await world.rows('address, legs, rates')).toEqual(expected)
    expect(await world.rows('address.city as city', "people where address.city = 'ta'")).toEqual([{ city: 'ta' }])
    expect(await world.deadLetters()).toBe(0)
  })

  test('a name that was dropped is another field when it comes back', async () => {
    await world.restart(people(before))
    await world.post(oldShape('a'))
    await world.restart(people(after, evolution))
    const again = people(before.map((column) => column))
    await world.restart(again)
    await world.post({ id: 'b', address: { street: 's', town: 'new' } })
    await world.restart(again)
    expect(await world.rows('address.town as town, address.city as city')).toEqual([
      { town: null, city: 'ta' },
      { town: 'new', city: null },
    ])
  })
})

describe('snapshots of before', () => {
  test('are read with the names and columns of their time', async () => {
    await world.restart(
      people([
        { name: 'postcode', type: text },
        { name: 'fax', type: text },
        { name: 'n', type: long },
      ]),
    )
    await world.post({ id: 'a', postcode: 'A1', fax: '1', n: 1 })
    await world.restart(
      people(
        [
          { name: 'zip', type: text },
          { name: 'n', type: { kind: 'double' } },
        ],
        {
          renames: [{ path: ['zip'], former: ['postcode'] }],
          drops: [['fax']],
        },
      ),
    )
    const snapshot = await world.engine.value(
      "select snapshot_id from freshet.snapshots where stream = 'people' order by committed_at limit 1",
    )
    await world.post({ id: 'b', zip: 'B1', n: 2.5 })
    await world.restart(people([{ name: 'zip', type: text }], { drops: [['n'], ['fax']] }))
    expect(await world.rows('zip')).toEqual([{ zip: 'A1' }, { zip: 'B1' }])
    const past = `people at (version => ${String(snapshot)})`
    expect(await world.rows('postcode, fax, n', past)).toEqual([{ postcode: 'A1', fax: '1', n: 1 }])
  })
})

describe('a stream that takes fields nobody declared', () => {
  const open = (more: Partial<StreamPlan> = {}): Record<string, StreamPlan> => ({ people: streamPlan('people', more) })

  test('has one column for old and new names, at any depth, of a type that holds both', async () => {
    await world.restart(open())
    await world.post({ id: 'a', qty: 1, o: { x: 1 } })
    const renamed = open({
      renames: [
        { path: ['amount'], former: ['qty'] },
        { path: ['o', 'y'], former: ['x'] },
      ],
    })
    await world.restartBehind(renamed, () => world.post({ id: 'b', qty: 2.5, o: { x: 2, z: true } }))
    await world.post({ id: 'c', amount: 3, o: { y: 3 } })
    await world.caughtUp()
    await world.restart(renamed)
    const found = await world.rows('amount, o')
    expect(found.map(({ amount }) => amount)).toEqual([1, 2.5, 3])
    expect(found.map(({ o }) => (o as { y: number }).y)).toEqual([1, 2, 3])
    expect(await world.columnNames()).not.toContain('qty')
    expect(await world.deadLetters()).toBe(0)
  })

  test('does not store a dropped field, until the drop is taken out: then it is a new column', async () => {
    await world.restart(open())
    await world.post({ id: 'a', fax: '1', o: { x: 1, gone: 1 } })
    await world.stop()
    const before = await world.idOf('fax')
    const dropped = open({ drops: [['fax'], ['o', 'gone']] })
    await world.restartBehind(dropped, () => world.post({ id: 'b', fax: 2, o: { x: 2, gone: [] } }))
    await world.post({ id: 'c', fax: { a: 1 }, o: { gone: 'x' } })
    await world.caughtUp()
    expect(await world.rows('o')).toEqual([{ o: { x: 1 } }, { o: { x: 2 } }, { o: { x: null } }])
    expect(await world.deadLetters()).toBe(0)
    await world.restart(open())
    await world.post({ id: 'd', fax: '4' })
    await world.restart(open())
    expect((await world.rows('fax')).map(({ fax }) => fax)).toEqual([null, null, null, '4'])
    expect(await world.idOf('fax')).toBeGreaterThan(before!)
  })
})
