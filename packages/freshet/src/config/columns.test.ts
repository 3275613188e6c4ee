import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { columnsFromSchema, columnTypeOf } from './columns.ts'
import type { JsonSchema } from './define.ts'
import { objectShape } from './object-shape.ts'
import { readSchema } from './schema-source.ts'

const closed = (properties: Record<string, unknown>) => ({ type: 'object', properties, additionalProperties: false })
const kind = (name: string) => ({ kind: name })

describe('column types', () => {
  test.each<[string, JsonSchema | boolean, unknown]>([
    ['string', { type: 'string' }, kind('string')],
    ['date-time', { type: 'string', format: 'date-time' }, kind('timestamptz')],
    ['date', { type: 'string', format: 'date' }, kind('date')],
    ['time', { type: 'string', format: 'time' }, kind('time')],
    ['uuid', { type: 'string', format: 'uuid' }, kind('uuid')],
    ['another format', { type: 'string', format: 'email' }, kind('string')],
    ['integer', { type: 'integer' }, kind('long')],
    ['number', { type: 'number' }, kind('double')],
    ['integer or number', { type: ['integer', 'number'] }, kind('double')],
    ['boolean', { type: 'boolean' }, kind('boolean')],
    ['nullable by a list of types', { type: ['string', 'null'], format: 'date-time' }, kind('timestamptz')],
    ['nullable by anyOf', { anyOf: [{ type: 'integer' }, { type: 'null' }] }, kind('long')],
    ['nullable by oneOf', { oneOf: [{ type: 'null' }, { type: 'boolean' }] }, kind('boolean')],
    ['only null', { type: 'null' }, kind('json')],
    ['enum of strings', { enum: ['a', 'b', null] }, kind('string')],
    ['enum of integers', { enum: [1, 2] }, kind('long')],
    ['enum of numbers', { enum: [1, 2.5] }, kind('double')],
    ['enum beyond 64 bits', { enum: [2 ** 64] }, kind('double')],
    ['mixed enum', { enum: [1, 'a'] }, kind('json')],
    ['const', { const: true }, kind('boolean')],
    ['mixed union', { type: ['string', 'integer'] }, kind('json')],
    ['union of numbers', { anyOf: [{ type: 'integer' }, { type: 'number' }] }, kind('double')],
    ['union of texts', { anyOf: [{ type: 'string', format: 'date' }, { type: 'string' }] }, kind('string')],
    ['union with anything', { anyOf: [{ type: 'string' }, {}] }, kind('json')],
    ['anything', {}, kind('json')],
    ['true', true, kind('json')],
    ['limits without a type', { minLength: 3 }, kind('json')],
    [
      'type with alternatives of limits',
      { type: 'string', anyOf: [{ minLength: 3 }, { maxLength: 1 }] },
      kind('string'),
    ],
    ['list', { type: 'array', items: { type: 'string' } }, { kind: 'list', element: kind('string') }],
    ['list of anything', { type: 'array' }, { kind: 'list', element: kind('json') }],
    ['tuple', { type: 'array', prefixItems: [{ type: 'string' }] }, kind('json')],
    [
      'closed object',
      closed({ a: { type: 'integer' } }),
      { kind: 'struct', fields: [{ name: 'a', type: kind('long') }] },
    ],
    ['closed object without fields', closed({}), kind('json')],
    [
      'open object: what is not named would be lost',
      { type: 'object', properties: { a: { type: 'integer' } } },
      kind('json'),
    ],
    ['any object', { type: 'object' }, kind('json')],
    ['map', { type: 'object', additionalProperties: { type: 'number' } }, { kind: 'map', value: kind('double') }],
    ['map of anything', { type: 'object', additionalProperties: true }, kind('json')],
    ['patterned names', { type: 'object', patternProperties: { '^a': {} }, additionalProperties: false }, kind('json')],
    ['object or text', { anyOf: [closed({ a: { type: 'integer' } }), { type: 'string' }] }, kind('json')],
    ['allOf of one type', { allOf: [{ type: 'string' }, { minLength: 2 }] }, kind('string')],
    ['allOf of integer and number', { allOf: [{ type: 'number' }, { type: 'integer' }] }, kind('long')],
    ['allOf of different types', { allOf: [{ type: 'string' }, { type: 'integer' }] }, kind('json')],
    [
      'allOf of objects, sealed',
      {
        type: 'object',
        allOf: [{ properties: { a: { type: 'string' } } }, { properties: { b: { type: 'integer' } } }],
        unevaluatedProperties: false,
      },
      {
        kind: 'struct',
        fields: [
          { name: 'a', type: kind('string') },
          { name: 'b', type: kind('long') },
        ],
      },
    ],
  ])('%s', (_, schema, type) => {
    expect(columnTypeOf(schema, {})).toEqual(type)
  })

  test('local references are followed, and recursive ones are json', () => {
    const schema = {
      type: 'object',
      properties: { price: { $ref: '#/$defs/price' }, node: { $ref: '#/$defs/node' }, self: { $ref: '#' } },
      $defs: {
        price: { type: 'number' },
        node: closed({
          name: { type: 'string' },
          next: { $ref: '#/$defs/node' },
          all: { type: 'array', items: { $ref: '#/$defs/node' } },
        }),
      },
    }
    expect(columnsFromSchema(schema)).toEqual([
      { name: 'price', type: kind('double') },
      {
        name: 'node',
        type: {
          kind: 'struct',
          fields: [
            { name: 'name', type: kind('string') },
            { name: 'next', type: kind('json') },
            { name: 'all', type: { kind: 'list', element: kind('json') } },
          ],
        },
      },
      { name: 'self', type: kind('json') },
    ])
  })
})

function jsonOf(schema: z.ZodType): JsonSchema {
  const { source, mistakes } = readSchema(schema, 'schema')
  expect(mistakes).toEqual([])
  return source!.json
}

describe('zod types', () => {
  test('become columns', () => {
    const node = z.object({
      name: z.string(),
      get children() {
        return z.array(node)
      },
    })
    const schema = z.object({
      id: z.uuid(),
      price: z.number().optional(),
      size: z.int().nullable(),
      at: z.iso.datetime({ offset: true }),
      day: z.iso.date(),
      side: z.enum(['buy', 'sell']),
      venue: z.object({ name: z.string() }),
      open: z.looseObject({ name: z.string() }),
      tags: z.array(z.string()),
      prices: z.record(z.string(), z.number()),
      pair: z.tuple([z.string(), z.int()]),
      either: z.union([z.string(), z.int()]),
      any: z.unknown(),
      json: z.json(),
      node,
    })
    const types = Object.fromEntries(columnsFromSchema(jsonOf(schema)).map(({ name, type }) => [name, type]))
    expect(types).toEqual({
      id: kind('uuid'),
      price: kind('double'),
      size: kind('long'),
      at: kind('timestamptz'),
      day: kind('date'),
      side: kind('string'),
      venue: { kind: 'struct', fields: [{ name: 'name', type: kind('string') }] },
      open: kind('json'),
      tags: { kind: 'list', element: kind('string') },
      prices: { kind: 'map', value: kind('double') },
      pair: kind('json'),
      either: kind('json'),
      any: kind('json'),
      json: kind('json'),
      node: {
        kind: 'struct',
        fields: [
          { name: 'name', type: kind('string') },
          { name: 'children', type: { kind: 'list', element: kind('json') } },
        ],
      },
    })
  })

  test('of a union have the columns of every alternative, and require what all require', () => {
    const schema = jsonOf(
      z.discriminatedUnion('kind', [
        z.object({ kind: z.literal('a'), id: z.string(), x: z.int() }),
        z.object({ kind: z.literal('b'), id: z.string(), x: z.number(), y: z.boolean() }),
      ]),
    )
    expect(columnsFromSchema(schema)).toEqual([
      { name: 'kind', type: kind('string') },
      { name: 'id', type: kind('string') },
      { name: 'x', type: kind('double') },
      { name: 'y', type: kind('boolean') },
    ])
    const { fields, open } = objectShape(schema, schema)
    expect([...fields].filter(([, field]) => field.required).map(([name]) => name)).toEqual(['kind', 'id', 'x'])
    expect(open).toBe(false)
  })

  test.each([
    ['z.object', z.object({ a: z.string() }), false],
    ['z.strictObject', z.strictObject({ a: z.string() }), false],
    ['an intersection', z.object({ a: z.string() }).and(z.object({ b: z.string() })), false],
    ['z.looseObject', z.looseObject({ a: z.string() }), true],
    ['.catchall', z.object({ a: z.string() }).catchall(z.number()), true],
  ])('%s is open to unknown fields: %j', (_, schema, open) => {
    const json = jsonOf(schema)
    expect(objectShape(json, json).open).toBe(open)
  })
})

test.each<[string, JsonSchema, boolean]>([
  ['says nothing of others', { properties: { a: {} } }, true],
  ['allows others', { properties: { a: {} }, additionalProperties: true }, true],
  ['describes others', { properties: { a: {} }, additionalProperties: { type: 'number' } }, true],
  ['has patterns', { properties: { a: {} }, patternProperties: { b: {} }, additionalProperties: false }, true],
  ['refuses others', { properties: { a: {} }, additionalProperties: false }, false],
  ['is sealed', { properties: { a: {} }, unevaluatedProperties: false }, false],
  ['is sealed with conditions', { properties: { a: {} }, if: {}, else: {}, unevaluatedProperties: false }, true],
])('a JSON Schema that %s: open %j', (_, schema, open) => {
  expect(objectShape(schema, schema).open).toBe(open)
})
