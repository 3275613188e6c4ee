import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Batch } from './batches.ts'
import { runPipeline } from './pipeline.ts'

async function* batches(count: number): AsyncGenerator<Batch> {
  for (let index = 0; index < count; index++) yield { index, body: Buffer.from('{}\n'), lines: [index + 1] }
}

const never = new AbortController().signal

test('no batch is begun further ahead of the oldest unfinished one than the window', async () => {
  const first = Promise.withResolvers<void>()
  const begun: number[] = []
  const run = runPipeline(
    batches(20),
    async ({ index }) => {
      begun.push(index)
      if (index === 0) await first.promise
    },
    { concurrency: 3, windowBatches: 5, stop: never },
  )
  for (let turn = 0; turn < 50; turn++) await setImmediate()
  expect(Math.max(...begun)).toBe(4)
  first.resolve()
  await run
  expect(begun.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, index) => index))
})

test('the first failure stops the rest and is what is thrown, after everything has settled', async () => {
  const settled: number[] = []
  const run = runPipeline(
    batches(100),
    async ({ index }, stop) => {
      if (index === 3) throw new Error('third')
      await setImmediate()
      if (stop.aborted) settled.push(index)
      stop.throwIfAborted()
    },
    { concurrency: 4, windowBatches: 16, stop: never },
  )
  await expect(run).rejects.toThrow('third')
  expect(settled.length).toBeLessThanOrEqual(3)
})
