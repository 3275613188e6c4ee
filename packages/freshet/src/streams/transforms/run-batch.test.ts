import { expect, test } from 'vitest'
import { undeclaredStream } from '../../config/plan.ts'
import { openDoor } from '../../events/door.ts'
import { OutputLines } from './output-lines.ts'
import { BatchRunner, type RunBatchOptions } from './run-batch.ts'

const target = {
  ...undeclaredStream('made'),
  id: '_event_id',
  time: { field: '_event_time', unit: 'iso' },
} as const

interface Found {
  /** Ids of the outputs, and the rest of each. */
  made: [string, Record<string, unknown>][]
  failed: (readonly [index: number, code: string, message: string])[]
}

/** Runs a function over events with the numbers 0, 1, 2, ... */
async function run(
  kind: RunBatchOptions['kind'],
  call: RunBatchOptions['call'],
  { count = 4, skip = 0, leaveOut = new Set<number>(), timeoutMs = 10_000 } = {},
): Promise<Found> {
  const runner = new BatchRunner({
    kind,
    call,
    lines: new OutputLines(openDoor(target, 8, true), { eventBytesMax: 1000 }),
    timeoutMs,
    batchEventsMax: 100,
    readObject: async (bucket, sha256) => Buffer.from(`${bucket} ${sha256}`),
    atEvent: () => undefined,
  })
  const lines = Array.from({ length: count }, (_, n) => {
    const times = '"_event_time":"2020-01-01T00:00:00Z","_received_at":"2020-01-01T01:00:00.000Z"'
    return `{"_event_id":"e${n}",${times},"n":${n},"bucket":"b","sha256":"${n}"}\n`
  })
  const runs = [{ first: 0, count }]
  const { made, failed } = await runner.run({ bytes: Buffer.from(lines.join('')), runs, skip, leaveOut })
  const texts = Buffer.concat(made.map(({ bytes }) => bytes))
    .toString()
    .split('\n')
    .slice(0, -1)
  return {
    made: texts.map((line) => {
      const { _event_id, _event_time, _received_at, ...rest } = JSON.parse(line) as Record<string, unknown>
      return [String(_event_id), rest]
    }),
    failed: failed.map(({ index, code, message }) => [index, code, message] as const),
  }
}

test('one event becomes none, one or several, with ids that follow from its own', async () => {
  const { made, failed } = await run('each', ({ n }: { n: number }) => {
    if (n === 0) return null
    return n === 1 ? { n } : Array.from({ length: n }, (_, part) => ({ n, part }))
  })
  expect(failed).toEqual([])
  expect(made).toEqual([
    ['e1', { n: 1 }],
    ['e2', { n: 2, part: 0 }],
    ['e2/1', { n: 2, part: 1 }],
    ['e3', { n: 3, part: 0 }],
    ['e3/1', { n: 3, part: 1 }],
    ['e3/2', { n: 3, part: 2 }],
  ])
})

test('outputs are in the order of the events, whichever promise is kept first', async () => {
  const { made } = await run('each', async ({ n }: { n: number }) => {
    await new Promise((resolve) => setTimeout(resolve, 20 - 5 * n))
    return { n }
  })
  expect(made.map(([id]) => id)).toEqual(['e0', 'e1', 'e2', 'e3'])
})

test('what was dealt with before, and what is left out, is not looked at', async () => {
  const { made } = await run('each', ({ n }: { n: number }) => ({ n }), { skip: 1, leaveOut: new Set([2]) })
  expect(made.map(([id]) => id)).toEqual(['e1', 'e3'])
})

test('an event that fails does so alone, whether at once, later or by its output', async () => {
  const { made, failed } = await run('each', ({ n }: { n: number }) => {
    if (n === 0) throw new Error('at once')
    if (n === 1) return Promise.reject(new Error('later'))
    return n === 2 ? 'two' : { n }
  })
  expect(made.map(([id]) => id)).toEqual(['e3'])
  expect(failed.toSorted(([a], [b]) => a - b)).toEqual([
    [0, 'function_failed', 'at once'],
    [1, 'function_failed', 'later'],
    [2, 'invalid_event', expect.stringContaining('the function returned a string: an output is an object')],
  ])
})

test('a promise that is not kept in time fails, and its signal is aborted', async () => {
  const aborted: number[] = []
  const { made, failed } = await run(
    'each',
    ({ n }: { n: number }, { signal }) => {
      signal.addEventListener('abort', () => aborted.push(n))
      return n === 2 ? new Promise(() => undefined) : Promise.resolve({ n })
    },
    { timeoutMs: 30 },
  )
  expect(made.map(([id]) => id)).toEqual(['e0', 'e1', 'e3'])
  expect(failed).toEqual([[2, 'timeout', 'it took longer than 30 ms']])
  expect(aborted).toEqual([2])
})

test('where a batch fails, only the guilty ones of it do', async () => {
  const { made, failed } = await run(
    'batch',
    async (events: { n: number }[]) => {
      if (events.some(({ n }) => n === 5)) throw new Error('five')
      return events.map(({ n }) => (n === 6 ? null : { n }))
    },
    { count: 9 },
  )
  expect(made.map(([id]) => id)).toEqual(['e0', 'e1', 'e2', 'e3', 'e4', 'e7', 'e8'])
  expect(failed).toEqual([[5, 'function_failed', 'five']])
})

test('a batch function that does not answer for each of its events is told so', async () => {
  const { failed } = await run('batch', () => [], { count: 1 })
  expect(failed).toEqual([
    [
      0,
      'invalid_event',
      expect.stringMatching(/^the function returned a list of 0 for 1 events: it must return a list/),
    ],
  ])
})

test("an object's bytes are had by its event, also by a function that is taken out of the context", async () => {
  const { made, failed } = await run(
    'each',
    async (event: { bucket: string; sha256: string }, { object }) => ({
      text: Buffer.from(await object(event)).toString(),
    }),
    { count: 2 },
  )
  expect(failed).toEqual([])
  expect(made).toEqual([
    ['e0', { text: 'b 0' }],
    ['e1', { text: 'b 1' }],
  ])
})
