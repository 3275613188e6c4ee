import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { checkConfig } from './check.ts'
import type { Mistake } from './mistakes.ts'
import type { Column } from './plan.ts'
import { columnTypeText } from './column-types.ts'

const plan = (schema: unknown, types: unknown): Column[] =>
  checkConfig({ streams: { s: { schema, types } } }, { baseDir: '/', mode: 'dev' }).streams['s']!.columns!
const text = (schema: unknown, types: unknown): string[] =>
  plan(schema, types).map(({ name, type }) => `${name}: ${columnTypeText(type)}`)
const mistakes = (schema: unknown, types: unknown): Mistake[] => {
  try {
    plan(schema, types)
  } catch (error) {
    return (error as { extra: { mistakes: Mistake[] } }).extra.mistakes
  }
  return []
}

const order = z.object({
  price: z.number(),
  size: z.int(),
  amount: z.union([z.string(), z.number()]).nullable(),
  ratio: z.union([z.number(), z.literal(['NaN', 'Infinity', '-Infinity'])]),
  opened: z.string(),
  local: z.iso.datetime({ local: true }),
  blob: z.string().optional(),
  uid: z.uuid(),
  note: z.object({ a: z.int() }),
  order: z.object({ fee: z.number(), 'a.b': z.string() }),
  legs: z.array(z.object({ price: z.number() })),
  rates: z.record(z.string(), z.number()),
  grid: z.array(z.array(z.int())),
})

describe('declared types', () => {
  test('take the place of those of the schema, at any depth', () => {
    expect(
      text(order, {
        price: 'decimal(18, 4)',
        size: 'int',
        amount: 'decimal(9,2)',
        ratio: 'double',
        opened: 'time',
        local: 'timestamp',
        blob: 'binary',
        uid: 'string',
        note: 'json',
        'order.fee': 'float',
        'order."a.b"': 'date',
        'legs[].price': 'decimal(38, 10)',
        'rates.*': 'float',
        'grid[][]': 'int',
      }),
    ).toEqual([
      'price: decimal(18, 4)',
      'size: int',
      'amount: decimal(9, 2)',
      'ratio: double',
      'opened: time',
      'local: timestamp',
      'blob: binary',
      'uid: string',
      'note: json',
      'order: struct<fee: float, a.b: date>',
      'legs: list<struct<price: decimal(38, 10)>>',
      'rates: map<string, float>',
      'grid: list<list<int>>',
    ])
  })

  test('are found behind references and beside null in JSON Schema', () => {
    const schema = {
      type: 'object',
      properties: {
        a: { $ref: '#/$defs/leg' },
        b: { anyOf: [{ $ref: '#/$defs/leg' }, { type: 'null' }] },
        c: { type: ['array', 'null'], items: { $ref: '#/$defs/leg' } },
      },
      additionalProperties: false,
      $defs: { leg: { type: 'object', properties: { p: { type: ['number', 'null'] } }, additionalProperties: false } },
    }
    expect(text(schema, { 'a.p': 'decimal(4, 2)', 'b.p': 'float', 'c[].p': 'decimal(9, 0)' })).toEqual([
      'a: struct<p: decimal(4, 2)>',
      'b: struct<p: float>',
      'c: list<struct<p: decimal(9, 0)>>',
    ])
  })

  test.each<[string, unknown, RegExp, string?]>([
    ['price', 'decimal', /needs its digits/, 'decimal(18, 4)'],
    ['price', 'decimal(39, 2)', /1 to 38 digits, not 39/],
    ['price', 'decimal(0, 0)', /1 to 38 digits, not 0/],
    ['price', 'decimal(4, 5)', /of 4 digits cannot have 5 behind/],
    ['price', 'dobule', /is not a column type/, 'double'],
    ['price', 'money', /is not a column type/, 'decimal(18, 4)'],
    ['opened', 'bytea', /is not a column type/, 'binary'],
    ['price', 7, /must be text, not 7/],
    ['price', 'int', /int is read from integer, and the schema admits number here/],
    ['price', 'time', /time is read from string, and the schema admits (number|integer) here/],
    ['opened', 'double', /double is read from integer or number, and the schema admits string here/],
    ['prise', 'float', /the schema has no field "prise"/, 'price'],
    ['order.fea', 'float', /the schema has no field "fea"/, 'fee'],
    ['order', 'int', /a struct cannot be int: name what is in it \(by "\.<field>"\), or keep it whole as "json"/],
    ['legs', 'int', /by "\[\]"/],
    ['legs.price', 'float', /is in a list: write the path of its elements with "\[\]"/],
    ['rates.usd', 'float', /is in a map: write the path of its values with "\*"/],
    ['a..b', 'float', /is no path of a field/],
    ['price.x', 'float', /cannot be in a value of type double/],
  ])('%s as %j is refused', (path, word, reason, suggestion) => {
    expect(mistakes(order, { [path]: word })).toEqual([
      {
        key: `streams.s.types[${JSON.stringify(path)}]`,
        reason: expect.stringMatching(reason),
        ...(suggestion && { suggestion }),
      },
    ])
  })

  test('of a field that may be anything are refused, but for json', () => {
    const schema = z.object({ a: z.unknown(), o: z.looseObject({ b: z.int() }) })
    expect(mistakes(schema, { a: 'int' })[0]!.reason).toMatch(/does not say what the field is/)
    expect(mistakes(schema, { 'o.b': 'int' })[0]!.reason).toMatch(/is in an object that is kept as JSON text/)
    expect(text(schema, { a: 'json' })).toEqual(['a: json', 'o: json'])
  })

  test('need a schema, and an object', () => {
    expect(mistakes(undefined, { a: 'int' })).toEqual([
      { key: 'streams.s.types', reason: 'has no meaning without "schema"' },
    ])
    expect(mistakes(order, ['int'])[0]).toMatchObject({ key: 'streams.s.types', reason: /must be an object/ })
  })

  test('of the time of events keep its time zone', () => {
    const schema = z.object({ at: z.iso.datetime() })
    const words = { schema, time: 'at', types: { at: 'timestamp' } }
    expect(() => checkConfig({ streams: { s: words } }, { baseDir: '/', mode: 'dev' })).toThrow(
      /"at" is the time of the event/,
    )
  })
})
