import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { checkOptions, errorOf, linesOf } from '../../test/support/config-mistakes.ts'
import { checkConfig } from './check.ts'
import type { Plan } from './plan.ts'

function accepted(words: unknown): Plan {
  return checkConfig(words, checkOptions)
}

test('an empty configuration has all defaults', () => {
  const { engine, ...plan } = accepted({})
  expect(plan).toEqual({
    dataDir: '/project/.freshet',
    mode: 'start',
    http: { host: '127.0.0.1', port: 7070, requestTimeoutMs: 30_000 },
    limits: {
      bodyBytesMax: 16 * 2 ** 20,
      eventBytesMax: 2 ** 20,
      nestingMax: 32,
      batchEventsMax: 50_000,
      diskFreeBytesMin: 256 * 2 ** 20,
    },
    log: { segmentBytes: 64 * 2 ** 20 },
    lake: { flushIntervalMs: 60_000, flushRows: 1_000_000, snapshots: { keepMs: 3 * 86_400_000, min: 10, max: 200 } },
    sql: { timeoutMs: 60_000, rowsMax: 1_000_000, concurrency: 4, catchUpMsMax: 3000 },
    upkeep: {
      enabled: true,
      intervalMs: 300_000,
      targetFileBytes: 128 * 2 ** 20,
      memoryBytes: 768 * 2 ** 20,
      orphanAgeMs: 86_400_000,
    },
    streams: {},
    rollups: {},
    sinks: {},
    buckets: {},
    configFile: null,
  })
  expect(engine).toEqual({
    memoryBytes: 512 * 2 ** 20,
    idMemoryBytes: 256 * 2 ** 20,
    spillBytesMax: 4 * 2 ** 30,
    threads: expect.any(Number),
  })
  expect(engine.threads).toBeGreaterThanOrEqual(1)
})

test('values stand in place of defaults', () => {
  const plan = accepted({
    dataDir: 'data',
    http: { host: '[::1]', port: 0, requestTimeout: '5s' },
    limits: { body: '32 MB', event: 1000 },
    engine: { memory: '1 GiB', threads: 2 },
    lake: undefined,
  })
  expect(plan.dataDir).toBe('/project/data')
  expect(plan.http).toEqual({ host: '::1', port: 0, requestTimeoutMs: 5000 })
  expect(plan.limits).toMatchObject({ bodyBytesMax: 32_000_000, eventBytesMax: 1000 })
  expect(plan.engine).toMatchObject({ memoryBytes: 2 ** 30, threads: 2 })
})

test('a default gives way to a smaller body', () => {
  expect(accepted({ limits: { body: '64 KiB' } }).limits.eventBytesMax).toBe(65_536)
})

test('a stream with a zod schema', () => {
  const schema = z.object({ id: z.string(), price: z.number(), at: z.iso.datetime() })
  const { trades } = accepted({ streams: { trades: { schema, id: 'id', time: 'at', partition: 'hour' } } }).streams
  expect(trades).toMatchObject({
    name: 'trades',
    open: false,
    id: 'id',
    time: { field: 'at', unit: 'iso' },
    partition: { by: 'event_time', unit: 'hour' },
    columns: [
      { name: 'id', type: { kind: 'string' } },
      { name: 'price', type: { kind: 'double' } },
      { name: 'at', type: { kind: 'timestamptz' } },
    ],
  })
})

test('a stream with a JSON Schema, and one without any', () => {
  const schema = {
    type: 'object',
    properties: { n: { type: 'integer' }, ms: { type: 'integer' } },
    required: ['n', 'ms'],
  }
  const { a, b } = accepted({
    streams: {
      a: { schema, id: 'n', time: 'ms', timeUnit: 'ms', partition: { by: 'received_at' } },
      b: { id: 'key', time: 'when' },
    },
  }).streams
  expect(a).toEqual({
    name: 'a',
    schema,
    columns: [
      { name: 'n', type: { kind: 'long' } },
      { name: 'ms', type: { kind: 'long' } },
    ],
    open: true,
    id: 'n',
    time: { field: 'ms', unit: 'ms' },
    partition: { by: 'received_at', unit: 'day' },
  })
  expect(b).toEqual({
    name: 'b',
    schema: null,
    columns: null,
    open: true,
    id: 'key',
    time: { field: 'when', unit: 'iso' },
    partition: { by: 'event_time', unit: 'day' },
  })
})

test('Standard JSON Schema of another library is understood', () => {
  const input = ({ target }: { target: string }) => ({
    $schema: target,
    type: 'object',
    properties: { id: { type: 'string' } },
    required: ['id'],
  })
  const { a } = accepted({ streams: { a: { schema: { '~standard': { jsonSchema: { input } } }, id: 'id' } } }).streams
  expect(a?.columns).toEqual([{ name: 'id', type: { kind: 'string' } }])
})

describe('mistakes outside streams', () => {
  test.each<[string, unknown, string[]]>([
    ['a file that is no object', [], ['(whole file): must be an object, not an array']],
    ['an unknown key', { htpp: {} }, ['htpp: unknown key; did you mean "http"?']],
    ['a key in the wrong place', { port: 1 }, ['port: unknown key; did you mean "http.port"?']],
    ['a key like no other', { sql: { zzz: 1 } }, ['sql.zzz: unknown key (known: timeout, rows, concurrency, catchUp)']],
    ['a section that is no object', { sql: 5 }, ['sql: must be an object, not 5']],
    ['an instance of a class', { sql: new Date() }, ['sql: must be an object, not an instance of a class']],
    [
      'a port out of range',
      { http: { port: 70_000 } },
      ['http.port: must be a whole number from 0 to 65535, not 70000'],
    ],
    ['a port as text', { http: { port: '7070' } }, ['http.port: must be a whole number from 0 to 65535, not "7070"']],
    [
      'an address that others reach',
      { http: { host: '0.0.0.0' } },
      [
        'http.host: "0.0.0.0" is not a loopback address: Freshet has no authentication yet, so anybody who reaches it could read and write everything. ' +
          'Leave it at 127.0.0.1 and put a proxy that authenticates in front; did you mean "127.0.0.1"?',
      ],
    ],
    [
      'a size with a half unit',
      { limits: { body: '16M' } },
      [
        'limits.body: has the unknown unit "M" (known: B, kB, KB, MB, GB, TB, KiB, MiB, GiB, TiB); did you mean "16 MiB"?',
      ],
    ],
    ['a size out of range', { limits: { body: '1 GiB' } }, ['limits.body: must be from 1 KiB to 256 MiB, not 1 GiB']],
    [
      'a duration that is none',
      { sql: { timeout: true } },
      ['sql.timeout: must be a number of milliseconds, or text such as "10 s"'],
    ],
    [
      'an event larger than a body',
      { limits: { body: '1 MiB', event: '2 MiB' } },
      ['limits.event: 2 MiB is more than a whole body may have (limits.body: 1 MiB)'],
    ],
    ['a data folder that is none', { dataDir: 5 }, ['dataDir: must be the path of a folder, not 5']],
    ['streams in a list', { streams: [] }, ['streams: must be an object of streams by name, not an array']],
  ])('%s', (_, words, lines) => {
    expect(linesOf(words)).toEqual(lines)
  })
})

describe('mistakes in streams', () => {
  const pattern = 'a stream name is 1 to 63 lower-case letters, digits and "_", a letter first'

  test.each<[string, Record<string, unknown>, string[]]>([
    ['a name with capitals', { WebClicks: {} }, [`streams.WebClicks: ${pattern}; did you mean "web_clicks"?`]],
    ['a name with a space', { 'my stream': {} }, [`streams["my stream"]: ${pattern}; did you mean "my_stream"?`]],
    ['a name that begins with a digit', { '2x': {} }, [`streams["2x"]: ${pattern}; did you mean "s_2x"?`]],
    ['a name of no letters', { '!!': {} }, [`streams["!!"]: ${pattern}`]],
    [
      'a name of dead letters',
      { orders_dead_letters: {} },
      [
        'streams.orders_dead_letters: names that end in "_dead_letters" belong to dead letters; did you mean "orders_letters"?',
      ],
    ],
    [
      'two names that are one in SQL',
      { trades: {}, Trades: {} },
      ['streams.Trades: differs from the stream "trades" only by upper and lower case'],
    ],
    ['a stream that is no object', { a: null }, ['streams.a: must be an object, not null']],
    ['a misspelt key', { a: { partiton: 'day' } }, ['streams.a.partiton: unknown key; did you mean "partition"?']],
    [
      'a misspelt partition',
      { a: { partition: 'dya' } },
      ['streams.a.partition: must be one of "hour", "day", "month", not "dya"; did you mean "day"?'],
    ],
    [
      'a misspelt long partition',
      { a: { partition: { by: 'recieved_at', unt: 'day' } } },
      [
        'streams.a.partition.by: must be one of "event_time", "received_at", not "recieved_at"; did you mean "received_at"?',
        'streams.a.partition.unt: unknown key; did you mean "unit"?',
      ],
    ],
    [
      'a unit without a time',
      { a: { timeUnit: 'ms' } },
      ['streams.a.timeUnit: has no meaning without "time", the field that holds the time of the event'],
    ],
    [
      'a reserved field as id',
      { a: { id: '_id' } },
      [
        'streams.a.id: the name "_id" is reserved: names that begin with "_" belong to Freshet (_event_id, _event_time, _received_at, _source, _tenant)',
      ],
    ],
    [
      'a schema that is none',
      { a: { schema: 5 } },
      ['streams.a.schema: must be a zod 4 type or a JSON Schema object, not 5'],
    ],
    [
      'a zod 3 type',
      { a: { schema: { _def: {}, safeParse: () => true } } },
      ['streams.a.schema: is a zod 3 type; Freshet needs zod 4: update zod, or import from "zod/v4"'],
    ],
  ])('%s', (_, streams, lines) => {
    expect(linesOf({ streams })).toEqual(lines)
  })

  test('reserved names', () => {
    const [line] = linesOf({ streams: { freshet: {} } })
    expect(line).toMatch(/^streams\.freshet: the name is reserved \(.+\); did you mean "freshet_events"\?$/)
  })

  test('a mended name that is taken is not suggested', () => {
    expect(linesOf({ streams: { my_stream: {}, 'my-stream': {} } })).toEqual([`streams["my-stream"]: ${pattern}`])
  })
})

test('all mistakes come in one message, and one by one in extra.mistakes', () => {
  const error = errorOf({
    htpp: {},
    http: { prot: 1 },
    streams: { Bad: { partition: 'dya', schema: z.object({ d: z.date() }), id: 'di' } },
  })
  expect(error.code).toBe('config_invalid')
  expect(error.message).toMatch(/^freshet\.config\.ts has 6 mistakes:\n/)
  expect(error.hint).toContain('docs/config.md')
  expect(error.extra['mistakes']).toEqual([
    { key: 'http.prot', reason: 'unknown key', suggestion: 'port' },
    { key: 'htpp', reason: 'unknown key', suggestion: 'http' },
    { key: 'streams.Bad', reason: expect.stringContaining('a stream name is'), suggestion: 'bad' },
    { key: 'streams.Bad.partition', reason: expect.stringContaining('must be one of'), suggestion: 'day' },
    { key: 'streams.Bad.schema.d', reason: expect.stringContaining('z.date()') },
    { key: 'streams.Bad.id', reason: expect.stringContaining('no field "di"'), suggestion: 'd' },
  ])
})

test('options of the command line stand above the file, and are named in mistakes', () => {
  const more = { cwd: '/elsewhere', overrides: { port: 1, host: 'localhost', dataDir: 'data' } }
  const plan = checkConfig({ dataDir: 'x', http: { port: 2, requestTimeout: 500 } }, { ...checkOptions, ...more })
  expect(plan.dataDir).toBe('/elsewhere/data')
  expect(plan.http).toEqual({ host: 'localhost', port: 1, requestTimeoutMs: 500 })
  expect(linesOf({}, { overrides: { port: -1 } })).toEqual(['--port: must be a whole number from 0 to 65535, not -1'])
})
