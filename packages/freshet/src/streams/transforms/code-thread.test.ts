import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { undeclaredStream, type StreamPlan } from '../../config/plan.ts'
import { versionOfCode } from '../../config/transforms.ts'
import { systemTimers, type Timers } from '../../runtime/timers.ts'
import { logStart } from '../place.ts'
import { runsOf, type SourceBatch } from '../source-batch.ts'
import type { TransformResult } from './functions.ts'
import type { CodeThreadOptions } from './code-thread.ts'
import { SinkFunctions, ThreadFunctions } from './thread-functions.ts'

const each = "({ n }) => (n < 0 ? null : { text: 'x'.repeat(n) })"
const code = `
import { threadId } from 'node:worker_threads'
export default { streams: { made: { each: ${each} } }, sinks: { out: { thread: () => threadId } } }
`

let folder: string
let configFile: string
/** What waits until threads are idle. */
const idle = new Set<() => void>()
const timers: Timers = {
  ...systemTimers,
  after: (_, act) => {
    idle.add(act)
    return () => void idle.delete(act)
  },
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'code-thread-'))
  configFile = join(folder, 'freshet.config.mjs')
  writeFileSync(configFile, code)
  idle.clear()
})

afterEach(() => rmSync(folder, { recursive: true }))

function options(stream: StreamPlan | undefined): CodeThreadOptions {
  return {
    data: { configFile, stream, sink: 'out', limits: { eventBytesMax: 1 << 20, nestingMax: 8 } },
    timeoutMs: 10_000,
    memoryBytes: 2 ** 26,
    readObject: async () => undefined,
    timers,
  }
}

function transform(): StreamPlan {
  return {
    ...undeclaredStream('made'),
    id: '_event_id',
    time: { field: '_event_time', unit: 'iso' },
    transform: {
      from: 'source',
      kind: 'each',
      version: versionOfCode(each, ''),
      timeoutMs: 10_000,
      memoryBytes: 2 ** 26,
      batchEventsMax: 100,
    },
  }
}

function batchOf(numbers: readonly number[]): SourceBatch {
  const times = '"_event_time":"2020-01-01T00:00:00Z","_received_at":"2020-01-01T01:00:00.000Z"'
  const bytes = Buffer.from(numbers.map((n, at) => `{"_event_id":"e${at}",${times},"n":${n}}\n`).join(''))
  const batches = numbers.map((_, at) => ({
    count: 1,
    receivedAtMs: 0,
    source: at % 2 === 0 ? 'even' : 'odd',
    eventTimeMaxMs: undefined,
  }))
  return { bytes, count: numbers.length, skip: 0, batches, from: logStart, to: logStart }
}

function textsOf({ made }: TransformResult): number[][] {
  return made.map(({ bytes }) =>
    Buffer.from(bytes)
      .toString()
      .split('\n')
      .slice(0, -1)
      .map((line) => (JSON.parse(line) as { text: string }).text.length),
  )
}

test('a thread goes when it has had nothing to do for a while, and the next call starts another', async () => {
  const functions = new SinkFunctions(options(undefined))
  const first = await functions.call('thread', [])
  expect(await functions.call('thread', [])).toBe(first)
  expect(idle.size).toBe(1)
  const answers = Promise.all([functions.call('thread', []), functions.call('thread', [])])
  expect(idle.size).toBe(0)
  expect(await answers).toEqual([first, first])
  for (const act of idle) act()
  expect(await functions.call('thread', [])).not.toBe(first)
  await functions.close()
})

test('the lines of a batch stay as they are until they are released, whatever is run meanwhile', async () => {
  const functions = new ThreadFunctions(options(transform()))
  const run = (numbers: readonly number[]): Promise<TransformResult> => {
    const batch = batchOf(numbers)
    return functions.run({ batch, runs: runsOf(batch.batches) })
  }
  const [first, second] = await Promise.all([run([1, -1, 3]), run([4, 5])])
  const third = await run([6, 7, 8])
  expect([first, second, third].map(textsOf)).toEqual([
    [[1], [], [3]],
    [[4], [5]],
    [[6], [7], [8]],
  ])
  const kept = first.made[0]!.bytes
  first.release?.()
  const fourth = await run([9])
  expect(textsOf(fourth)).toEqual([[9]])
  expect(Buffer.compare(kept, fourth.made[0]!.bytes.subarray(0, kept.length))).toBe(0)
  second.release?.()
  await functions.close()
})

test('lines that are larger than was thought are all there', async () => {
  const functions = new ThreadFunctions(options(transform()))
  const batch = batchOf([10, 200_000, 300_000, 400_000, 20])
  const result = await functions.run({ batch, runs: runsOf(batch.batches) })
  expect(result.failed).toEqual([])
  expect(textsOf(result)).toEqual([[10], [200_000], [300_000], [400_000], [20]])
  await functions.close()
})
