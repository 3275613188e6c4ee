import { expect, test } from 'vitest'
import { undeclaredStream, type Column } from '../../config/plan.ts'
import { openDoor } from '../../events/door.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { runsOf, type SourceBatch } from '../source-batch.ts'
import type { TransformResult } from './functions.ts'
import { OutputLines } from './output-lines.ts'
import { SqlFunctions } from './sql-functions.ts'

const columns: Column[] = [{ name: 'n', type: { kind: 'long' } }]
const schema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }
const target = {
  ...undeclaredStream('made'),
  schema,
  columns,
  id: '_event_id',
  time: { field: '_event_time', unit: 'iso' },
} as const
const lines = new OutputLines(openDoor(target, 8, true), { eventBytesMax: 1000 })

interface Row {
  _event_id?: string
  n: unknown
}

function batchOf(count: number, skip = 0): SourceBatch {
  const text = Array.from({ length: count }, (_, index) => {
    const time = `2020-01-01T00:00:0${index}Z`
    return `{"_event_id":"e${index}","_event_time":"${time}","_received_at":"2020-01-01T01:00:00.000Z","n":${index}}\n`
  })
  const half = count >> 1
  const place = { log: 0n, skip: 0 }
  const batch = (own: number, source: string) => ({ count: own, receivedAtMs: 0, source, eventTimeMaxMs: 0 })
  return {
    bytes: Buffer.from(`{"_frame":1}\n${text.join('')}`),
    count,
    skip,
    batches: [batch(half, 'a'), batch(count - half, 'b')],
    from: place,
    to: place,
  }
}

/** Runs a statement that is a function here; it is given the events' numbers, and `calls` of it are counted. */
async function run(
  statement: (numbers: number[]) => Row[],
  batch = batchOf(4),
  batchEventsMax?: number,
): Promise<TransformResult & { texts: string[]; calls: number[][] }> {
  const calls: number[][] = []
  const functions = new SqlFunctions({
    run: async (bytes) => {
      const events = Buffer.from(bytes).toString().trim().split('\n')
      const numbers = events.map((line) => (JSON.parse(line) as { n: number }).n)
      calls.push(numbers)
      return Buffer.from(
        statement(numbers)
          .map((row) => `${JSON.stringify(row)}\n`)
          .join(''),
      )
    },
    lines,
    close: async () => undefined,
    ...(batchEventsMax !== undefined && { batchEventsMax }),
  })
  const result = await functions.run({ batch, runs: runsOf(batch.batches) })
  return { ...result, calls, texts: result.made.map(({ bytes }) => Buffer.from(bytes).toString()) }
}

const own = (numbers: number[]): Row[] => numbers.map((n) => ({ _event_id: `e${n}`, n: n * 10 }))
const made = (n: number, id = `e${n}`, value = n * 10): string =>
  `{"_event_id":"${id}","_event_time":"2020-01-01T00:00:0${n}Z","_received_at":"2020-01-01T01:00:00.000Z","n":${value}}\n`

test('rows become events with the id and time of the event they were made of, run by run', async () => {
  const { texts, failed, made: counts } = await run(own)
  expect(texts).toEqual([made(0) + made(1), made(2) + made(3)])
  expect(counts.map(({ count }) => count)).toEqual([2, 2])
  expect(failed).toEqual([])
})

test('several rows of one event are told apart, and rows of none belong to the last', async () => {
  const twice = (numbers: number[]): Row[] => [
    ...own(numbers.slice(0, 1)),
    { _event_id: 'e0', n: 7 },
    { n: 8 },
    { n: 9 },
  ]
  const { texts } = await run(twice)
  expect(texts).toEqual([made(0) + made(0, 'e0/1', 7), made(3, 'e3', 8) + made(3, 'e3/1', 9)])
})

test('events that were dealt with already are not given, and a large batch is cut', async () => {
  const { texts, calls } = await run(own, batchOf(5, 1), 2)
  expect(calls).toEqual([
    [1, 2],
    [3, 4],
  ])
  expect(texts).toEqual([made(1), made(2) + made(3) + made(4)])
})

function refusal(text: string, code: 'invalid_sql' | 'query_timeout' = 'invalid_sql'): FreshetError {
  return new FreshetError(code, text.replace(/^.*Error: /, ''), { cause: new Error(text) })
}

test('an event at which the statement fails is found, and the others go on', async () => {
  const { texts, failed } = await run((numbers) => {
    if (numbers.includes(2)) throw refusal('Conversion Error: Could not convert 2')
    return own(numbers)
  })
  expect(texts).toEqual([made(0) + made(1), made(3)])
  expect(failed).toEqual([{ index: 2, code: 'invalid_sql', message: 'Could not convert 2' }])
})

test('so is one that takes too long', async () => {
  const { failed } = await run((numbers) => {
    if (numbers.includes(0)) throw refusal('too long', 'query_timeout')
    return own(numbers)
  })
  expect(failed).toEqual([{ index: 0, code: 'query_timeout', message: 'too long' }])
})

test('where names do not fit any event, they are not tried one by one', async () => {
  const { failed, calls } = await run(() => {
    throw refusal('Binder Error: no function fits')
  }, batchOf(8))
  expect(failed.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  expect(calls.length).toBe(3)
})

test('what is no fault of the events is thrown', async () => {
  for (const error of [refusal('Parser Error: syntax'), new FreshetError('forbidden_sql', 'no'), new Error('disk')]) {
    await expect(
      run(() => {
        throw error
      }),
    ).rejects.toBe(error)
  }
})

test('a row that the target does not take fails its event alone', async () => {
  const { texts, failed } = await run((numbers) =>
    own(numbers).map((row, place) => (place === 1 ? { ...row, n: 'x' } : row)),
  )
  expect(texts).toEqual([made(0), made(2) + made(3)])
  expect(failed).toMatchObject([{ index: 1, code: 'schema_violation', path: '/0/n' }])
})
