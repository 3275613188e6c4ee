import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { checkOptions, errorOf, linesOf } from '../../test/support/config-mistakes.ts'
import { bucket, env, objectEvents, stream } from '../index.ts'
import { checkConfig } from './check.ts'
import type { BucketPlan } from './plan.ts'

const arrivals = stream({ schema: objectEvents, id: 'id', time: 'put_at' })
const key = randomBytes(32).toString('base64')

function plan(words: Record<string, unknown>): BucketPlan {
  const config = { streams: { arrivals }, buckets: { logs: { stream: arrivals, ...words } } }
  return checkConfig(config, checkOptions).buckets['logs']!
}

const lines = (words: unknown, streams: Record<string, unknown> = { arrivals }): string[] =>
  linesOf({ streams, buckets: { logs: words } })

describe('buckets', () => {
  test('need a stream, and have defaults for the rest', () => {
    expect(plan({})).toEqual({
      name: 'logs',
      stream: 'arrivals',
      objectBytesMax: 5 * 2 ** 30,
      compress: 3,
      keepDeletedMs: 7 * 86_400_000,
      encrypt: null,
    })
    expect(bucket({ stream: arrivals, keepDeleted: '1 day' })).toEqual({ stream: arrivals, keepDeleted: '1 day' })
  })

  test('take what is said', () => {
    const words = { maxObject: '1 MiB', compress: false, keepDeleted: '1 h', encrypt: { keys: [env('NEW_KEY'), key] } }
    expect(plan(words)).toMatchObject({
      objectBytesMax: 2 ** 20,
      compress: null,
      keepDeletedMs: 3_600_000,
      encrypt: { keys: [{ env: 'NEW_KEY' }, key] },
    })
    expect(plan({ compress: 19, encrypt: { keys: env('KEY') } })).toMatchObject({
      compress: 19,
      encrypt: { keys: [{ env: 'KEY' }] },
    })
  })

  test('what is wrong is named', () => {
    expect(lines({ stream: 'arivals' })[0]).toMatch(/buckets\.logs\.stream.*"arivals".*arrivals/)
    expect(lines({ stream: 'arrivals', compress: 20 })[0]).toMatch(/buckets\.logs\.compress.*1 to 19/)
    expect(lines({ stream: 'arrivals', maxObjekt: 1 })[0]).toMatch(/maxObject/)
    expect(lines({ stream: 'arrivals', encrypt: {} })[0]).toMatch(/buckets\.logs\.encrypt\.keys/)
    expect(lines({ stream: 'arrivals', encrypt: { keys: [] } })[0]).toMatch(/at least one key/)
  })

  test.each<[string, unknown]>([
    ['too short', { keys: 'c2hvcnQ=' }],
    ['in another alphabet', { keys: [`${key.slice(0, 20)}-_${key.slice(22)}`] }],
    ['in the wrong place', key],
    ['in a list in the wrong place', [key]],
    ['beside one that is no text', { keys: [key, 7] }],
    ['under an unknown name', { key }],
  ])('a key that is %s is never shown', (_, encrypt) => {
    const error = errorOf({ streams: { arrivals }, buckets: { logs: { stream: 'arrivals', encrypt } } })
    const shown = `${error.message} ${JSON.stringify(error.extra)} ${String(error.hint)}`
    expect(shown).toContain('buckets.logs.encrypt')
    expect(shown).not.toContain(key.slice(0, 12))
    expect(shown).not.toContain('c2hvcnQ')
  })
})

describe('the stream of a bucket', () => {
  test.each<[string, Record<string, unknown>]>([
    ['the schema that is given', { schema: objectEvents, id: 'id', time: 'put_at' }],
    ['none', { id: 'id' }],
    ['one that says less', { schema: z.looseObject({ id: z.string(), key: z.string() }), id: 'id' }],
    [
      'one in JSON Schema',
      { schema: { type: 'object', properties: { id: { type: 'string' } }, required: ['id', 'sha256'] }, id: 'id' },
    ],
  ])('may have %s for a schema', (_, words) => {
    const config = { streams: { arrivals: words }, buckets: { logs: { stream: 'arrivals' } } }
    expect(checkConfig(config, checkOptions).buckets['logs']).toMatchObject({ stream: 'arrivals' })
  })

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['wants a field that events do not have', { schema: objectEvents.extend({ host: z.string() }), id: 'id' }, /host/],
    [
      'has another type for one',
      { schema: z.looseObject({ id: z.string(), size: z.string() }), id: 'id' },
      /size must be string/,
    ],
    [
      'knows too few',
      { schema: z.object({ id: z.string(), key: z.string() }), id: 'id' },
      /additional properties: bucket/,
    ],
    [
      'refuses removals',
      { schema: objectEvents.extend({ deleted: z.literal(false) }), id: 'id' },
      /deleted must be equal/,
    ],
    ['has no id', { schema: objectEvents, time: 'put_at' }, /must have id: "id"/],
    ['has another id', { schema: objectEvents, id: 'sha256' }, /must have id: "id"/],
    ['is made of another one', { from: 'raw', each: () => null, id: 'id' }, /is made of another one/],
  ])('is refused when it %s, with the mend', (_, words, reason) => {
    const [line, ...more] = lines({ stream: 'arrivals' }, { arrivals: words, raw: {} })
    expect(line).toMatch(reason)
    expect(line).toMatch(/^buckets\.logs\.stream.*objectEvents/)
    expect(more).toEqual([])
  })
})
