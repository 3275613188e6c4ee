import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { expect, test } from 'vitest'
import { eventSchema } from './event-schema.ts'
import type { JsonSchema } from './define.ts'

function validator(schema: JsonSchema): (event: unknown) => boolean {
  const ajv = new Ajv2020({ strict: false, validateFormats: true })
  addFormats.default(ajv)
  const validate = ajv.compile(eventSchema(schema))
  return (event) => validate(event)
}

test('only objects are events', () => {
  const valid = validator({})
  expect(valid({ a: 1 })).toBe(true)
  expect(valid([])).toBe(false)
  expect(valid('a')).toBe(false)
})

test('an integer fits a 64-bit column', () => {
  const valid = validator({ properties: { n: { type: 'integer' }, deep: { items: { type: 'integer' } } } })
  expect(valid({ n: -(2 ** 63) })).toBe(true)
  expect(valid({ n: 2 ** 63 - 1024 })).toBe(true)
  expect(valid({ n: 2 ** 63 })).toBe(false)
  expect(valid({ n: -(2 ** 64) })).toBe(false)
  expect(valid({ deep: [2 ** 63] })).toBe(false)
})

test('narrower bounds of the user stay, wider ones give way', () => {
  expect(eventSchema({ properties: { a: { type: 'integer', minimum: 1, maximum: 5 } } })).toEqual({
    type: 'object',
    properties: { a: { type: 'integer', minimum: 1, maximum: 5 } },
  })
  const valid = validator({ properties: { a: { type: 'integer', maximum: 1e30, exclusiveMaximum: 10 } } })
  expect(valid({ a: 9 })).toBe(true)
  expect(valid({ a: 10 })).toBe(false)
})

test('only keywords are touched: fields and values that are called like them stay', () => {
  const schema = {
    properties: { format: { type: 'string', format: 'made-up' }, type: { const: { type: 'integer' } } },
  }
  expect(eventSchema(schema)).toEqual({
    type: 'object',
    properties: { format: { type: 'string' }, type: { const: { type: 'integer' } } },
  })
})
