/** Streams without a declared schema: columns are inferred, grow and widen, and nothing is lost on the way. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Lab, streamPlan, trade, type LabEngine } from './engine-harness.ts'

const day = '2020-01-01'
const at = (second: number): string => new Date(Date.parse(`${day}T00:00:00Z`) + second * 1000).toISOString()

describe('a stream without schema', () => {
  let lab: Lab
  let engine: LabEngine

  beforeEach(async () => {
    lab = await Lab.open({ streams: { notes: streamPlan('notes') } })
    engine = await lab.start()
  })

  afterEach(() => lab.close())

  async function post(...rows: Record<string, unknown>[]): Promise<void> {
    await lab.post(
      'notes',
      rows.map((fields) => ({ id: String(fields['id']), time: at(Number(fields['id'])), fields })),
    )
    await engine.caughtUp('notes')
  }

  /** Commits what is hot, and starts anew from the table. */
  async function restart(): Promise<void> {
    await engine.stop()
    engine = await lab.start()
    await engine.caughtUp('notes')
  }

  const columnsOf = async (): Promise<Record<string, unknown>> => {
    const rows = await engine.sql('describe notes')
    return Object.fromEntries(rows.map((row) => [row['column_name'], row['column_type']]))
  }

  test('gets a column for each new field, null in older events', async () => {
    await post({ id: 1, a: 'x' })
    await post({ id: 2, b: true })
    await restart()
    await post({ id: 3, c: 1.5 })
    expect(await engine.sql('select id, a, b, c from notes order by id')).toEqual([
      { id: 1, a: 'x', b: null, c: null },
      { id: 2, a: null, b: true, c: null },
      { id: 3, a: null, b: null, c: 1.5 },
    ])
  })

  test.each([
    ['in one batch', false, false],
    ['while hot', true, false],
    ['after a commit', true, true],
  ])(
    'widens a whole number to a double to text %s, and keeps the older values in the same column',
    async (_, apart, commit) => {
      const rows = [
        { id: 1, v: 7 },
        { id: 2, v: 2.5 },
        { id: 3, v: 'seven' },
        { id: 4, v: 8 },
      ]
      if (apart) {
        for (const row of rows) {
          await post(row)
          if (commit) await restart()
        }
      } else {
        await post(...rows)
      }
      await restart()
      const found = await engine.sql('select id, v from notes order by id')
      expect(found.map(({ v }) => v)).toEqual([expect.stringMatching(/^7(\.0)?$/), '2.5', 'seven', '8'])
      expect(await columnsOf()).toMatchObject({ v: 'VARCHAR' })
      expect(await engine.letters('notes')).toEqual([])
    },
  )

  test('widens inside structs and lists, before and after a commit', async () => {
    await post({ id: 1, o: { p: 1, list: [1] } })
    await post({ id: 2, o: { p: 2.5, q: 'x' } })
    await restart()
    await post({ id: 3, o: { p: 'text', list: ['a'], r: { s: true } } })
    await restart()
    await post({ id: 4, o: null }, { id: 5, o: {} }, { id: 6, o: { list: [] } })
    await restart()
    const found = await engine.sql('select o.p as p, o.q as q, o.r.s as s, o.list as list from notes order by id')
    expect(found).toEqual([
      { p: expect.stringMatching(/^1(\.0)?$/), q: null, s: null, list: ['1'] },
      { p: '2.5', q: 'x', s: null, list: null },
      { p: 'text', q: null, s: true, list: ['a'] },
      { p: null, q: null, s: null, list: null },
      { p: null, q: null, s: null, list: null },
      { p: null, q: null, s: null, list: [] },
    ])
    expect((await engine.sql('describe notes')).map((row) => row['column_name'])).not.toContain('o_v1')
  })

  test('turns a field into text when it is an object in one event and a number in another', async () => {
    await post({ id: 1, v: { a: 1 } })
    await restart()
    await post({ id: 2, v: 5 }, { id: 3, v: [1, 2] })
    await restart()
    const values = (await engine.sql('select v from notes order by id')).map(({ v }) => v)
    expect(values).toEqual(['{"a":1}', '5', '[1,2]'])
  })

  test('waits with a type for fields that are null or empty', async () => {
    await post({ id: 1, v: null, w: {}, x: [] })
    expect(await columnsOf()).not.toHaveProperty('v')
    await post({ id: 2, v: 1, w: { a: 1 }, x: ['y'] })
    await restart()
    expect(await engine.sql('select v, w.a as a, x from notes order by id')).toEqual([
      { v: null, a: null, x: null },
      { v: 1, a: 1, x: ['y'] },
    ])
  })

  test('leaves a struct as it is when a batch has only empty objects for it', async () => {
    await post({ id: 1, w: { a: 1, b: { c: 2 } } })
    await post({ id: 2, w: {} }, { id: 3, w: { b: {} } })
    expect(await columnsOf()).toMatchObject({ w: 'STRUCT(a BIGINT, b STRUCT(c BIGINT))' })
    await post({ id: 4, w: {}, x: {} }, { id: 5, w: 'text', x: 1 })
    const values = (await engine.sql('select w, x from notes order by id')).map(({ w, x }) => [w, x])
    expect(values.slice(-2)).toEqual([
      ['{}', '{}'],
      ['text', '1'],
    ])
  })

  test('grows lists of structs after a commit', async () => {
    await post({ id: 1, l: [{ a: 1 }] })
    await restart()
    await post({ id: 2, l: [{ a: 2, b: 'x' }, { b: 'y' }] })
    await restart()
    expect(await engine.sql('select l from notes order by id')).toEqual([
      { l: [{ a: 1, b: null }] },
      {
        l: [
          { a: 2, b: 'x' },
          { a: null, b: 'y' },
        ],
      },
    ])
  })

  test('keeps the first spelling of a field; an event with another goes to the dead letters, alone', async () => {
    await post({ id: 1, Name: 'a' }, { id: 2, name: 'b' }, { id: 3, other: 1 })
    expect(await engine.sql('select id, "Name" as n from notes order by id')).toEqual([
      { id: 1, n: 'a' },
      { id: 3, n: null },
    ])
    const letters = await engine.letters('notes', 'message, event')
    expect(letters).toHaveLength(1)
    expect(letters[0]!['message']).toContain('upper and lower case')
    expect(letters[0]!['event']).toContain('"name":"b"')
  })

  test('refuses a field named as the place where a widened column keeps its older values', async () => {
    await post({ id: 1, v: 1 })
    await restart()
    await post({ id: 2, v: 'x' })
    await restart()
    await post({ id: 3, v_v1: 99 }, { id: 4, v: 'y' })
    await restart()
    expect(await engine.sql('select v from notes order by id')).toEqual([{ v: '1' }, { v: 'x' }, { v: 'y' }])
    expect(await engine.letters('notes')).toHaveLength(1)
  })

  test('loads the rest of a batch when some events cannot be read', async () => {
    await lab.post('notes', [
      { id: '1', time: at(1), fields: { id: 1, n: 1 } },
      { id: '2', time: at(2), raw: '{"id":2,"n":1,"n":2}' },
      { id: '3', time: at(3), raw: '{"id":3,"n":18446744073709551615}' },
      { id: '4', time: at(4), raw: '{"id":4,"s":"\\ud800"}' },
      { id: '5', time: at(5), fields: { id: 5, n: 5 } },
    ])
    await engine.caughtUp('notes')
    expect(await engine.sql('select id, n from notes order by id')).toEqual([
      { id: 1, n: 1 },
      { id: 5, n: 5 },
    ])
    const letters = await engine.letters('notes', '*', 'order by position')
    expect(letters.map(({ stage, code }) => `${String(stage)} ${String(code)}`)).toEqual(
      Array(3).fill('load unreadable'),
    )
    expect(letters.map(({ _event_id, event_id }) => [_event_id, event_id])).toEqual(
      letters.map(({ position }, index) => [`load:${String(position)}`, String(index + 2)]),
    )
    expect(letters.map(({ message }) => message)).toEqual([
      expect.stringContaining('duplicate key'),
      expect.stringContaining('18446744073709551615'),
      expect.stringContaining('surrogate'),
    ])
    expect(letters[0]!['_event_time']).toBe('2020-01-01T00:00:02.000Z')
    expect(letters[0]!['event']).toContain('{"_event_id":"2"')
    expect(await engine.status('notes')).toMatchObject({ deadLetters: 3, problem: null })
  })

  test('loads an event whose id an unreadable one before it had', async () => {
    await lab.post('notes', [
      { id: '1', time: at(1), raw: '{"id":1,"n":1,"n":2}' },
      { id: '1', time: at(1), raw: '{"id":1,"n":2}' },
    ])
    await engine.caughtUp('notes')
    expect(await engine.sql('select id, n from notes')).toEqual([{ id: 1, n: 2 }])
    await post({ id: 1, n: 3 })
    expect(await engine.value('select count(*) from notes')).toBe(1)
  })
})

describe('a stream whose declaration changes', () => {
  let lab: Lab
  afterEach(() => lab.close())

  test('shows old and new events through the new columns, and keeps those that are no longer declared', async () => {
    lab = await Lab.open()
    const post = (id: string, fields: Record<string, unknown>) =>
      lab.post('trades', [trade(id, at(Number(id)), fields)])
    let engine = await lab.start()
    await post('1', { price: 1.25, size: 3 })
    await engine.caughtUp('trades')
    await engine.stop()
    const changed = streamPlan('trades', {
      columns: [
        { name: 'id', type: { kind: 'string' } },
        { name: 'at', type: { kind: 'timestamptz' } },
        { name: 'price', type: { kind: 'string' } },
        { name: 'venue', type: { kind: 'struct', fields: [{ name: 'name', type: { kind: 'string' } }] } },
        { name: 'note', type: { kind: 'json' } },
      ],
    })
    engine = await lab.start({ streams: { trades: changed } })
    await post('2', { price: 'free', venue: { name: 'N' }, note: { any: [1] } })
    await engine.caughtUp('trades')
    const rows = [
      { price: '1.25', size: 3, venue: null, note: null },
      { price: 'free', size: 1, venue: 'N', note: '{"any":[1]}' },
    ]
    const sql = 'select price, size, venue.name as venue, note from trades order by id'
    expect(await engine.sql(sql)).toEqual(rows)
    await engine.stop()
    engine = await lab.start({ streams: { trades: changed } })
    expect(await engine.sql(sql)).toEqual(rows)
    expect(await engine.value("select note ->> '$.any[0]' from trades where note is not null")).toBe('1')
  })
})
