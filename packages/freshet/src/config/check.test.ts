import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { FreshetError } from '../runtime/errors.ts'
import { checkConfig, type CheckOptions } from './check.ts'
import type { Plan } from './plan.ts'

const options: CheckOptions = { baseDir: '/project', mode: 'start', subject: 'freshet.config.ts' }

function errorOf(words: unknown, more: Partial<CheckOptions> = {}): FreshetError {
  try {
    checkConfig(words, { ...options, ...more })
  } catch (error) {
    if (error instanceof FreshetError) return error
    throw error
  }
  throw new Error('the configuration was accepted')
}

/** The lines of the message, one a mistake. */
function linesOf(words: unknown, more: Partial<CheckOptions> = {}): string[] {
  return errorOf(words, more)
    .message.split('\n')
    .slice(1)
    .map((line) => line.trim())
}

function accepted(words: unknown): Plan {
  return checkConfig(words, options)
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
    lake: { flushIntervalMs: 60_000, flushRows: 1_000_000 },
    sql: { timeoutMs: 60_000, rowsMax: 1_000_000, concurrency: 4 },
    streams: {},
  })
  expect(engine).toEqual({ memoryBytes: 512 * 2 ** 20, spillBytesMax: 4 * 2 ** 30, threads: expect.any(Number) })
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
    ['a key like no other', { sql: { zzz: 1 } }, ['sql.zzz: unknown key (known: timeout, rows, concurrency)']],
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

describe('mistakes in zod schemas', () => {
  const asSent = 'as events are stored as they were sent'
  test.each<[string, z.ZodType, string]>([
    ['a date', z.date(), 'z.date() has no JSON form; write z.iso.datetime()'],
    ['a bigint', z.bigint(), 'z.bigint() has no JSON form; write z.int(), or z.string() for whole numbers beyond 2^53'],
    ['a map', z.map(z.string(), z.string()), 'z.map() has no JSON form; write z.record(z.string(), ...)'],
    [
      'a check in code',
      z.string().refine((text) => text !== ''),
      'a check in code (.refine, .superRefine, .check) cannot be run on events; use the limits that zod has, such as .min() or .regex()',
    ],
    [
      'a custom type',
      z.instanceof(Date),
      'a check in code (z.custom, z.instanceof) cannot be run on events; describe the value with other types',
    ],
    ['a default', z.string().default('a'), `.default() is not applied, ${asSent}; write .optional()`],
    [
      'a transform',
      z.string().transform(Number),
      `transforms, z.preprocess, codecs and pipes are not applied, ${asSent}; write the type that is sent`,
    ],
    ['coercion', z.coerce.number(), `z.coerce is not applied, ${asSent}; write the type that is sent`],
    [
      'a trim',
      z.string().trim(),
      `changes of the value (.trim, .toLowerCase, .overwrite, ...) are not applied, ${asSent}`,
    ],
    ['flags', z.string().regex(/a/i), 'the flags "i" of a regular expression have no JSON form; write it without them'],
  ])('%s', (_, part, reason) => {
    expect(linesOf({ streams: { a: { schema: z.object({ x: part }) } } })).toEqual([`streams.a.schema.x: ${reason}`])
    const deep = z.object({ list: z.array(z.object({ x: part.optional() })) })
    expect(linesOf({ streams: { a: { schema: deep } } })).toEqual([`streams.a.schema.list[].x: ${reason}`])
  })

  test.each<[string, z.ZodType, string]>([
    ['text', z.string(), 'describes string, but every event is a JSON object'],
    ['anything', z.any(), 'says nothing about events; leave it out to accept any JSON object, with columns inferred'],
    [
      'nothing',
      z.object({}),
      'names no fields and allows no others; leave it out to accept any JSON object, with columns inferred',
    ],
  ])('the whole schema is %s', (_, schema, reason) => {
    expect(linesOf({ streams: { a: { schema } } })).toEqual([`streams.a.schema: ${reason}`])
  })

  test('names that cannot be columns', () => {
    const schema = z.object({
      _x: z.string(),
      price: z.number(),
      Price: z.number(),
      in: z.object({ a: z.int(), A: z.int() }),
    })
    const lines = linesOf({ streams: { s: { schema } } })
    const twice = (name: string) =>
      `differs from the field "${name}" only by upper and lower case, which SQL does not tell apart`
    expect(lines).toEqual([
      `streams.s.schema.Price: ${twice('price')}`,
      `streams.s.schema.in.A: ${twice('a')}`,
      expect.stringMatching(/^streams\.s\.schema\._x: the name "_x" is reserved/),
    ])
  })

  test('a regular expression that could take very long; those of zod are trusted', () => {
    const schema = z.object({ mail: z.email(), at: z.iso.datetime(), bad: z.string().regex(/^(a+)+$/) })
    expect(linesOf({ streams: { s: { schema } } })).toEqual([
      expect.stringMatching(/^streams\.s\.schema\.bad: the regular expression \^\(a\+\)\+\$ could take very long/),
    ])
  })
})

describe('mistakes in JSON Schemas', () => {
  const remote =
    '"https://x.test/y" is outside this schema, and nothing is fetched; copy it into "$defs" and write "#/$defs/NAME"'
  test.each<[string, unknown, string]>([
    [
      'a misspelt type',
      { type: 'strng' },
      '.type: must be one of "string", "integer", "number", "boolean", "object", "array", "null", not "strng"; did you mean "string"?',
    ],
    ['a misspelt keyword', { type: 'string', patern: 'x' }, '.patern: unknown keyword; did you mean "pattern"?'],
    [
      'a misspelt format',
      { type: 'string', format: 'datetime' },
      '.format: unknown format "datetime"; did you mean "date-time"?',
    ],
    ['a remote reference', { $ref: 'https://x.test/y' }, `.$ref: ${remote}`],
    [
      'a reference to nowhere',
      { $ref: '#/$defs/prise' },
      '.$ref: "#/$defs/prise" is not in this schema; did you mean "#/$defs/price"?',
    ],
    [
      'a keyword of OpenAPI',
      { type: 'string', nullable: true },
      '.nullable: the keyword is not supported; write "type": ["string", "null"] or the like',
    ],
    [
      'a list of items',
      { type: 'array', items: [{}] },
      '.items: a list of schemas is written as "prefixItems" since draft 2020-12',
    ],
    ['a wrong value', { minLength: 'x' }, '.minLength: must be integer'],
    ['a part that is no schema', { items: 5 }, '.items: must be a schema, not 5'],
    ['a function', { default: () => 1 }, '.default: is not plain JSON but a function'],
    [
      'a zod type',
      z.string(),
      ': is not plain JSON but an instance of a class: a zod type cannot stand inside a JSON Schema; write the whole schema in one of the two',
    ],
  ])('%s', (_, part, line) => {
    const schema = { type: 'object', properties: { x: part }, $defs: { price: {} } }
    expect(linesOf({ streams: { a: { schema } } })).toEqual([`streams.a.schema.properties.x${line}`])
  })

  test('annotations are no mistakes', () => {
    const x = { type: 'string', title: 'X', 'x-owner': 'me', example: 'a', owner: 'me', format: 'my-own' }
    expect(accepted({ streams: { a: { schema: { properties: { x } } } } }).streams['a']?.columns).toHaveLength(1)
  })

  test('a field that is required and cannot be there', () => {
    const schema = { type: 'object', properties: { price: {} }, required: ['prise'], additionalProperties: false }
    expect(linesOf({ streams: { a: { schema } } })).toEqual([
      'streams.a.schema.required: requires the field "prise", which "properties" lacks; did you mean "price"?',
    ])
  })

  test.each([
    ['a reference to itself', { $ref: '#' }],
    [
      'a circle of references',
      { allOf: [{ $ref: '#/$defs/a' }], $defs: { a: { anyOf: [{ $ref: '#/$defs/b' }] }, b: { $ref: '#/$defs/a' } } },
    ],
  ])('%s', (_, schema) => {
    expect(linesOf({ streams: { a: { schema } } })).toEqual([
      'streams.a.schema: a "$ref" leads back to itself without stepping into a field or an element',
    ])
  })

  test('an object that contains itself', () => {
    const schema: Record<string, unknown> = { type: 'object' }
    schema['properties'] = { a: schema, b: schema }
    const own = 'contains itself; write a recursive schema with "$ref"'
    expect(linesOf({ streams: { a: { schema } } })).toEqual([
      `streams.a.schema.properties.a: ${own}`,
      `streams.a.schema.properties.b: ${own}`,
    ])
  })
})

describe('id and time', () => {
  const fields = z.object({
    id: z.string(),
    price: z.number(),
    at: z.iso.datetime(),
    note: z.string().optional(),
    maybe: z.iso.datetime().nullable(),
    count: z.int(),
    day: z.iso.date(),
  })
  const has = '(it has: id, price, at, note, maybe, count, day)'
  const dateTime =
    'must be a date-time string with a time zone (z.iso.datetime(), or "format": "date-time"), or a number with "timeUnit", to be a time'
  test.each<[string, Record<string, string>, string]>([
    ['an id that is missing', { id: 'idd' }, `id: the schema has no field "idd" ${has}; did you mean "id"?`],
    [
      'an id that may be absent',
      { id: 'note' },
      'id: the field "note" may be absent; to be an id it must be there in every event',
    ],
    [
      'an id that is a fraction',
      { id: 'price' },
      'id: the field "price" must be a string or an integer to be an id, not number',
    ],
    ['a time that is missing', { time: 'ta' }, `time: the schema has no field "ta" ${has}; did you mean "at"?`],
    [
      'a time that is text',
      { time: 'id' },
      `time: the field "id" ${dateTime}, not a string without the format "date-time"`,
    ],
    [
      'a time that is a date',
      { time: 'day' },
      `time: the field "day" ${dateTime}, not a string without the format "date-time"`,
    ],
    [
      'a time that may be null',
      { time: 'maybe' },
      'time: the field "maybe" may be null; to be a time it must be there in every event',
    ],
    [
      'a number without unit',
      { time: 'count' },
      'timeUnit: the field "count" is a number: say "s", "ms" or "us" (seconds, milliseconds or microseconds since 1970)',
    ],
    [
      'a unit for text',
      { time: 'at', timeUnit: 'ms' },
      'timeUnit: "ms" is for numbers, and the field "at" is a date-time string; leave it out',
    ],
    [
      'a misspelt unit',
      { time: 'count', timeUnit: 'ns' },
      'timeUnit: must be one of "iso", "s", "ms", "us", not "ns"; did you mean "s"?',
    ],
  ])('%s', (_, keys, line) => {
    expect(linesOf({ streams: { a: { schema: fields, ...keys } } })).toEqual([`streams.a.${line}`])
  })

  test('what is wrong with a field in the schema is not said again of its role', () => {
    expect(linesOf({ streams: { a: { schema: z.object({ at: z.date() }), time: 'at' } } })).toEqual([
      'streams.a.schema.at: z.date() has no JSON form; write z.iso.datetime()',
    ])
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
  const plan = checkConfig({ dataDir: 'x', http: { port: 2, requestTimeout: 500 } }, { ...options, ...more })
  expect(plan.dataDir).toBe('/elsewhere/data')
  expect(plan.http).toEqual({ host: 'localhost', port: 1, requestTimeoutMs: 500 })
  expect(linesOf({}, { overrides: { port: -1 } })).toEqual(['--port: must be a whole number from 0 to 65535, not -1'])
})

describe('whatever is in a configuration, the answer is a plan or config_invalid', () => {
  function expectPlanOrMistakes(words: unknown): void {
    try {
      const plan = checkConfig(words, options)
      expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error
      expect(error.code).toBe('config_invalid')
      expect(error.extra['mistakes']).not.toEqual([])
    }
  }

  const junk = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withSparseArray: true,
    withTypedArray: true,
  })

  test('for junk', () => {
    fc.assert(fc.property(junk, expectPlanOrMistakes), { numRuns: 500 })
  })

  test('for junk under the right keys', () => {
    const stream = fc.record(
      { schema: junk, id: junk, time: junk, timeUnit: junk, partition: junk },
      { requiredKeys: [] },
    )
    const words = fc.record(
      {
        dataDir: junk,
        http: junk,
        limits: junk,
        log: junk,
        lake: junk,
        sql: junk,
        engine: junk,
        streams: fc.dictionary(fc.string(), fc.oneof(stream, junk)),
      },
      { requiredKeys: [] },
    )
    fc.assert(fc.property(words, expectPlanOrMistakes), { numRuns: 500 })
  })

  test('for JSON Schemas of junk', () => {
    const keyword = fc.constantFrom(
      'type',
      'properties',
      'required',
      'items',
      'anyOf',
      'allOf',
      'oneOf',
      'not',
      'enum',
      'const',
      '$ref',
      '$defs',
      'additionalProperties',
      'format',
      'pattern',
      'patternProperties',
      'prefixItems',
      '$id',
    )
    const { schema } = fc.letrec<{ schema: unknown; value: unknown }>((tie) => ({
      schema: fc.dictionary(keyword, tie('value'), { maxKeys: 4 }),
      value: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom<unknown>(
          'string',
          'object',
          'integer',
          '#',
          '#/$defs/a',
          '#/properties/a',
          true,
          false,
          null,
          5,
          'a',
          '(a+)+',
          'date-time',
        ),
        tie('schema'),
        fc.dictionary(fc.constantFrom('a', 'b', '_c', 'A'), tie('value'), { maxKeys: 3 }),
        fc.array(tie('value'), { maxLength: 3 }),
      ),
    }))
    const words = fc.record({
      streams: fc.record({
        s: fc.record({ schema, id: fc.constantFrom('a', undefined), time: fc.constantFrom('b', undefined) }),
      }),
    })
    fc.assert(fc.property(words, expectPlanOrMistakes), { numRuns: 1000 })
  })
})
