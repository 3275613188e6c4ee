import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { checkOptions, linesOf } from '../../test/support/config-mistakes.ts'
import { checkConfig } from './check.ts'

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
    const { a } = checkConfig({ streams: { a: { schema: { properties: { x } } } } }, checkOptions).streams
    expect(a?.columns).toHaveLength(1)
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
