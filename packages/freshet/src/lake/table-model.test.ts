import fc from 'fast-check'
import { expect, test } from 'vitest'
import { step, TableModel } from '../../test/conformance/table-model.ts'

test('whatever is done to a table, its snapshots are what a plain model says, and no file of theirs is ever gone', async () => {
  const kinds = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
      const model = await new TableModel().create()
      for (const one of steps) {
        await model.run(one)
        await model.check()
        kinds.set(one.kind, (kinds.get(one.kind) ?? 0) + 1)
      }
    }),
    { numRuns: 20 },
  )
  expect(kinds.size).toBe(12)
}, 120_000)

test('the model would notice: a file that is removed behind the back of the table is missed', async () => {
  const model = await new TableModel().create()
  await model.run({ kind: 'append', days: [0, 1] })
  await model.check()
  const [key] = [...model.lake.store.objects.keys()].filter((one) => one.endsWith('.parquet'))
  await model.lake.store.delete([key!])
  await expect(model.check()).rejects.toThrow(key)
})
