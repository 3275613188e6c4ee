/** Files of a sink in the buckets of a real S3 server. */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import { parquetReadObjects } from 'hyparquet'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { writeParquet } from '../../../src/engine/write-parquet.ts'
import { systemClock } from '../../../src/runtime/clock.ts'
import { systemRandom } from '../../../src/runtime/random.ts'
import { systemTimers } from '../../../src/runtime/timers.ts'
import { filesKind } from '../../../src/sinks/files/files-sink.ts'
import { filesSettings } from '../../../src/sinks/files/settings.ts'
import type { Sink, SinkEvent } from '../../../src/sinks/sink.ts'
import type { BucketSettings } from '../../../src/storage/object-store.ts'
import { S3ObjectStore } from '../../../src/storage/s3/s3-object-store.ts'
import { sinkDeps, sinkEvent } from '../../support/sink-lab.ts'
import { S3Server } from './s3-server.ts'

/** A busy machine takes its time to start a server again. */
const patienceMs = 300_000

let server: S3Server
let settings: BucketSettings
let store: S3ObjectStore
let folder: string
let sinks: Sink[]

beforeAll(async () => {
  server = await S3Server.make()
}, 600_000)

afterAll(() => server?.remove())

beforeEach(async () => {
  settings = server.bucket()
  store = reach({ ...settings, prefix: 'exports' })
  folder = await mkdtemp(join(tmpdir(), 'freshet-s3-sink-'))
  sinks = []
})

afterEach(async () => {
  await Promise.all(sinks.map((sink) => sink.close()))
  await store.close()
  await rm(folder, { recursive: true })
})

function reach(bucket: BucketSettings): S3ObjectStore {
  return new S3ObjectStore({ ...bucket, timers: systemTimers, random: systemRandom })
}

async function open(words: object = {}): Promise<Sink> {
  const all = { s3: { ...settings, prefix: 'exports' }, events: 2, ...words }
  const more = {
    ownFolder: join(folder, 'out'),
    openBucket: async (bucket: BucketSettings) => reach(bucket),
    parquet: writeParquet,
    clock: systemClock,
    random: systemRandom,
    columns: [
      { name: 'k', type: { kind: 'string' } as const },
      { name: 'n', type: { kind: 'long' } as const },
    ],
  }
  const sink = await filesKind.open(sinkDeps('files', filesSettings, all, more))
  sinks.push(sink)
  return sink
}

const two = [sinkEvent('a', { k: 'x', n: 1 }), sinkEvent('b', { k: 'y z', n: 2 })]
const keys = async (): Promise<string[]> => (await store.list('')).map(({ key }) => key)

test('have each format, names with values of events, and markers to check them by', async () => {
  const formats = [
    { format: 'ndjson', compress: 'zstd' },
    { format: 'csv' },
    {
      format: 'fixed',
      columns: [
        { field: 'k', width: 4 },
        { field: 'n', width: 3, align: 'right', pad: '0' },
      ],
    },
    { format: 'parquet' },
  ]
  for (const [at, words] of formats.entries()) {
    const sink = await open({ ...words, name: `${at}-{stream}-{sequence}.{ext}`, done: true })
    await sink.deliver(two, String(at + 1))
    await sink.close()
  }
  const found = await keys()
  const named = (at: number): string => found.find((key) => key.startsWith(`${at}-`) && !key.endsWith('.done'))!
  const bytes = await Promise.all(formats.map(async (_, at) => (await store.get(named(at)))!))
  expect(zstdDecompressSync(bytes[0]!).toString()).toBe(two.map(({ text }) => `${text}\n`).join(''))
  expect(bytes[1]!.toString()).toBe('k,n\r\nx,1\r\ny z,2\r\n')
  expect(bytes[2]!.toString()).toBe('x   001\ny z 002\n')
  const compressors = { ZSTD: (packed: Uint8Array) => zstdDecompressSync(packed) }
  const rows = await parquetReadObjects({ file: new Uint8Array(bytes[3]!).buffer, compressors })
  expect(rows).toMatchObject([
    { k: 'x', n: 1n },
    { k: 'y z', n: 2n },
  ])
  for (const [at, content] of bytes.entries()) {
    const marker = JSON.parse((await store.get(`${named(at)}.done`))!.toString()) as object
    const sha256 = createHash('sha256').update(content).digest('hex')
    expect(marker).toEqual({ file: named(at), bytes: content.length, events: 2, sha256 })
  }
  expect(found).toHaveLength(2 * formats.length)
})

test('stay below the prefix, whatever an event has, and replace nothing', async () => {
  const elsewhere = reach(settings)
  await elsewhere.put('exports/x.ndjson', Buffer.from('of somebody'))
  await elsewhere.put('outside', Buffer.from('of somebody'))
  const sink = await open({ name: '{fields.k}.{ext}' })
  const strange = ['x', '../outside', '/etc/passwd', 'a?b#c%20+é']
  await sink.deliver(
    strange.map((k, n) => sinkEvent(`e${n}`, { k, n })),
    '1',
  )
  const own = await keys()
  expect(own).toHaveLength(5)
  expect(own).toContain('x-2.ndjson')
  expect((await elsewhere.list('')).map(({ key }) => key).toSorted()).toEqual(
    [...own.map((key) => `exports/${key}`), 'outside'].toSorted(),
  )
  expect((await store.get('x.ndjson'))!.toString()).toBe('of somebody')
  await elsewhere.close()
})

test('are each there once, when the server is killed under load, and the sink opened anew', async () => {
  const batches = Array.from({ length: 60 }, (_, batch) =>
    Array.from({ length: 50 }, (_event, at): SinkEvent =>
      sinkEvent(`e${batch * 50 + at}`, { k: 'x', n: batch * 50 + at }),
    ),
  )
  const words = { events: 70, done: true }
  const deadline = performance.now() + patienceMs
  let sink = await open(words)
  let killing: Promise<void> | undefined
  let kills = 0
  for (let next = 0; next < batches.length;) {
    if (performance.now() > deadline) throw new Error(`Only ${next} batches were taken`)
    // The server goes while files are being put, and comes back when the sink has noticed.
    if (killing === undefined && next === 10 + 15 * kills) killing = server.kill()
    try {
      await sink.deliver(batches[next]!, String(++next))
    } catch {
      await sink.close()
      await killing
      await server.start()
      killing = undefined
      kills++
      sink = await open(words)
      // Where to go on is what the sink itself says.
      next = Number((await sink.checkpoint()) || '0')
    }
  }
  await sink.close()
  // What is left becomes files as soon as its time has come.
  const last = await open({ ...words, events: 1 })
  await last.deliver([sinkEvent('e3000', { k: 'x', n: 3000 })], 'last')
  expect(kills).toBe(4)
  const found = await keys()
  const data = found.filter((key) => !key.endsWith('.done'))
  expect(found.filter((key) => key.endsWith('.done'))).toEqual(data.map((key) => `${key}.done`))
  const texts = await Promise.all(data.map(async (key) => (await store.get(key))!.toString()))
  const numbers = texts.flatMap((text) =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { n: number }).n),
  )
  expect(numbers).toEqual(Array.from({ length: 3001 }, (_, n) => n))
})
