/** Bytes of the log that changed on disk: found, located, reported, and never skipped over (I1, I2, I5, I10). */
import { appendFileSync, readFileSync, truncateSync } from 'node:fs'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { FreshetProcess } from '../freshet-process.ts'
import { post, rows, streamStatus } from './support/api.ts'
import { flipBit, frameOffsets, segmentsOf } from './support/log-files.ts'
import { Scene } from './support/scene.ts'
import { expectStored } from './support/stored.ts'
import { patience } from './support/until.ts'

const stream = 'readings'
const batchEvents = 10
const config = {
  log: { segment: '4 KiB' },
  streams: {
    [stream]: {
      schema: {
        type: 'object',
        properties: { id: { type: 'string' }, batch: { type: 'integer' }, at: { type: 'string', format: 'date-time' } },
        required: ['id', 'batch', 'at'],
      },
      id: 'id',
      time: 'at',
    },
  },
}

let scene: Scene
let sent: Set<string>

beforeEach(async () => {
  scene = await Scene.create('damage', config)
  sent = new Set()
})

afterEach(() => scene.close())

/** Batch `number`, always the same events; what it can be sent again with. */
function batch(number: number) {
  const events = Array.from({ length: batchEvents }, (_, index) => ({
    id: `${number}-${index}`,
    batch: number,
    at: '2026-02-01T00:00:00Z',
  }))
  return { events, headers: { 'freshet-producer': 'meter', 'freshet-sequence': String(number) } }
}

async function send(from: number, count: number): Promise<void> {
  for (let number = from; number < from + count; number++) {
    const { events, headers } = batch(number)
    expect(await post(scene.url, stream, events, headers)).toMatchObject({
      status: 202,
      body: { accepted: batchEvents },
    })
    for (const { id } of events) sent.add(id)
  }
}

async function expectRecognised(number: number): Promise<void> {
  const { events, headers } = batch(number)
  const answer = await post(scene.url, stream, events, headers)
  expect(answer).toMatchObject({ status: 202, body: { accepted: 0, duplicates: batchEvents } })
}

/** Fills the log while no engine reads it, and ends the gateway. */
async function logOf(batches: number, signal: NodeJS.Signals): Promise<void> {
  const gateway = await scene.serve(['--role', 'gateway'])
  await send(0, batches)
  await gateway.stop(signal)
}

/** What a stuck stream says of itself. */
function problemNamed(path: string): Promise<string> {
  return vi.waitFor(async () => {
    const { problem } = await streamStatus(scene.url, stream)
    expect(problem).toContain(path)
    return problem!
  }, patience)
}

function logLines(server: FreshetProcess, message: string): Record<string, unknown>[] {
  return server.output
    .split('\n')
    .filter((line) => line.includes(message))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

test('a torn last frame is cut off and said, and every acknowledged event is there once', async () => {
  await logOf(5, 'SIGKILL')
  const { path } = segmentsOf(scene.dataDir, stream).at(-1)!
  const bytes = readFileSync(path)
  const [first = 0, second = bytes.length] = frameOffsets(path)
  const torn = bytes.subarray(first, first + Math.floor((second - first) / 2))
  appendFileSync(path, torn)

  const server = await scene.serve()
  const cut = logLines(server, 'cut a torn batch off the log')
  expect(cut).toMatchObject([{ stream, file: path, offset: bytes.length, cutBytes: torn.length }])
  await expectRecognised(4)
  await send(5, 5)
  await expectStored(scene.url, stream, sent)
})

test.each([
  ['bytes that are no frame', Buffer.from([0, 255, 10, 123, 34, 0, 7])],
  ['zeros, as a power loss leaves them', Buffer.alloc(8192)],
  ['a line without a frame', Buffer.from('{"_event_id":"x","id":"x"}\n')],
])('a garbage tail, %s, is cut off and said', async (_, garbage) => {
  await logOf(3, 'SIGTERM')
  const { path } = segmentsOf(scene.dataDir, stream).at(-1)!
  const length = readFileSync(path).length
  appendFileSync(path, garbage)

  const server = await scene.serve()
  const cut = logLines(server, 'cut a torn batch off the log')
  expect(cut).toMatchObject([{ file: path, offset: length, cutBytes: garbage.length }])
  await send(3, 3)
  await expectStored(scene.url, stream, sent)
})

test('a flipped bit in an earlier segment is located; ingest goes on, nothing is skipped, and mending it is enough', async () => {
  await logOf(12, 'SIGKILL')
  const segments = segmentsOf(scene.dataDir, stream)
  expect(segments.length).toBeGreaterThan(3)
  const { path } = segments[1]!
  const offset = frameOffsets(path).at(-1)!
  const damagedBatch = Number(/"sequence":(\d+)/.exec(readFileSync(path).toString('latin1', offset))?.[1])
  flipBit(path, offset + 300)

  const server = await scene.serve()
  const problem = await problemNamed(path)
  expect(problem).toContain(`at byte ${offset}`)
  expect(logLines(server, 'stream is stuck')).toMatchObject([{ process: 'engine', stream, error: problem }])

  await send(12, 5)
  await expectRecognised(damagedBatch)
  await expectRecognised(11)
  // Everything before the bad frame is there, and nothing behind it.
  const visible = `SELECT max(batch)::INT AS newest, count(*)::INT AS events FROM ${stream}`
  await vi.waitFor(async () => {
    expect(await rows(scene.url, visible)).toEqual([{ newest: damagedBatch - 1, events: damagedBatch * batchEvents }])
  }, patience)

  flipBit(path, offset + 300)
  await expectStored(scene.url, stream, sent)
  expect((await streamStatus(scene.url, stream)).problem).toBeNull()
})

test('a flipped bit in the last segment is no torn tail: the gateway says where it is and goes on behind it', async () => {
  await logOf(12, 'SIGKILL')
  const { path } = segmentsOf(scene.dataDir, stream).at(-1)!
  const [offset] = frameOffsets(path)
  const length = readFileSync(path).length
  flipBit(path, offset! + 300)

  const server = await scene.serve()
  expect(logLines(server, 'log damaged')).toMatchObject([{ process: 'gateway', stream, file: path, offset }])
  expect(await problemNamed(path)).toContain(`at byte ${offset}`)
  expect(readFileSync(path)).toHaveLength(length)
  await send(12, 3)

  flipBit(path, offset! + 300)
  await expectStored(scene.url, stream, sent)
})

test('acknowledged bytes that are gone are reported, not taken for a torn tail', async () => {
  await logOf(12, 'SIGKILL')
  const { path } = segmentsOf(scene.dataDir, stream).at(-1)!
  const whole = readFileSync(path)
  const offset = frameOffsets(path).at(-1)!
  truncateSync(path, offset + 20)

  const server = await scene.serve()
  expect(logLines(server, 'log damaged')).toMatchObject([{ process: 'gateway', file: path, offset }])
  expect(await problemNamed(path)).toContain(`a frame cut short at byte ${offset}`)
  await send(12, 3)

  appendFileSync(path, whole.subarray(offset + 20))
  await expectStored(scene.url, stream, sent)
})

test('damage in what is committed already costs nothing', async () => {
  const first = await scene.serve()
  await send(0, 12)
  await expectStored(scene.url, stream, sent)
  await first.stop('SIGTERM')
  const { path } = segmentsOf(scene.dataDir, stream).at(-1)!
  flipBit(path, frameOffsets(path)[0]! + 300)

  await scene.serve()
  await send(12, 3)
  await expectStored(scene.url, stream, sent)
  expect((await streamStatus(scene.url, stream)).problem).toBeNull()
})
