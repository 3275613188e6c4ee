import { describe, expect, test } from 'vitest'
import { systemRandom } from '../runtime/random.ts'
import { IdMaker, idIndex, idText } from './event-id.ts'
import { Refusal } from './refusal.ts'

const idOf = (raw: string): string | Refusal => idText((JSON.parse(raw) as { id?: unknown }).id, raw, 'id')

describe('ids from a field', () => {
  test.each([
    ['{"id":"a-1"}', '"a-1"'],
    [String.raw`{"id":"a\"b\\c"}`, String.raw`"a\"b\\c"`],
    [String.raw`{"id":"caf\u00e9"}`, '"café"'],
    [String.raw`{"id":"a\/b"}`, '"a/b"'],
    ['{"id":42}', '"42"'],
    ['{"id":-0}', '"0"'],
    ['{"id":9007199254740993}', '"9007199254740993"'],
    ['{"other":{"id":1},"id":123456789012345678901234567890,"more":[{"id":2}]}', '"123456789012345678901234567890"'],
  ])('%s is stored as %s', (raw, stored) => {
    expect(idOf(raw)).toBe(stored.slice(1, -1))
  })

  test.each([
    ['{}', /missing/],
    ['{"id":""}', /empty/],
    ['{"id":null}', /text or an integer/],
    ['{"id":true}', /text or an integer/],
    ['{"id":1.5}', /plain digits/],
    ['{"id":1e300}', /plain digits/],
    [String.raw`{"id":"a\nb"}`, /control/],
    [String.raw`{"id":"a\u0085b"}`, /control/],
    [String.raw`{"id":"\ud800"}`, /surrogate/],
    [`{"id":"${'x'.repeat(513)}"}`, /longer/],
    [`{"id":"${'é'.repeat(257)}"}`, /longer/],
    [`{"id":${'9'.repeat(513)}}`, /digits/],
  ])('%.60s is refused', (raw, reason) => {
    expect((idOf(raw) as Refusal).reason).toMatch(reason)
  })
})

test('made ids are unique and sort by time, batch and index', () => {
  const maker = new IdMaker(systemRandom)
  const ids: string[] = []
  for (const ms of [1000, 1000, 1001, 1_763_670_000_000]) {
    const start = maker.batch(ms)
    for (const index of [0, 1, 15, 16, 9999, 10_001, 500_000]) ids.push(start + idIndex(index))
  }
  expect(new Set(ids).size).toBe(ids.length)
  expect(ids.toSorted()).toEqual(ids)
})
