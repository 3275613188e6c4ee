import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { beforeAll, expect, test } from 'vitest'
import { literalHash, readPredicate, type Predicate } from './predicate.ts'

let connection: DuckDBConnection

beforeAll(async () => {
  connection = await (await DuckDBInstance.create(':memory:')).connect()
})

const columns = ['_event_id', '_event_time', 'customer_id', 'amount', 'note', 'address', 'tags']

function read(where: string): Promise<Predicate> {
  return readPredicate(connection, where, { stream: 'orders', columns, salt: 's' })
}

const hash = (text: string): string => `'${literalHash(text, 's')}'`

test('a condition, with its values and without them', async () => {
  const where = `customer_id = 'it''s c-17' AND (amount > 5.25 OR amount IN (-9007199254740993, 1e10)) AND note IS NOT NULL`
  const found = await read(where)
  expect(found.where).toBe(where)
  expect(found.literals).toEqual([
    { kind: 'string', text: "it's c-17" },
    { kind: 'number', text: '5.25' },
    { kind: 'number', text: '-9007199254740993' },
    { kind: 'number', text: '1e10' },
  ])
  expect(found.redacted).toBe(
    `customer_id = ${hash("it's c-17")} AND (amount > ${hash('5.25')} OR amount IN (${hash('-9007199254740993')}, ` +
      `${hash('1e10')})) AND note IS NOT NULL`,
  )
})

test('values are found behind characters of several bytes', async () => {
  const found = await read(`note = 'żółć 🦆' AND customer_id = 'Ünal'`)
  expect(found.literals.map(({ text }) => text)).toEqual(['żółć 🦆', 'Ünal'])
  expect(found.redacted).toBe(`note = ${hash('żółć 🦆')} AND customer_id = ${hash('Ünal')}`)
})

test('a former name is refused, with the present one', async () => {
  const context = { stream: 'orders', columns, former: new Map([['Client', 'customer_id']]), salt: 's' }
  await expect(readPredicate(connection, "client = 'c-17'", context)).rejects.toMatchObject({
    code: 'forbidden_sql',
    hint: expect.stringContaining('customer_id'),
  })
})

test('dates, nested fields, lambdas and names with the stream in front', async () => {
  const found = await read(
    `orders.customer_id = 'c' AND address.zip = '8000' AND list_any_value(list_filter(tags, lambda t: t = 'vip')) IS NOT NULL
     AND _event_time < TIMESTAMPTZ '2020-01-01 00:00:00Z'`,
  )
  expect(found.literals.map(({ text }) => text)).toEqual(['c', '8000', 'vip', '2020-01-01 00:00:00Z'])
})

test('where a value might remain in the text, nothing of the text does', async () => {
  const all = await read(`customer_id = 'secret-17' /* was secret-17 */`)
  expect(all.redacted).toBe(literalHash(`customer_id = 'secret-17' /* was secret-17 */`, 's'))
  const dollars = await read('customer_id = $$secret-17$$')
  expect(dollars.redacted).not.toContain('secret')
  const escaped = await read(`customer_id = E'secret\\x2d17'`)
  expect(escaped.literals).toEqual([{ kind: 'string', text: 'secret-17' }])
  expect(escaped.redacted).not.toContain('secret')
})

test.each([
  ['true) OR (false', 'invalid_sql'],
  ['', 'invalid_sql'],
  ["customer_id = 'c' LIMIT 1", 'forbidden_sql'],
  ["customer_id = 'c' GROUP BY ALL", 'forbidden_sql'],
  ["customer_id = 'c' ORDER BY 1", 'forbidden_sql'],
  ["customer_id = 'c' UNION SELECT 2", 'forbidden_sql'],
  ["customer_id = 'c'; SELECT 1", 'forbidden_sql'],
  ['customer_id IN (SELECT customer_id FROM orders)', 'forbidden_sql'],
  ['customer_id = $id', 'forbidden_sql'],
  ['_event_time < now()', 'forbidden_sql'],
  ['_event_time < current_date', 'forbidden_sql'],
  ['random() < 0.5', 'forbidden_sql'],
  ['row_number() OVER () = 1', 'forbidden_sql'],
  ["nobody = 'c'", 'forbidden_sql'],
  ["getenv('HOME') = customer_id", 'forbidden_sql'],
  ["customer_id = 'c' -- AND", undefined],
  ['customer_id = ', 'invalid_sql'],
])('%s: %s', async (where, code) => {
  const outcome = await read(where).then(
    () => undefined,
    (error: { code: string }) => error.code,
  )
  expect(outcome).toBe(code)
})

test('a mistake is placed in the condition', async () => {
  await expect(read('customer_id = \n = 3')).rejects.toMatchObject({ extra: { line: 2 } })
})
