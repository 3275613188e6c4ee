import type { Batch } from './batches.ts'

export interface PipelineOptions {
  concurrency: number
  /** A batch is only begun when it is at most this far ahead of the oldest one that is not finished. */
  windowBatches: number
  /** Aborted: no further batch is begun; those under way are waited for. */
  stop: AbortSignal
}

/**
 * Hands batches to `work`, several at a time, reading ahead no further than needed. The first failure stops the rest.
 * @throws what `work` or the reading threw first, after everything under way has settled
 */
export async function runPipeline<B extends Batch>(
  batches: AsyncIterator<B>,
  work: (batch: B, stop: AbortSignal) => Promise<void>,
  options: PipelineOptions,
): Promise<void> {
  const unfinished = new Set<number>()
  let wake: (() => void)[] = []
  let failure: { error: unknown } | null = null
  const failed = new AbortController()
  const stop = AbortSignal.any([options.stop, failed.signal])
  let reading: Promise<unknown> = Promise.resolve()
  let ended = false

  // Workers take turns at reading, so that batches come in order and one at a time.
  const take = (): Promise<B | null> => {
    const turn = reading.then(async () => {
      if (ended || stop.aborted) return null
      const next = await batches.next()
      if (next.done === true) {
        ended = true
        return null
      }
      if (stop.aborted) return null
      unfinished.add(next.value.index)
      return next.value
    })
    reading = turn.catch(() => null)
    return turn
  }

  const roomFor = async (batch: B): Promise<void> => {
    while (!stop.aborted && batch.index - Math.min(...unfinished) >= options.windowBatches) {
      await new Promise<void>((resolve) => wake.push(resolve))
    }
  }

  const worker = async (): Promise<void> => {
    try {
      for (let batch = await take(); batch !== null; batch = await take()) {
        await roomFor(batch)
        if (stop.aborted) return
        await work(batch, stop)
        unfinished.delete(batch.index)
        for (const resolve of wake) resolve()
        wake = []
      }
    } catch (error) {
      failure ??= { error }
      failed.abort()
    } finally {
      for (const resolve of wake) resolve()
      wake = []
    }
  }

  await Promise.all(Array.from({ length: options.concurrency }, worker))
  const first = failure as { error: unknown } | null
  if (first !== null) throw first.error
}
