import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SqlRow, SqlTable } from './sql-target.ts'
import { stepsOf } from './steps.ts'
import type { ReadRows } from './values.ts'

const table: SqlTable = {
  name: { name: 't' },
  columns: [
    { field: 'id', name: 'id', type: 'text', form: 'text', key: true, changes: false },
    { field: 'n', name: 'n', type: 'bigint', form: 'number', key: false, changes: true },
  ],
  newest: undefined,
  mode: 'upsert',
  exactKeys: true,
}

interface Op {
  id: string
  removes: boolean
}

function batchOf(ops: readonly Op[], exact = true): ReadRows {
  const rows: SqlRow[] = ops.map(({ id }, index) => ({ index, values: [id, String(index)] }))
  const removals = new Set([...ops.keys()].filter((index) => ops[index]!.removes))
  return { rows, removals, refused: new Map(), exact }
}

/** What a table holds after the events, one by one; a column that events do not write starts anew with each row. */
function oneByOne(ops: readonly Op[], there: readonly string[]): Map<string, { n: string; age: string }> {
  const held = new Map(there.map((id) => [id, { n: 'old', age: 'old' }]))
  for (const [index, { id, removes }] of ops.entries()) {
    if (removes) held.delete(id)
    else held.set(id, { n: String(index), age: held.get(id)?.age ?? 'fresh' })
  }
  return held
}

/** The same by steps, as a database does them. */
function byStep(rows: ReadRows, of: SqlTable, there: readonly string[]): Map<string, { n: string; age: string }> {
  const held = new Map(there.map((id) => [id, { n: 'old', age: 'old' }]))
  for (const step of stepsOf(rows, of, false)) {
    const keys = step.write.map(({ values }) => values[0])
    if (!step.repeats) expect(new Set(keys).size).toBe(keys.length)
    for (const { values } of step.remove) held.delete(values[0]!)
    for (const { values } of step.write)
      held.set(values[0]!, { n: values[1]!, age: held.get(values[0]!)?.age ?? 'fresh' })
  }
  return held
}

const ops = fc.array(fc.record({ id: fc.constantFrom('a', 'b', 'c'), removes: fc.boolean() }), { maxLength: 12 })

describe('steps of a batch', () => {
  test('make what the events make one by one, in one step or in many', () => {
    fc.assert(
      fc.property(ops, fc.subarray(['a', 'b', 'c']), fc.boolean(), fc.boolean(), (list, there, exact, exactKeys) => {
        expect(byStep(batchOf(list, exact), { ...table, exactKeys }, there)).toEqual(oneByOne(list, there))
      }),
    )
  })

  test('are one where keys can be compared, with each key once', () => {
    const steps = stepsOf(batchOf(['a', 'b', 'a', 'a'].map((id) => ({ id, removes: false }))), table, false)
    expect(steps).toHaveLength(1)
    expect(new Set(steps[0]!.write.map(({ index }) => index))).toEqual(new Set([1, 3]))
  })

  test('keep all events of a table without a key, and leave out what was refused', () => {
    const rows = batchOf([
      { id: 'a', removes: false },
      { id: 'a', removes: false },
    ])
    rows.rows.push(undefined)
    const [step] = stepsOf(rows, { ...table, mode: 'append' }, false)
    expect(step!.write).toHaveLength(2)
    expect(stepsOf(batchOf([]), table, false)).toEqual([])
  })
})
