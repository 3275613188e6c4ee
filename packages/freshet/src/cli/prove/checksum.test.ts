import { expect, test } from 'vitest'
import { checksumOf } from './checksum.ts'

const event = {
  prove_at: '2026-11-20T14:30:00.120Z',
  price: 1.5,
  count: 7,
  note: 'a "b"',
  place: { lat: 1, lon: -2.25 },
  tags: ['x', 'y'],
  on: true,
}

test('is the same for every way in which SQL may give an event back', () => {
  const sum = checksumOf(event)
  expect(checksumOf({ ...event, gone: null, empty: [], nothing: {}, blank: '' })).toBe(sum)
  expect(checksumOf({ ...event, prove_at: '2026-11-20 14:30:00.12+00', _event_id: 'x', _source: null })).toBe(sum)
  expect(checksumOf({ ...event, price: '1.50', count: '7', on: 'true' })).toBe(sum)
  expect(checksumOf({ ...event, place: '{"lon":-2.25,"lat":1.0,"height":null}', tags: '["x","y"]' })).toBe(sum)
})

test.each([
  ['another value', { price: 1.51 }],
  ['a value that is gone', { note: null }],
  ['a value in another field', { note: undefined, note2: 'a "b"' }],
  ['another moment', { prove_at: '2026-11-20T14:30:00.121Z' }],
  ['another order of a list', { tags: ['y', 'x'] }],
  ['a value deep inside', { place: { lat: 1, lon: 2.25 } }],
  ['a number with more digits', { count: 7.0000001 }],
  ['text with leading zeros', { count: '07' }],
])('tells %s', (_what, change) => {
  expect(checksumOf({ ...event, ...change })).not.toBe(checksumOf(event))
})
