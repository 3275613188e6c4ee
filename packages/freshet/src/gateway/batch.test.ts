import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { plainPlan, testPlan, tradesPlan } from '../../test/support/gateway-lab.ts'
import { systemRandom } from '../runtime/random.ts'
import { Arrival } from '../events/arrival.ts'
import { readBatch, type ReadyBatch } from './batch.ts'
import { toText } from './decode.ts'
import { IdMaker } from '../events/event-id.ts'
import type { BodyForm } from './events.ts'
import { ChunkPool } from '../events/lines.ts'
import { StreamDoors } from './streams.ts'
import { batchColumns } from '../events/system-columns.ts'

const plan = testPlan('/nowhere')
const doors = new StreamDoors(plan)
const arrival = new Arrival({ nowMs: () => 1_763_670_000_000 })
const ids = new IdMaker(systemRandom)
const pool = new ChunkPool()

function read(
  text: string | Buffer,
  form: BodyForm,
  stream = 'plain',
  source?: string,
): ReadyBatch & { text: string[] } {
  const batch = readBatch({
    body: toText(Buffer.from(text)),
    form,
    door: doors.find(stream),
    columns: batchColumns(arrival, ids, source),
    limits: plan.limits,
    pool,
  })
  const stored = Buffer.concat(batch.lines.finish()).toString('utf8')
  batch.lines.release()
  return { ...batch, text: stored === '' ? [] : stored.replace(/\n$/, '').split('\n') }
}

test('a stored line is the system columns, a comma, and the bytes of the client', () => {
  const raw = '{ "id":"t-1","at":"2026-01-01T00:00:00+01:00","price":1.2300000000000000000001e0}'
  expect(read(raw, 'json', 'trades', 'site-1').text).toEqual([
    '{"_event_id":"t-1","_event_time":"2025-12-31T23:00:00Z","_received_at":"2025-11-20T20:20:00.000Z","_source":"site-1",' +
      ' "id":"t-1","at":"2026-01-01T00:00:00+01:00","price":1.2300000000000000000001e0}',
  ])
})

test.each(['{}', '{ }', `{${' '.repeat(100)}}`, '{\n}'])('an empty event (%j) is a valid line', (raw) => {
  expect(Object.keys(JSON.parse(read(raw, 'json').text[0]!) as object)).toEqual([
    '_event_id',
    '_event_time',
    '_received_at',
  ])
})

test('an id that is escaped in an ASCII body is stored as UTF-8', () => {
  const raw = String.raw`{"id":"caf\u00e9","at":"2026-01-01T00:00:00Z","price":1}`
  const { text } = read(`${raw}\n`.repeat(100), 'ndjson', 'trades')
  expect(text).toHaveLength(100)
  expect(text[99]).toContain('{"_event_id":"café",')
})

test('line ends inside an event become spaces, also a lone carriage return', () => {
  expect(read('[{\r\n "a":\r1,\n"b":"x\\ny" }]', 'json').text[0]).toMatch(/,  {2}"a": 1, "b":"x\\ny" }$/)
  expect(read('{"a":\r1}\r\n{"b":2}\r\n', 'ndjson').text.map((line) => line.slice(-8))).toEqual([
    ',"a": 1}',
    'Z","b":2}'.slice(-8),
  ])
})

describe('any events', () => {
  const value = fc.jsonValue({ noUnicodeString: false, maxDepth: 3 })
  const event = fc.dictionary(
    fc.string({ unit: 'grapheme' }).filter((key) => !key.startsWith('_')),
    value,
    { maxKeys: 6 },
  )
  const space = fc.constantFrom('', ' ', '\t', '  ')
  const raws = fc.array(fc.tuple(event, space, space), { minLength: 1, maxLength: 80 })

  test('accepted lines parse back to the event and hold its bytes, in either form', () => {
    fc.assert(
      fc.property(raws, fc.boolean(), (list, asArray) => {
        const texts = list.map(([object]) => JSON.stringify(object))
        const padded = list.map(([, before, after], index) => before + texts[index]! + after)
        const batch = asArray ? read(`[${padded.join(',')}]`, 'json') : read(padded.join('\r\n'), 'ndjson')
        expect(batch.errors).toEqual([])
        expect(batch.text).toHaveLength(list.length)
        for (const [index, line] of batch.text.entries()) {
          const { _event_id, _event_time, _received_at, ...own } = JSON.parse(line) as Record<string, unknown>
          expect(own).toEqual(JSON.parse(texts[index]!))
          expect([_event_id, _event_time, _received_at]).toEqual([
            expect.any(String),
            expect.any(String),
            expect.any(String),
          ])
          expect(line.endsWith(texts[index]!.slice(1))).toBe(true)
        }
      }),
    )
  })

  test('lines of a batch larger than a chunk of memory come out whole', () => {
    const events = Array.from({ length: 900 }, (_, index) => ({ index, text: 'é'.repeat(index % 200) }))
    const { text } = read(events.map((item) => JSON.stringify(item)).join('\n'), 'ndjson')
    expect(text.map((line) => (JSON.parse(line) as { index: number }).index)).toEqual(events.map(({ index }) => index))
  })
})

describe('rejected events', () => {
  test.each([
    ['[1]', 'invalid_event', /object/],
    ['"x"', 'invalid_event', /object/],
    ['null', 'invalid_event', /object/],
    ['{"a":1e999}', 'invalid_event', /large/],
    ['{"a":[{"b":-1e999}]}', 'invalid_event', /large/],
    [String.raw`{"a":"\ud800"}`, 'invalid_event', /surrogate/],
    [String.raw`{"\uDC00":1}`, 'invalid_event', /surrogate/],
    [String.raw`{"\u005fevent_id":1}`, 'invalid_event', /reserved/],
    ['{"a":[[[[[[[[1]]]]]]]]}', 'event_too_deep', /nested/],
    [`{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`, 'event_too_deep', /levels/],
    [`{"a":"${'x'.repeat(65_536)}"}`, 'event_too_large', /bytes/],
    [`{"a":"${'é'.repeat(33_000)}"}`, 'event_too_large', /bytes/],
    ['{"a":1', 'invalid_json', /^line 2, column 7: it ends/],
    ['{"a":1}{"b":2}', 'invalid_json', /nothing more/],
  ])('%.40s', (raw, code, reason) => {
    const batch = read(`{"ok":1}\n${raw}\n{"ok":2}`, 'ndjson')
    expect(batch.count).toBe(2)
    expect(batch.errors).toEqual([expect.objectContaining({ index: 1, code, reason: expect.stringMatching(reason) })])
  })

  test.each([
    [{ at: '2026-01-01T00:00:00Z' }, '/id'],
    [{ id: 'x', at: '2026-01-01T00:00:60Z' }, '/at'],
    [{ id: 'x' }, '/at'],
  ])('%j names the field', (event, path) => {
    const loose = new StreamDoors({ ...plan, streams: { trades: { ...tradesPlan, schema: null } } }).find('trades')
    const columns = batchColumns(arrival, ids, undefined)
    const body = toText(Buffer.from(JSON.stringify(event)))
    const { errors } = readBatch({ body, form: 'json', door: loose, columns, limits: plan.limits, pool })
    expect(errors).toEqual([expect.objectContaining({ code: 'invalid_event', path })])
  })

  test('nesting at the limit is accepted', () => {
    expect(read('{"a":[[[[[[[1]]]]]]]}', 'json').errors).toEqual([])
  })

  test('paired surrogate escapes and NUL are text like any other', () => {
    expect(read(String.raw`{"a":"\ud83d\ude00\u0000"}`, 'json').errors).toEqual([])
  })
})

test('arrival times never go back when the clock does', () => {
  const times = [2000, 1000, 2500]
  const moved = new Arrival({ nowMs: () => times.shift()! })
  expect([moved.nowMs(), moved.nowMs(), moved.nowMs()]).toEqual([2000, 2000, 2500])
  expect(moved.text()).toBe('1970-01-01T00:00:02.500Z')
})

test('a plan without id and time gives events unique ids and their arrival time', () => {
  expect(plainPlan.id).toBeNull()
  const lines = read('[{},{},{}]', 'json').text.map((line) => JSON.parse(line) as Record<string, string>)
  expect(new Set(lines.map((line) => line['_event_id'])).size).toBe(3)
  for (const line of lines) expect(line['_event_time']).toBe(line['_received_at'])
})
