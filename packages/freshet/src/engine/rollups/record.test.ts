import { expect, test } from 'vitest'
import type { RollupPlan } from '../../config/plan.ts'
import { definitionOf, formatRecord, rollupKey, rollupRecord, type RollupRecord } from './record.ts'

const plan: RollupPlan = {
  name: 'bars',
  from: 'trades',
  bucket: { ms: 60_000 },
  sql: 'SELECT 1',
  by: ['symbol'],
  partition: { unit: 'day' },
}

test('a record is read as it was written, ids beyond 2^53 too', () => {
  const full: RollupRecord = { from: 'trades', snapshot: 2n ** 62n + 1n, definition: 'abc' }
  for (const record of [full, { ...full, snapshot: null }]) {
    expect(rollupRecord({ properties: { [rollupKey]: formatRecord(record) } })).toEqual(record)
  }
})

test('what cannot be read is no record', () => {
  for (const text of [undefined, '', '{', 'null', '{}', '{"from":"a","definition":"b","snapshot":"x"}', '[1]']) {
    expect(rollupRecord({ properties: text === undefined ? {} : { [rollupKey]: text } })).toBeUndefined()
  }
})

test('the definition is what decides the rows, and not where they lie or how long', () => {
  const own = definitionOf(plan)
  expect(own).toMatch(/^[0-9a-f]{12}$/)
  expect(definitionOf({ ...plan, partition: { unit: 'month' }, retainMs: 5 })).toBe(own)
  for (const other of [{ sql: 'SELECT 2' }, { by: [] }, { from: 'orders' }, { bucket: { ms: 1000 } }]) {
    expect(definitionOf({ ...plan, ...other })).not.toBe(own)
  }
})
