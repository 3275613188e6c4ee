import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { beforeAll, expect, test } from 'vitest'
import { eventNaming } from '../../config/field-names.ts'
import type { Column, Rename } from '../../config/plan.ts'
import { literal } from '../sql-text.ts'
import { letterCondition } from './letters.ts'
import type { Literal } from './predicate.ts'
import { emptyReport, type ErasureRecord } from './record.ts'

let connection: DuckDBConnection
beforeAll(async () => {
  connection = await (await DuckDBInstance.create(':memory:')).connect()
})

const columns: Column[] = [
  { name: '_event_id', type: { kind: 'string' } },
  { name: 'customer_id', type: { kind: 'string' } },
  { name: 'amount', type: { kind: 'double' } },
  // As a column of dead letters is called.
  { name: 'reason', type: { kind: 'string' } },
  { name: 'address', type: { kind: 'struct', fields: [{ name: 'zip', type: { kind: 'string' } }] } },
]

/** Whether an erasure of `orders` means a dead letter. */
async function means(
  where: string,
  literals: string[],
  event: string,
  { eventId, renames }: { eventId?: string; renames?: Rename[] } = {},
): Promise<boolean> {
  const record: ErasureRecord = {
    format: 1,
    id: 'e',
    stream: 'orders',
    state: 'rewriting',
    requestedAt: '',
    requestedBy: null,
    untilMs: 0,
    position: '0',
    where,
    literals: literals.map((text): Literal => ({ kind: 'string', text })),
    redacted: '',
    finishedAt: null,
    waitingFor: null,
    report: emptyReport(),
  }
  const letters = `SELECT 'no good' AS reason, ${literal(event)} AS event, ${eventId ? literal(eventId) : 'NULL'} AS event_id`
  const condition = `coalesce(${letterCondition(record, columns, eventNaming(renames))}, false)`
  const result = await connection.runAndReadAll(`SELECT count(*) FROM (${letters}) WHERE ${condition}`)
  return Number(result.getRows()[0]![0]) === 1
}

const where = "customer_id = 'c-17'"

test.each([
  ['an event that fulfils the condition', '{"customer_id":"c-17","amount":"x"}', true],
  ['one that does not', '{"customer_id":"c-18","amount":"c-17"}', false],
  ['one without the column, that has the text', '{"custmer_id":"c-17"}', true],
  ['one without either', '{"custmer_id":"c-18"}', false],
  ['no JSON, that has the text', '{"customer_id":"c-17",,,', true],
  ['no JSON, without it', '{"customer_id":"c-18",,,', false],
])('%s', async (_, event, expected) => {
  expect(await means(where, ['c-17'], event)).toBe(expected)
})

test('an event is known by its id where its text does not have it', async () => {
  const id = "_event_id = 'e-17'"
  expect(await means(id, ['e-17'], '{"customer_id":"c-17"}', { eventId: 'e-17' })).toBe(true)
  expect(await means(id, ['e-17'], '{"customer_id":"e-17"}', { eventId: 'e-18' })).toBe(false)
  expect(await means(id, ['e-17'], '{"_event_id":"e-18"}', { eventId: 'e-17' })).toBe(false)
})

test('columns are those of the event, nested ones too, whatever the letters have', async () => {
  expect(await means("reason = 'returned'", ['returned'], '{"reason":"returned"}')).toBe(true)
  expect(await means("reason = 'no good'", ['no good'], '{"reason":"returned"}')).toBe(false)
  expect(await means("address.zip = '8000'", ['8000'], '{"address":{"zip":"8000"},"amount":"x"}')).toBe(true)
  expect(await means("address.zip = '8000'", ['8000'], '{"address":{"zip":"9000"},"customer_id":"8000"}')).toBe(false)
})

test('where nothing can be decided all texts have to be there, as JSON writes them', async () => {
  const both = `customer_id = 'c"17' AND reason = 'gone'`
  expect(await means(both, ['c"17', 'gone'], '["c\\"17","gone"')).toBe(true)
  expect(await means(both, ['c"17', 'gone'], '["c\\"17"')).toBe(false)
})

test('a letter that uses a former name is decided like any other', async () => {
  const renames: Rename[] = [
    { path: ['customer_id'], former: ['client', 'customer'] },
    { path: ['address', 'zip'], former: ['postcode'] },
  ]
  // The texts alone would say otherwise.
  expect(await means("customer_id = 'c-17'", ['c-17'], '{"client":"c-17"}', { renames })).toBe(true)
  expect(await means("customer_id = 'c-17'", ['c-17'], '{"client":"c-18","amount":"c-17"}', { renames })).toBe(false)
  expect(await means("customer_id <> 'c-17'", ['c-17'], '{"customer":"c-18"}', { renames })).toBe(true)
  expect(await means("customer_id <> 'c-17'", ['c-17'], '{"client":"c-17"}', { renames })).toBe(false)
  const zip = "address.zip = '8000'"
  expect(await means(zip, ['8000'], '{"address":{"postcode":"8000"}}', { renames })).toBe(true)
  expect(await means(zip, ['8000'], '{"address":{"postcode":"9000"},"customer_id":"8000"}', { renames })).toBe(false)
})
