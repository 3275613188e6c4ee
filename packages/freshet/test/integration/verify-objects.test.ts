/** `freshet verify` on buckets: each kind of damage is found at its place, and nothing else is taken for damage. */
import { randomBytes } from 'node:crypto'
import { copyFile, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { blobForms } from '../../src/app/objects.ts'
import { verifyDataFolder } from '../../src/app/verify/verify.ts'
import type { BucketPlan, Column } from '../../src/config/plan.ts'
import { objectEvent, type ObjectVersion } from '../../src/objects/object-event.ts'
import { openObjects, type Objects } from '../../src/objects/open-objects.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { openDataFolder } from '../../src/runtime/data-folder.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { systemTimers } from '../../src/runtime/timers.ts'
import { TrustedClock } from '../../src/runtime/trusted-clock.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { cli } from '../support/cli.ts'
import { bucketPlan } from '../support/objects-lab.ts'
import { Lab, streamPlan } from './engine-harness.ts'
import { digest, flip, FolderCopy } from './verify-lab.ts'

const columns: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'bucket', type: { kind: 'string' } },
  { name: 'key', type: { kind: 'string' } },
  { name: 'sha256', type: { kind: 'string' } },
  { name: 'size', type: { kind: 'long' } },
  { name: 'version', type: { kind: 'long' } },
  { name: 'put_at', type: { kind: 'timestamptz' } },
  { name: 'deleted', type: { kind: 'boolean' } },
]
const arrivals = streamPlan('arrivals', { columns, open: true, time: { field: 'put_at', unit: 'iso' } })
const key = randomBytes(32).toString('base64')
const buckets: Record<string, BucketPlan> = {
  logs: bucketPlan('logs', { stream: 'arrivals' }),
  secrets: bucketPlan('secrets', { stream: 'arrivals', encrypt: { keys: [key] } }),
}
const big = randomBytes(600_000)

let lab: Lab
let folder: FolderCopy

/** The buckets of a lab, whose events go to its log. */
async function objectsOf(on: Lab, plans = buckets): Promise<Objects> {
  const dir = join(on.dir, 'objects')
  const objects = await openObjects({
    plans,
    forms: blobForms(plans, {}),
    store: new LocalObjectStore({ root: dir, fileSystem: nodeFileSystem, random: systemRandom }),
    dir,
    fileSystem: nodeFileSystem,
    clock: systemClock,
    timers: systemTimers,
    random: systemRandom,
    logger: silentLogger,
    trust: (seenMs) => new TrustedClock(seenMs),
  })
  objects.start({
    check: () => undefined,
    send: async (object: ObjectVersion, mark) => {
      const event = objectEvent(object)
      await on.post('arrivals', [{ id: event.id, time: event.put_at, fields: { ...event } }], { producer: mark })
    },
  })
  return objects
}

async function put(objects: Objects, bucket: string, name: string, bytes: Uint8Array | string): Promise<void> {
  const incoming = await objects.blobs.receive(bucket)
  await incoming.write(Buffer.from(bytes))
  const fields = { bucket, key: name, type: 'text/plain', metadata: {}, source: null, onlyNew: false }
  await objects.buckets.put(fields, incoming)
}

beforeAll(async () => {
  lab = await Lab.open({ streams: { arrivals }, plan: { lake: { flushRows: 3, flushIntervalMs: 20 } } })
  await openDataFolder({ dataDir: lab.dir, version: '0.0.0', fileSystem: nodeFileSystem })
  const engine = await lab.start()
  const objects = await objectsOf(lab)
  await put(objects, 'logs', 'a.log', 'one')
  await put(objects, 'logs', 'b.log', 'two')
  await put(objects, 'logs', 'b.log', big)
  await put(objects, 'secrets', 's.txt', 'nobody knows')
  await put(objects, 'logs', 'gone.log', 'three')
  await objects.buckets.remove('logs', 'gone.log', null)
  await engine.committed('arrivals')
  await engine.stop()
  await put(objects, 'logs', 'late.log', 'four')
  const fields = { bucket: 'logs', key: 'parts', type: 'text/plain', metadata: {}, source: null, onlyNew: false }
  const upload = await objects.uploads.begin(fields)
  const incoming = await objects.blobs.receive('logs')
  await incoming.write(Buffer.from('a part'))
  await objects.uploads.putPart(upload, { number: 1, sha256: undefined }, incoming)
  await objects.stop()
  await lab.closeLog()
})

beforeEach(async () => {
  folder = await FolderCopy.of(lab, buckets)
})

afterEach(() => folder.remove())
afterAll(() => lab.close())

/** The data file of the blob that has these many bytes stored, with the table behind them. */
async function blobOf(bucket: string, isIt: (bytes: number) => boolean): Promise<string> {
  for (const path of await folder.filesIn(`objects/blobs/${bucket}`, '')) {
    const found = await stat(path)
    if (found.isFile() && !path.endsWith('.head') && isIt(found.size)) return path
  }
  throw new Error('There is no such blob.')
}

test('buckets in order pass, in depth too, and are counted; nothing in the folder changes', async () => {
  const before = await digest(join(folder.dir, 'objects'))
  const report = await folder.verify({ deep: true })
  expect(report).toMatchObject({ ok: true, problems: [], notes: [] })
  expect(report.buckets).toMatchObject([
    { bucket: 'logs', objects: 3, versions: 6, blobs: 5, bytes: 600_007, uploads: 1, orphans: { files: 0 } },
    { bucket: 'secrets', objects: 1, versions: 1, blobs: 1, withoutKey: 0 },
  ])
  expect(await digest(join(folder.dir, 'objects'))).toBe(before)
})

test('a blob that is missing, was cut, or has no head is found, without reading in depth', async () => {
  const path = await blobOf('logs', (bytes) => bytes > 600_000)
  const size = (await stat(path)).size
  await truncate(path, size - 1)
  expect(await folder.problems()).toMatchObject([{ check: 'objects', bucket: 'logs', file: path }])
  await rm(path)
  expect(await folder.problems()).toMatchObject([{ check: 'objects', bucket: 'logs', file: path }])
  await rm(`${path}.head`)
  expect(await folder.problems()).toMatchObject([
    { file: path, what: expect.stringContaining('it is not there') as string },
  ])
})

test('a flipped bit is found in depth, with the key and without it; one in a head always', async () => {
  const path = await blobOf('logs', (bytes) => bytes > 600_000)
  await flip(path, 300_000)
  expect(await folder.problems()).toEqual([])
  expect(await folder.problems({ deep: true })).toMatchObject([
    { check: 'objects', bucket: 'logs', file: path, what: expect.stringContaining('block 1 does not match') as string },
  ])
  await flip(path, 300_000)
  const secret = await blobOf('secrets', () => true)
  await flip(secret, 3)
  expect(await folder.problems({ deep: true })).toMatchObject([{ bucket: 'secrets', file: secret }])
  const without = await FolderCopy.of(lab, { ...buckets, secrets: { ...buckets['secrets']!, encrypt: null } })
  try {
    const whole = await without.verify({ deep: true })
    expect(whole).toMatchObject({ ok: true, buckets: [{ withoutKey: 0 }, { withoutKey: 1 }] })
    expect(whole.notes).toMatchObject([{ check: 'objects', bucket: 'secrets' }])
    await flip(secret.replace(folder.dir, without.dir), 3)
    expect(await without.problems({ deep: true })).toMatchObject([{ bucket: 'secrets' }])
  } finally {
    await without.remove()
  }
  await flip(secret, 3)
  await flip(`${secret}.head`, 30)
  expect(await folder.problems()).toMatchObject([{ bucket: 'secrets', file: secret }])
})

test('bytes that were put in the place of others, with good checksums, are found by their hash', async () => {
  const [one, other] = [await blobOf('logs', (bytes) => bytes === 3 + 16), await blobOf('logs', (bytes) => bytes > 999)]
  const wrong = (await folder.filesIn('objects/blobs/logs', '')).find(
    (path) => path !== one && path !== other && /[0-9a-f]{64}$/.test(path),
  )!
  await copyFile(wrong, one)
  await copyFile(`${wrong}.head`, `${one}.head`)
  const found = await folder.problems({ deep: true })
  expect(found).toMatchObject([{ check: 'objects', bucket: 'logs', file: one }])
})

test('a part that is missing is found', async () => {
  const [part] = (await folder.filesIn('objects/parts/logs', '')).filter((path) => /-[0-9a-f]{16}$/.test(path))
  await rm(part!)
  expect(await folder.problems()).toMatchObject([{ check: 'objects', bucket: 'logs', file: part }])
})

test('an index that was cut, damaged or removed is found', async () => {
  const file = join(folder.dir, 'objects/index.db')
  const whole = await readFile(file)
  await truncate(file, Math.floor(whole.length / 2))
  expect(await folder.problems()).toMatchObject([{ check: 'objects', file }])
  await writeFile(file, 'no database')
  expect(await folder.problems()).toMatchObject([{ check: 'objects', file }])
  await rm(file)
  expect(await folder.problems()).toMatchObject([
    { check: 'objects', file, what: expect.stringContaining('it is missing') as string },
  ])
})

test('objects that have arrived by their events and are not in the index, or are there as something else, are found', async () => {
  const change = (sql: string): void => {
    const database = new DatabaseSync(join(folder.dir, 'objects/index.db'))
    database.exec(sql)
    database.close()
  }
  change("DELETE FROM object WHERE key IN ('a.log', 'late.log')")
  const found = await folder.problems()
  expect(found.map(({ stream, what }) => `${stream} ${/"(.*?)"/.exec(what)![1]}`).toSorted()).toEqual([
    'arrivals a.log',
    'arrivals late.log',
  ])
  // As an index is that was restored from a copy of before the last change.
  change("DELETE FROM object WHERE key = 'b.log' AND ended_at_ms IS NULL")
  change("UPDATE object SET ended_at_ms = NULL WHERE key = 'b.log'")
  expect((await folder.problems()).map(({ what }) => what)).toContainEqual(
    expect.stringMatching(/"b\.log" of the bucket logs has version \d+ in the index; its newest event is of version/),
  )
})

test('blobs that no object has are a note', async () => {
  const path = await blobOf('logs', (bytes) => bytes > 600_000)
  const name = path.slice(-64)
  const stray = path.replace(name, `${name.slice(0, 2)}${'0'.repeat(62)}`)
  await copyFile(path, stray)
  const report = await folder.verify()
  expect(report).toMatchObject({ ok: true, buckets: [{ orphans: { files: 1 } }, {}] })
  expect(report.notes).toMatchObject([{ check: 'objects', bucket: 'logs' }])
})

test('with names of streams only their buckets are looked at', async () => {
  const named = await folder.verify({ streams: ['arrivals'] })
  expect(named.buckets.map(({ bucket }) => bucket)).toEqual(['logs', 'secrets'])
  const others = await FolderCopy.of(lab, { logs: { ...buckets['logs']!, stream: 'others' } })
  try {
    expect(await others.verify({ streams: ['arrivals'] })).toMatchObject({ ok: true, buckets: [] })
  } finally {
    await others.remove()
  }
})

test('the command shows buckets, those that the configuration does not have too', async () => {
  const shown = await cli(['verify', '--data-dir', folder.dir], { cwd: folder.dir })
  expect(shown).toMatchObject({ code: 0, stderr: '' })
  expect(shown.stdout).toMatch(/bucket +objects +size +versions +blobs +stored/)
  expect(shown.stdout).toMatch(/secrets +1 +12 B/)
})

test('while objects are put, removed and swept, nothing is taken for damage', async () => {
  const busy = await Lab.open({ streams: { arrivals }, plan: { lake: { flushRows: 20, flushIntervalMs: 20 } } })
  await openDataFolder({ dataDir: busy.dir, version: '0.0.0', fileSystem: nodeFileSystem })
  const engine = await busy.start()
  const plans = { logs: { ...buckets['logs']!, keepDeletedMs: 0 } }
  const objects = await objectsOf(busy, plans)
  const load = { done: false }
  const putting = (async () => {
    for (let index = 0; index < 60; index++) {
      await put(objects, 'logs', `f${index % 7}`, `text ${index % 11}`)
      if (index % 5 === 0) await objects.buckets.remove('logs', `f${index % 7}`, null)
      if (index % 10 === 0) await objects.sweep()
    }
  })().finally(() => (load.done = true))
  try {
    let rounds = 0
    while (!load.done || rounds === 0) {
      const plan = { ...busy.plan(), buckets: plans }
      const report = await verifyDataFolder({ plan, streams: [], deep: true, onProgress: () => undefined })
      expect(report.problems).toEqual([])
      rounds++
    }
    await putting
    expect(rounds).toBeGreaterThan(1)
  } finally {
    await putting.catch(() => undefined)
    await objects.stop()
    await engine.stop()
    await busy.close()
  }
})
