import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MemoryBucket } from '../../../test/conformance/memory-object-store.ts'
import { sinkDeps, sinkEvent } from '../../../test/support/sink-lab.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { BucketSettings } from '../../storage/object-store.ts'
import type { Sink } from '../sink.ts'
import { filesKind } from './files-sink.ts'
import { filesSettings } from './settings.ts'

let ownFolder: string
let bucket: MemoryBucket
let asked: BucketSettings[]
let sinks: Sink[]

beforeEach(async () => {
  ownFolder = join(await mkdtemp(join(tmpdir(), 'freshet-bucket-')), 'out')
  bucket = new MemoryBucket()
  asked = []
  sinks = []
})

afterEach(async () => {
  await Promise.all(sinks.map((sink) => sink.close()))
  await rm(ownFolder, { recursive: true, force: true })
})

async function open(words: object = {}): Promise<Sink> {
  const settings = { s3: { bucket: 'events', prefix: 'exports/' }, events: 2, name: 'orders.{ext}', ...words }
  const openBucket = async (reached: BucketSettings) => {
    asked.push(reached)
    return bucket
  }
  const sink = await filesKind.open(sinkDeps('files', filesSettings, settings, { ownFolder, openBucket }))
  sinks.push(sink)
  return sink
}

const batch = (...ids: string[]) => ids.map((id) => sinkEvent(id))
const linesOf = (...ids: string[]) => ids.map((id) => `${sinkEvent(id).text}\n`).join('')
const objects = () => Object.fromEntries([...bucket.objects].map(([key, object]) => [key, object.toString()]))

test('files are objects; what waits, and how far it is, lies in a folder of the sink', async () => {
  const sink = await open()
  await sink.deliver(batch('a', 'b', 'c'), '3')
  expect(objects()).toEqual({ 'orders.ndjson': linesOf('a', 'b') })
  expect(await readdir(ownFolder)).toEqual(['spool-2.ndjson', 'state.json'])
  expect(await sink.checkpoint()).toBe('3')
  expect(asked).toEqual([{ bucket: 'events', prefix: 'exports' }])
})

test('no object is replaced, with its marker or without', async () => {
  await bucket.put('orders.ndjson', Buffer.from('of somebody'))
  await bucket.put('orders-2.ndjson.done', Buffer.from('of somebody'))
  await bucket.put('orders-30.ndjson', Buffer.from('of somebody'))
  const sink = await open({ done: true })
  await sink.deliver(batch('a', 'b', 'c', 'd'), '4')
  expect(objects()).toMatchObject({
    'orders.ndjson': 'of somebody',
    'orders-2.ndjson.done': 'of somebody',
    'orders-3.ndjson': linesOf('a', 'b'),
    'orders-3.ndjson.done': expect.stringContaining('"file":"orders-3.ndjson"') as string,
    'orders-4.ndjson': linesOf('c', 'd'),
  })
})

test('a place that somebody takes after it was found is left to them', async () => {
  const putOnce = bucket.putOnce.bind(bucket)
  // The new place is known before anything is put there: an answer that is lost makes no second file.
  let isLost = false
  bucket.putOnce = async (key, body, mark) => {
    if (key === 'orders.ndjson') await bucket.putIfAbsent(key, Buffer.from('of somebody'))
    const isStored = await putOnce(key, body, mark)
    if (!isStored || isLost) return isStored
    isLost = true
    throw new FreshetError('object_store_unusable', 'The answer is lost.')
  }
  const sink = await open({ done: true })
  await sink.deliver(batch('a', 'b'), '2')
  expect(isLost).toBe(true)
  await sink.close()
  await (await open({ done: true })).deliver([], '2')
  expect(Object.keys(objects()).toSorted()).toEqual(['orders-2.ndjson', 'orders-2.ndjson.done', 'orders.ndjson'])
  expect(objects()).toMatchObject({ 'orders.ndjson': 'of somebody', 'orders-2.ndjson': linesOf('a', 'b') })
})

test('a bucket that is away costs lag: what is taken waits, and is told of when more is to be taken', async () => {
  const sink = await open()
  const away = new FreshetError('object_store_unusable', 'The bucket is away.')
  const putOnce = bucket.putOnce.bind(bucket)
  bucket.putOnce = () => Promise.reject(away)
  await sink.deliver(batch('a', 'b'), '2')
  expect(await sink.checkpoint()).toBe('2')
  await expect(sink.deliver(batch('c'), '3')).rejects.toBe(away)
  bucket.putOnce = putOnce
  await sink.deliver(batch('c', 'd'), '4')
  expect(objects()).toEqual({ 'orders.ndjson': linesOf('a', 'b'), 'orders-2.ndjson': linesOf('c', 'd') })
  expect(await readdir(ownFolder)).toEqual(['state.json'])
})

test('a sink is not opened on a bucket that cannot be used', async () => {
  let isClosed = false
  bucket.check = () => Promise.reject(new FreshetError('object_store_unusable', 'There is no bucket events.'))
  bucket.close = async () => {
    isClosed = true
  }
  await expect(open()).rejects.toThrow('There is no bucket events.')
  expect(isClosed).toBe(true)
})

test('a marker that somebody else has put is said, and left to them', async () => {
  const putOnce = bucket.putOnce.bind(bucket)
  bucket.putOnce = async (key, ...rest) => {
    if (key.endsWith('.done')) await bucket.putIfAbsent(key, Buffer.from('of somebody'))
    return putOnce(key, ...rest)
  }
  const sink = await open({ done: true })
  await sink.deliver(batch('a', 'b'), '2')
  await expect(sink.deliver(batch('c'), '3')).rejects.toThrow(
    'The file orders.ndjson is in the bucket, and cannot be marked.',
  )
  await bucket.delete(['orders.ndjson.done'])
  bucket.putOnce = putOnce
  await sink.deliver(batch('c'), '3')
  expect(Object.keys(objects()).toSorted()).toEqual(['orders.ndjson', 'orders.ndjson.done'])
})
