import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetError } from '../../runtime/errors.ts'
import { silentLogger } from '../../runtime/logging.ts'
import type { Appended, AppendBatch } from '../log.ts'
import { openAppendClient, type AppendClient } from './append-client.ts'
import { openAppendDoor } from './append-door.ts'

let folder: string
let socket: string
let client: AppendClient
const doors: { close: () => Promise<void> }[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'append-door-'))
  socket = join(folder, 'door.sock')
  client = openAppendClient(socket)
})

afterEach(async () => {
  await client.close()
  for (const door of doors.splice(0)) await door.close()
  rmSync(folder, { recursive: true })
})

async function open(append: (stream: string, batch: AppendBatch) => Promise<Appended>): Promise<void> {
  const log = { append, roll: async (stream: string) => new Map([[0, stream === 'trades' ? huge : 0n]]) }
  doors.push(await openAppendDoor({ socket, log, bodyBytesMax: 1000, logger: silentLogger }))
}

const batch: AppendBatch = { lines: [Buffer.from('{"a":1}\n'), Buffer.from('{"a":2}\n')], count: 2, receivedAtMs: 5 }
const huge = 2n ** 60n + 1n

test('a batch comes through as it is, and so does what became of it', async () => {
  const seen: unknown[] = []
  const place = { partition: 0, from: huge, to: huge + 16n, count: 2, receivedAtMs: 5, sameArrivalFrom: undefined }
  await open(async (stream, { lines, ...head }) => {
    seen.push({ stream, lines: Buffer.concat(lines).toString(), ...head })
    return { from: huge, position: huge + 16n, duplicate: false, place }
  })
  const marks = { source: 'Zürich "1"', eventTimeMaxMs: 4, producer: { id: 'transform:ü\n', sequence: 7 } }
  expect(await client.append('trades', { ...batch, ...marks })).toEqual({
    from: huge,
    position: huge + 16n,
    duplicate: false,
    place,
  })
  expect(seen).toEqual([{ stream: 'trades', lines: '{"a":1}\n{"a":2}\n', count: 2, receivedAtMs: 5, ...marks }])
})

test('a new segment begins where the log says', async () => {
  await open(async () => ({ from: 1n, position: 1n, duplicate: true }))
  expect(await client.roll('trades')).toEqual(new Map([[0, huge]]))
})

test('a repeat whose first is forgotten has no place', async () => {
  await open(async () => ({ from: 1n, position: 1n, duplicate: true }))
  expect(await client.append('trades', batch)).toEqual({ from: 1n, position: 1n, duplicate: true })
})

test('a refusal of the log is the same refusal here, and an error of ours says nothing of itself', async () => {
  const errors = [new FreshetError('disk_full', 'The disk is full.', { hint: 'Make room.' }), new Error('secret')]
  await open(async () => {
    throw errors.shift()!
  })
  await expect(client.append('trades', batch)).rejects.toMatchObject({ code: 'disk_full', hint: 'Make room.' })
  await expect(client.append('trades', batch)).rejects.toMatchObject({
    code: 'internal',
    message: expect.not.stringContaining('secret'),
  })
})

test('a batch that is too large is refused and not appended', async () => {
  let appended = 0
  await open(async () => {
    appended++
    return { from: 0n, position: 0n, duplicate: false }
  })
  const lines = [Buffer.alloc(1001, ' ')]
  await expect(client.append('trades', { ...batch, lines })).rejects.toMatchObject({ code: 'body_too_large' })
  expect(appended).toBe(0)
})

test('a writer that is away is an error that passes, and the next append finds it again', async () => {
  await expect(client.append('trades', batch)).rejects.toMatchObject({ code: 'log_unwritable', retryable: true })
  await open(async () => ({ from: 0n, position: 16n, duplicate: false }))
  expect(await client.append('trades', batch)).toMatchObject({ position: 16n })
})

test.skipIf(process.platform === 'win32')('nobody but this user may open the socket', async () => {
  await open(async () => ({ from: 0n, position: 0n, duplicate: false }))
  expect(statSync(socket).mode & 0o777).toBe(0o600)
})

test('several batches are appended in their order, each as it is', async () => {
  const seen: unknown[] = []
  await open(async (stream, { lines, ...head }) => {
    seen.push([stream, Buffer.concat(lines).toString(), head])
    return { from: 0n, position: huge, duplicate: false }
  })
  const producer = (sequence: number): { id: string; sequence: number } => ({ id: 'p', sequence })
  await client.appendAll('trades', [
    { lines: [Buffer.from('{"a":1}\n'), Buffer.from('{"ä":2}\n')], count: 2, receivedAtMs: 5, producer: producer(0) },
    { lines: [], count: 0, receivedAtMs: 6, eventTimeMaxMs: 3, producer: producer(1) },
    { lines: [Buffer.from('{"b":1}\n')], count: 1, receivedAtMs: 7, source: 's', producer: producer(2) },
  ])
  expect(seen).toEqual([
    ['trades', '{"a":1}\n{"ä":2}\n', { count: 2, receivedAtMs: 5, producer: producer(0) }],
    ['trades', '', { count: 0, receivedAtMs: 6, eventTimeMaxMs: 3, producer: producer(1) }],
    ['trades', '{"b":1}\n', { count: 1, receivedAtMs: 7, source: 's', producer: producer(2) }],
  ])
})

test('one batch of several that is refused is a refusal of all, and the others may be there', async () => {
  await open(async (_, { count }) => {
    if (count === 2) throw new FreshetError('disk_full', 'The disk is full.')
    return { from: 0n, position: 16n, duplicate: false }
  })
  await expect(client.appendAll('trades', [{ ...batch, count: 1 }, batch])).rejects.toMatchObject({ code: 'disk_full' })
})
