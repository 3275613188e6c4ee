import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { describe, expect, test } from 'vitest'
import { eventSchema } from './event-schema.ts'
import type { StreamPlan } from './plan.ts'

function validator(stream: Partial<StreamPlan>): (event: unknown) => boolean {
  const ajv = new Ajv2020({ strict: false, validateFormats: true })
  addFormats.default(ajv)
  const validate = ajv.compile(eventSchema({ schema: null, id: null, time: null, ...stream }))
  return (event) => validate(event)
}

test('any object will do without a schema', () => {
  const valid = validator({})
  expect(valid({ a: 1 })).toBe(true)
  expect(valid([])).toBe(false)
  expect(valid('a')).toBe(false)
})

test('an integer fits a 64-bit column', () => {
  const valid = validator({ schema: { properties: { n: { type: 'integer' }, deep: { items: { type: 'integer' } } } } })
  expect(valid({ n: -(2 ** 63) })).toBe(true)
  expect(valid({ n: 2 ** 63 - 1024 })).toBe(true)
  expect(valid({ n: 2 ** 63 })).toBe(false)
  expect(valid({ n: -(2 ** 64) })).toBe(false)
  expect(valid({ deep: [2 ** 63] })).toBe(false)
})

test('narrower bounds of the user stay, wider ones give way', () => {
  expect(
    eventSchema({ schema: { properties: { a: { type: 'integer', minimum: 1, maximum: 5 } } }, id: null, time: null }),
  ).toEqual({
    type: 'object',
    properties: { a: { type: 'integer', minimum: 1, maximum: 5 } },
  })
  const valid = validator({ schema: { properties: { a: { type: 'integer', maximum: 1e30, exclusiveMaximum: 10 } } } })
  expect(valid({ a: 9 })).toBe(true)
  expect(valid({ a: 10 })).toBe(false)
})

describe('an id', () => {
  const valid = validator({ id: 'id' })

  test('is there in every event, as text or as an integer', () => {
    expect(valid({ id: 'a' })).toBe(true)
    expect(valid({ id: 7 })).toBe(true)
    expect(valid({})).toBe(false)
    expect(valid({ id: null })).toBe(false)
    expect(valid({ id: 1.5 })).toBe(false)
    expect(valid({ id: '' })).toBe(false)
  })

  test('I5: never is an integer that another one would round to', () => {
    expect(valid({ id: Number.MAX_SAFE_INTEGER })).toBe(true)
    expect(valid(JSON.parse('{"id":9007199254740993}'))).toBe(false)
  })
})

test('an event time is there, in the form that was declared', () => {
  const iso = validator({ time: { field: 'at', unit: 'iso' } })
  expect(iso({ at: '2026-01-02T03:04:05Z' })).toBe(true)
  expect(iso({ at: '2026-01-02' })).toBe(false)
  expect(iso({ at: 1 })).toBe(false)
  const ms = validator({ time: { field: 'at', unit: 'ms' } })
  expect(ms({ at: 1_700_000_000_000 })).toBe(true)
  expect(ms({ at: 1_700_000_000_000_000 })).toBe(false)
  expect(ms({ at: '2026-01-02T03:04:05Z' })).toBe(false)
})

test('a closed schema stays closed when id and time are added', () => {
  const schema = {
    type: 'object',
    properties: { id: { type: 'string' } },
    required: ['id'],
    additionalProperties: false,
  }
  const valid = validator({ schema, id: 'id' })
  expect(valid({ id: 'a' })).toBe(true)
  expect(valid({ id: 'a', b: 1 })).toBe(false)
})

test('only keywords are touched: fields and values that are called like them stay', () => {
  const schema = {
    properties: { format: { type: 'string', format: 'made-up' }, type: { const: { type: 'integer' } } },
  }
  expect(eventSchema({ schema, id: null, time: null })).toEqual({
    type: 'object',
    properties: { format: { type: 'string' }, type: { const: { type: 'integer' } } },
  })
})
