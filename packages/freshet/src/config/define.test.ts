import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { defineConfig, stream, type Config, type IdField, type StreamConfig } from '../index.ts'

const trade = z.object({
  id: z.string(),
  number: z.int(),
  at: z.iso.datetime(),
  note: z.string().optional(),
  venue: z.string().nullable(),
  live: z.boolean(),
  legs: z.array(z.string()),
})

describe('types of id and time', () => {
  test('are the required fields of a zod object that can hold them', () => {
    expectTypeOf<IdField<typeof trade>>().toEqualTypeOf<'id' | 'number' | 'at'>()
  })

  test('leave unknown names of a loose object out', () => {
    const loose = z.looseObject({ id: z.string(), extra: z.number().optional() })
    expectTypeOf<IdField<typeof loose>>().toEqualTypeOf<'id'>()
  })

  test('are the fields that all alternatives of a union have', () => {
    const either = z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('a'), id: z.string(), x: z.string() }),
      z.object({ kind: z.literal('b'), id: z.string() }),
    ])
    expectTypeOf<IdField<typeof either>>().toEqualTypeOf<'kind' | 'id'>()
  })

  test('are the properties of a JSON Schema, or any text where those are not all', () => {
    expectTypeOf<IdField<{ type: 'object'; properties: { id: object; at: object } }>>().toEqualTypeOf<'id' | 'at'>()
    expectTypeOf<IdField<{ allOf: object[]; properties: { id: object } }>>().toEqualTypeOf<string>()
    expectTypeOf<IdField<{ type: 'object' }>>().toEqualTypeOf<string>()
  })

  test('refuse other names', () => {
    // @ts-expect-error a misspelt field
    stream({ schema: trade, id: 'idd' })
    // @ts-expect-error an optional field
    stream({ schema: trade, id: 'note' })
    // @ts-expect-error a field of another type
    stream({ schema: trade, time: 'live' })
    // @ts-expect-error a unit that does not exist
    stream({ schema: trade, time: 'number', timeUnit: 'minutes' })
    // @ts-expect-error a partition that does not exist
    stream({ schema: trade, partition: 'year' })
    // @ts-expect-error an unknown key
    stream({ schema: trade, partiton: 'day' })
    // @ts-expect-error a property that the JSON Schema lacks
    stream({ schema: { type: 'object', properties: { id: { type: 'string' } } }, id: 'key' })
    expectTypeOf(stream({ schema: trade, id: 'id', time: 'at', partition: 'hour' })).toExtend<StreamConfig>()
  })
})

test('sizes and durations are numbers or text with a known unit', () => {
  expectTypeOf<{ limits: { body: '16 MiB' }; lake: { flushInterval: '2 minutes' } }>().toExtend<Config>()
  // @ts-expect-error an unknown unit
  defineConfig({ limits: { body: '16 megs' } })
  // @ts-expect-error no unit
  defineConfig({ sql: { timeout: '10' } })
  expectTypeOf(defineConfig({ http: { port: 1 }, streams: { any: {} } })).toEqualTypeOf<Config>()
})

test('the helpers return what they were given', () => {
  const trades = { schema: trade, id: 'id' as const }
  expect(stream(trades)).toBe(trades)
  const config = { streams: { trades } }
  expect(defineConfig(config)).toBe(config)
})
