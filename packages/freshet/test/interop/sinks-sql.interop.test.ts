import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Column } from '../../src/config/plan.ts'
import { mysqlKind } from '../../src/sinks/mysql/mysql-sink.ts'
import { mysqlSettings } from '../../src/sinks/mysql/settings.ts'
import { postgresKind } from '../../src/sinks/postgres/postgres-sink.ts'
import { postgresSettings } from '../../src/sinks/postgres/settings.ts'
import { EventsRefused, type Sink, type SinkEvent } from '../../src/sinks/sink.ts'
import { sinkSuite } from '../conformance/sink-suite.ts'
import { sinkDeps, sinkEvent } from '../support/sink-lab.ts'
import { MariaDbServer, PostgresServer, type Row, type SqlServer } from './sql-servers.ts'
import { waitUntil } from './wait-until.ts'

const basic: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'n', type: { kind: 'long' } },
]

const kinds = [
  { name: 'PostgreSQL', make: () => PostgresServer.make(), kind: postgresKind, settings: postgresSettings, q: '"' },
  { name: 'MariaDB', make: () => MariaDbServer.make(), kind: mysqlKind, settings: mysqlSettings, q: '`' },
]

describe.each(kinds)('$name', ({ name: database, make, kind, settings, q }) => {
  let server: SqlServer
  let table = 't0'
  let count = 0
  const sinks: Sink[] = []
  const isPostgres = database === 'PostgreSQL'

  beforeAll(async () => {
    server = await make()
  })

  afterAll(async () => {
    await server.stop()
  })

  beforeEach(async () => {
    await Promise.all(sinks.splice(0).map((sink) => sink.close()))
    table = `t${++count}`
  })

  async function open(words: object = {}, columns: Column[] | null = basic): Promise<Sink> {
    const deps = sinkDeps(
      server.kind,
      settings,
      { url: server.url(), table, key: 'id', timeout: '5 s', ...words },
      { columns },
    )
    deps.plan.name = table
    const sink = await kind.open(deps)
    sinks.push(sink)
    return sink
  }

  const rows = (more = ''): Promise<Row[]> => server.query(`SELECT * FROM ${q}${table}${q} ${more} ORDER BY id`)

  const row = (id: string, n: number | null, more: object = {}): SinkEvent =>
    sinkEvent(`${id}-${n}`, { id, n, ...more })

  const problem = (work: Promise<unknown>): Promise<{ message: string; hint?: string }> =>
    work.then(
      () => ({ message: 'nothing was wrong' }),
      (error: unknown) => error as { message: string },
    )

  sinkSuite(
    database,
    async () => ({
      open: () => open(),
      ids: async () => (await rows()).map(({ id }) => String(id)),
      unfit: sinkEvent('x', { id: 'x', n: 'no number' }),
      close: async () => undefined,
    }),
    { keepsCheckpoint: true },
  )

  test('keeps the values of every type, and every digit', async () => {
    const columns: Column[] = [
      { name: 'id', type: { kind: 'string' } },
      { name: 'b', type: { kind: 'boolean' } },
      { name: 'i', type: { kind: 'int' } },
      { name: 'l', type: { kind: 'long' } },
      { name: 'd', type: { kind: 'double' } },
      { name: 'm', type: { kind: 'decimal', precision: 30, scale: 10 } },
      { name: 'at', type: { kind: 'timestamptz' } },
      { name: 'local', type: { kind: 'timestamp' } },
      { name: 'day', type: { kind: 'date' } },
      { name: 'hour', type: { kind: 'time' } },
      { name: 'u', type: { kind: 'uuid' } },
      { name: 'bytes', type: { kind: 'binary' } },
      { name: 'list', type: { kind: 'list', element: { kind: 'long' } } },
      { name: 'any', type: { kind: 'json' } },
    ]
    const text =
      '{"_event_id":"a","id":"a","b":true,"i":-7,"l":9007199254740993,"d":0.1,"m":12345678901234567890.0123456789,' +
      '"at":"2026-11-20T21:29:00.123456789+01:00","local":"2026-11-20T20:29:00.5","day":"2026-02-28","hour":"20:29:00.25",' +
      '"u":"2F1C3C6E-7B1E-4F6A-9A57-0C9D0F5A1B2C","bytes":"AP8n","list":[1,9007199254740993],"any":"text"}'
    const event = { ...sinkEvent('a'), text, fields: JSON.parse(text) as Record<string, unknown> }
    const sink = await open({}, columns)
    await sink.deliver([event, sinkEvent('b', { id: 'b' })], '1')
    const [full, empty] = await rows()
    const at = (value: unknown): string => String(value).replace(' ', 'T').replace('+00', '').replace('.123456', '')
    expect({ ...full, at: at(full!['at']), list: String(full!['list']).replaceAll(' ', '') }).toMatchObject({
      b: isPostgres ? 't' : '1',
      i: '-7',
      l: '9007199254740993',
      d: '0.1',
      m: '12345678901234567890.0123456789',
      at: '2026-11-20T20:29:00',
      day: '2026-02-28',
      u: '2f1c3c6e-7b1e-4f6a-9a57-0c9d0f5a1b2c',
      list: '[1,9007199254740993]',
      any: '"text"',
    })
    const hex = await server.query(
      isPostgres
        ? `SELECT encode(bytes, 'hex') AS hex, at = '2026-11-20T20:29:00.123456Z' AS same FROM ${table} WHERE id = 'a'`
        : `SELECT lower(hex(bytes)) AS hex, at = '2026-11-20 20:29:00.123456' AS same FROM ${table} WHERE id = 'a'`,
    )
    expect(hex).toEqual([{ hex: '00ff27', same: isPostgres ? 't' : '1' }])
    expect(Object.entries(empty!).filter(([, value]) => value !== null)).toEqual([['id', 'b']])
  })

  test('takes names and values that would end a quoted text', async () => {
    const odd = `we"ird\`na'me; DROP`
    table = `ta"b\`le'${count}`
    const columns: Column[] = [...basic, { name: odd, type: { kind: 'string' } }]
    const values = [
      `'; DROP TABLE x; --`,
      '\\',
      '"\\"',
      '{a,b}',
      'NULL',
      '',
      ' ',
      'ü€🙂',
      'a\nb\tc',
      '`',
      '?',
      '$1',
      "\\'",
    ]
    const sink = await open({ key: 'id', columns: { id: 'id', [odd]: odd } }, columns)
    const batch = values.map((value, at) => sinkEvent(`${at}`, { id: String(at).padStart(2, '0'), [odd]: value }))
    await sink.deliver(batch, `'"\\`)
    const quoted = `${q}${table.replaceAll(q, q + q)}${q}`
    const found = await server.query(`SELECT * FROM ${quoted} ORDER BY id`)
    expect(found.map((one) => one[odd])).toEqual(values)
    expect(await sink.checkpoint()).toBe(`'"\\`)
    await sink.deliver([batch[0]!, batch[1]!], 'next')
    expect(await server.query(`SELECT * FROM ${quoted}`)).toHaveLength(values.length)
  })

  test('keeps the last event of each key, removals among them, in the order of the batch', async () => {
    const sink = await open({ delete: { field: 'op', value: 'D' } })
    await sink.deliver(
      [row('a', 1), row('b', 1), row('a', 2), row('b', 1, { op: 'D' }), row('c', 1, { op: 'D' }), row('c', 2)],
      '1',
    )
    expect(await rows()).toEqual([
      { id: 'a', n: '2' },
      { id: 'c', n: '2' },
    ])
    await sink.deliver([row('a', 2, { op: 'D' }), row('none', 0, { op: 'D' })], '2')
    expect(await rows()).toEqual([{ id: 'c', n: '2' }])
  })

  test('compares keys as the table does where texts do not tell', async () => {
    const numeric: Column[] = [{ name: 'id', type: { kind: 'decimal', precision: 9, scale: 2 } }, basic[1]!]
    const sink = await open({ delete: 'gone' }, numeric)
    const event = (id: string, n: number, more = {}): SinkEvent => sinkEvent(`${n}`, { id, n, ...more })
    await sink.deliver(
      [event('1', 1), event('1.0', 2), event('1.00', 3), event('2', 4), event('2.0', 5, { gone: true })],
      '1',
    )
    expect(await rows()).toEqual([{ id: '1.00', n: '3' }])
  })

  test('appends where there is no key, each event once', async () => {
    const sink = await open({ key: undefined })
    await sink.deliver([row('a', 1), row('a', 1)], '1')
    await sink.deliver([row('a', 1)], '2')
    expect(await rows()).toHaveLength(3)
  })

  test('changes only the columns of an update, and makes, leaves or refuses rows that are not there', async () => {
    const columns: Column[] = [...basic, { name: 'quote', type: { kind: 'string' } }]
    await (await open({}, columns)).deliver([row('a', 1, { quote: 'old' })], '1')
    const name = table
    const quote = (id: string, text: string): SinkEvent => sinkEvent(`q-${id}`, { id, quote: text })
    const update = { update: 'quote', columns: ['id', 'quote'] }
    const inserts = await openAs('inserts', { ...update, table: name }, columns)
    await inserts.deliver([quote('a', 'new'), quote('b', 'made')], '1')
    expect(await rows()).toEqual([
      { id: 'a', n: '1', quote: 'new' },
      { id: 'b', n: null, quote: 'made' },
    ])
    const skips = await openAs('skips', { ...update, table: name, missing: 'skip' }, columns)
    await skips.deliver([quote('c', 'x'), quote('a', 'one'), quote('a', 'two')], '1')
    const refuses = await openAs('refuses', { ...update, table: name, missing: 'refuse' }, columns)
    const refused = await problem(refuses.deliver([quote('a', 'no'), quote('c', 'x'), quote('a', 'no')], '1'))
    expect([...(refused as unknown as EventsRefused).refused.keys()]).toEqual([1])
    await refuses.deliver([quote('b', 'b2')], '2')
    expect((await rows()).map((one) => one['quote'])).toEqual(['two', 'b2'])
  })

  async function openAs(sinkName: string, words: object, columns: Column[]): Promise<Sink> {
    const own = { url: server.url(), key: 'id', timeout: '5 s', ...words }
    const deps = sinkDeps(server.kind, settings, own, { columns })
    deps.plan.name = `${table}-${sinkName}`
    const sink = await kind.open(deps)
    sinks.push(sink)
    return sink
  }

  test('lets no older event change or remove a newer row', async () => {
    const columns: Column[] = [...basic, { name: 'at', type: { kind: 'timestamptz' } }]
    const sink = await open({ newest: 'at', delete: 'gone' }, columns)
    const event = (id: string, n: number, at: string | null, more = {}): SinkEvent => row(id, n, { at, ...more })
    await sink.deliver([event('a', 1, '2026-01-02T00:00:00Z'), event('a', 2, '2026-01-01T00:00:00Z')], '1')
    await sink.deliver([event('a', 3, '2026-01-01T23:59:59Z'), event('a', 4, null)], '2')
    await sink.deliver([event('a', 5, '2026-01-01T00:00:00Z', { gone: true })], '3')
    expect((await rows()).map(({ n }) => n)).toEqual(['1'])
    await sink.deliver([event('a', 6, '2026-01-02T00:00:00Z')], '4')
    expect((await rows()).map(({ n }) => n)).toEqual(['6'])
    await sink.deliver([event('a', 7, '2026-01-03T00:00:00Z', { gone: true })], '5')
    expect(await rows()).toEqual([])
  })

  test('reads nested fields, and gives columns the names and types that it is told', async () => {
    const columns = {
      id: 'id',
      'customer.name': 'customer',
      total: { column: 'sum', type: 'numeric(9, 2)' },
      _event_time: 'at',
    }
    const sink = await open(
      { columns: { ...columns, 'customer.name': { column: 'customer', type: 'varchar(20)' } } },
      null,
    ).catch((error: unknown) => error as { message: string })
    expect((sink as { message: string }).message).toContain('type of its column "id" is not known')
    const typed = {
      ...columns,
      id: { type: 'varchar(20)' },
      'customer.name': { column: 'customer', type: 'varchar(5)' },
    }
    const good = await open({ columns: typed }, null)
    const event = (id: string, name: string): SinkEvent => sinkEvent(id, { id, customer: { name }, total: 1.5 })
    await good.deliver([event('a', 'Ann')], '1')
    const found = await rows()
    expect(found).toMatchObject([{ id: 'a', customer: 'Ann', sum: '1.50' }])
    expect(String(found[0]!['at'])).toContain('2026-11-20 20:29:00.123')
    // Nothing is cut off silently.
    await expect(good.deliver([event('b', 'Bernadette')], '2')).rejects.toBeInstanceOf(EventsRefused)
  })

  test('says what differs in a table that does not fit, and adds columns where it may', async () => {
    await server.query(
      `CREATE TABLE ${table} (id varchar(20) NOT NULL, n ${isPostgres ? 'boolean' : 'date'}, owner int NOT NULL)`,
    )
    const columns: Column[] = [...basic, { name: 'more', type: { kind: 'double' } }]
    const { message } = await problem(open({}, columns))
    expect(message).toContain(
      `its column "n" is ${isPostgres ? 'boolean' : 'date'}, and the field "n" would need bigint`,
    )
    expect(message).toContain('it has no column "more"')
    expect(message).toContain('not unique by id')
    expect(message).toContain('its columns "owner" need a value')
    await server.query(`DROP TABLE ${table}`)
    await server.query(`CREATE TABLE ${table} (id varchar(20) PRIMARY KEY, n bigint)`)
    const sink = await open({ alter: true }, columns)
    await sink.deliver([row('a', 1, { more: 2.5 })], '1')
    expect(await rows()).toEqual([{ id: 'a', n: '1', more: '2.5' }])
  })

  test('tells a wrong password, a missing database and a server that is away from each other', async () => {
    const wrong = await problem(open({ url: server.url('freshet', 'wrong') }))
    expect(wrong).toMatchObject({ code: 'sink_target_unusable', hint: expect.stringContaining('password') as unknown })
    expect(wrong.message).not.toContain('wrong')
    const lost = await problem(open({ url: server.url().replace('/shop', '/nowhere') }))
    expect(lost.hint).toContain('Create the database')
    const away = await problem(open({ url: server.url().replace(String(server.port), '1') }))
    expect(away.message).toContain('cannot be reached')
    const tls = await problem(open({ tls: true }))
    expect(tls.hint).toContain('tls: false')
  })

  test('takes a refused connection, a lock that is held and a table that is gone for what passes', async () => {
    const sink = await open({ timeout: '1 s' })
    await sink.deliver([row('a', 1)], '1')
    const held = await openAs('other', { table }, basic)
    await server.query('BEGIN')
    await server.query(`UPDATE ${table} SET n = 5 WHERE id = 'a'`)
    const blocked = await problem(sink.deliver([row('a', 2)], '2'))
    expect(blocked).toMatchObject({ code: 'sink_target_unusable' })
    await server.query('ROLLBACK')
    await sink.deliver([row('a', 2)], '2')
    await held.close()
    await server.query(`DROP TABLE ${table}`)
    expect(await problem(sink.deliver([row('a', 3)], '3'))).toMatchObject({ code: 'sink_target_unusable' })
    await sink.deliver([row('a', 3)], '3')
    expect(await rows()).toEqual([{ id: 'a', n: '3' }])
  })

  test('loses and doubles nothing while the server is killed under load, again and again', async () => {
    const sink = await open({ key: undefined })
    const total = 150
    let done = 0
    const stopped = new AbortController()
    let failures = 0
    const delivering = (async () => {
      while (done < total && !stopped.signal.aborted) {
        const batch = Array.from({ length: 200 }, (_, at) => row(`${String(done).padStart(4, '0')}-${at}`, at))
        try {
          await sink.deliver(batch, String(done + 1))
          done++
        } catch (error) {
          if (error instanceof EventsRefused) throw error
          failures++
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
    })()
    try {
      for (const point of [20, 50, 90]) {
        await waitUntil(async () => done >= point)
        await server.kill()
        await server.start()
      }
      await delivering
    } finally {
      stopped.abort()
    }
    expect(failures).toBeGreaterThanOrEqual(3)
    const [found] = await server.query(`SELECT count(*) AS n, count(DISTINCT id) AS ids FROM ${table}`)
    expect(found).toEqual({ n: String(total * 200), ids: String(total * 200) })
    expect(await sink.checkpoint()).toBe(String(total))
  })
})
