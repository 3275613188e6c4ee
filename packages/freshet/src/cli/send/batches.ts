import type { BrokenInput, InputItem } from './input-item.ts'

export interface Batch {
  /** From 0, in the order of the input. */
  index: number
  /** NDJSON, one event a line. */
  body: Buffer
  /** The line of the input that each event starts on. */
  lines: number[]
}

export interface BatchOptions {
  eventsMax: number
  bytesMax: number
  /** Sends what there is after this long without more input; null: waits for a full batch. Batches then depend on timing. */
  lingerMs: number | null
  onBroken: (broken: BrokenInput) => void
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>
}

/** Groups events into batches of at most `eventsMax` events and about `bytesMax` bytes; one event may be larger than that. */
export async function* makeBatches(items: AsyncIterator<InputItem[]>, options: BatchOptions): AsyncGenerator<Batch> {
  let parts: Buffer[] = []
  let lines: number[] = []
  let bytes = 0
  let index = 0

  const cut = (): Batch => {
    const batch = { index, body: Buffer.concat(parts, bytes), lines }
    index++
    parts = []
    lines = []
    bytes = 0
    return batch
  }

  let pending = items.next()
  for (;;) {
    if (
      options.lingerMs !== null &&
      lines.length > 0 &&
      !(await settlesWithin(pending, options.lingerMs, options.sleep))
    ) {
      yield cut()
      continue
    }
    const next = await pending
    if (next.done === true) break
    for (const item of next.value) {
      if (item.kind === 'broken') {
        options.onBroken(item)
        continue
      }
      if (lines.length >= options.eventsMax || (lines.length > 0 && bytes + item.json.length + 1 > options.bytesMax))
        yield cut()
      parts.push(item.json, lineFeed)
      lines.push(item.line)
      bytes += item.json.length + 1
    }
    if (lines.length >= options.eventsMax) yield cut()
    pending = items.next()
  }
  if (lines.length > 0) yield cut()
}

const lineFeed = Buffer.from('\n')

async function settlesWithin(promise: Promise<unknown>, ms: number, sleep: BatchOptions['sleep']): Promise<boolean> {
  const stop = new AbortController()
  try {
    return await Promise.race([
      promise.then(() => true),
      sleep(ms, stop.signal).then(
        () => false,
        () => true,
      ),
    ])
  } finally {
    stop.abort()
  }
}

/** The event at `index` of a batch, without its line feed. */
export function eventOf(batch: Batch, index: number): Buffer {
  let start = 0
  for (let at = 0; at < index; at++) start = batch.body.indexOf(10, start) + 1
  return batch.body.subarray(start, batch.body.indexOf(10, start))
}
