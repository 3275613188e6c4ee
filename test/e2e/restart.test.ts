/** Repeats across restarts, and stops under load: I1, I5, I10. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { post, rows, serverStatus, streamStatus, type Answer } from './support/api.ts'
import { logEnd, segmentsOf } from './support/log-files.ts'
import { producedStream, Producers } from './support/producers.ts'
import { Scene } from './support/scene.ts'
import { expectStored } from './support/stored.ts'
import { patience, until } from './support/until.ts'
import { Watcher } from './support/watcher.ts'

const stream = 'load'
/** Events without an id of their own: nothing but the marks of a batch can tell a repeat. */
const plain = 'plain'
const config = {
  log: { segment: '4 KiB' },
  lake: { flushInterval: '200 ms' },
  streams: { [stream]: producedStream, [plain]: {} },
}

let scene: Scene
let producers: Producers | undefined
let watcher: Watcher | undefined

beforeEach(async () => {
  scene = await Scene.create('restart', config)
  producers = undefined
  watcher = undefined
})

afterEach(async () => {
  await producers?.abandon()
  await watcher?.stop().catch(() => undefined)
  await scene.close()
})

const events = (text: string) => [
  { text, n: 1 },
  { text, n: 2 },
]
const byKey = (key: string): Promise<Answer> => post(scene.url, plain, events(key), { 'idempotency-key': key })
const bySequence = (sequence: number): Promise<Answer> =>
  post(scene.url, plain, events(`s${sequence}`), { 'freshet-producer': 'p', 'freshet-sequence': String(sequence) })

const accepted = { status: 202, body: { accepted: 2, duplicates: 0 } }
const repeated = { status: 202, body: { accepted: 0, duplicates: 2 } }

async function plainRows(): Promise<unknown> {
  return (await rows(scene.url, `SELECT count(*)::INT AS n FROM ${plain}`))[0]
}

/** Appends until the log has let go of its first segment. */
async function outgrowFirstSegment(): Promise<void> {
  const [first] = segmentsOf(scene.dataDir, plain)
  let sent = 0
  await vi.waitFor(async () => {
    await post(scene.url, plain, [{ text: 'x'.repeat(2000), n: sent++ }])
    expect(segmentsOf(scene.dataDir, plain)[0]!.base).toBeGreaterThan(first!.base)
  }, patience)
}

test('repeats are recognised after a stop, after kill -9, and after the segments that held the batches are gone', async () => {
  const first = await scene.serve()
  expect(await byKey('k1')).toMatchObject(accepted)
  expect(await byKey('k1')).toMatchObject(repeated)
  expect(await bySequence(0)).toMatchObject(accepted)
  expect(await bySequence(1)).toMatchObject(accepted)
  await first.stop('SIGTERM')

  const second = await scene.serve()
  expect(await byKey('k1')).toMatchObject(repeated)
  expect(await bySequence(1)).toMatchObject(repeated)
  expect(await bySequence(2)).toMatchObject(accepted)
  await second.stop('SIGKILL')

  const third = await scene.serve()
  expect(await bySequence(2)).toMatchObject(repeated)
  expect(await byKey('k1')).toMatchObject(repeated)
  await vi.waitFor(async () => expect(await plainRows()).toEqual({ n: 8 }), patience)
  await outgrowFirstSegment()
  await third.stop('SIGKILL')

  await scene.serve()
  for (const repeat of [byKey('k1'), bySequence(0), bySequence(1), bySequence(2)]) {
    expect(await repeat).toMatchObject(repeated)
  }
  const other = await post(scene.url, plain, events('another body'), { 'idempotency-key': 'k1' })
  expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_conflict' } })
})

test('SIGTERM under load finishes what is in flight, commits it, and leaves nothing to recover', async () => {
  const first = await scene.serve()
  producers = new Producers({ url: scene.url, stream, count: 4 })
  watcher = new Watcher({ url: scene.url, stream, batchEvents: producers.batchEvents })
  await producers.progress()
  await watcher.progress()
  expect(await first.stop('SIGTERM')).toBe(0)
  expect(first.output).not.toMatch(/"level":"(error|fatal)"/)
  expect(first.output).not.toContain('did not stop in time')
  const acknowledged = producers.acknowledged.size
  expect(acknowledged).toBeGreaterThan(0)

  const engine = scene.run(['dev', '--role', 'engine', '--log-level', 'info'])
  await until('the engine is ready', () => engine.output.includes('ready in'))
  await engine.stop()

  const second = await scene.serve()
  expect(second.output).not.toMatch(/torn|damaged/)
  await producers.progress()
  await producers.stop()
  await expectStored(scene.url, stream, producers.acknowledged)
  await watcher.progress()
  await watcher.stop()
})

test('I3: what is hot is committed by a stop, not left to the next start', async () => {
  await scene.close()
  scene = await Scene.create('restart', { ...config, lake: { flushInterval: '1 h' } })
  const first = await scene.serve()
  producers = new Producers({ url: scene.url, stream, count: 2 })
  await producers.progress()
  await producers.stop()
  await vi.waitFor(async () => {
    const { loaded, logEnd: end, files } = await streamStatus(scene.url, stream)
    expect({ loaded, files }).toEqual({ loaded: end, files: 0 })
  }, patience)
  await first.stop('SIGTERM')

  await scene.serve()
  const { rows: all, hotRows, checkpoint, logEnd: end } = await streamStatus(scene.url, stream)
  expect({ all, hotRows, checkpoint }).toEqual({ all: producers.acknowledged.size, hotRows: 0, checkpoint: end })
  await expectStored(scene.url, stream, producers.acknowledged)
})

const fileEvents = 10_000

/** A file of events without ids; only the batches can be recognised. */
function writeEvents(): string {
  const path = join(scene.folder, 'events.ndjson')
  const lines = Array.from({ length: fileEvents }, (_, n) => `{"text":"${'x'.repeat(40)}","n":${n}}\n`)
  writeFileSync(path, lines.join(''))
  return path
}

async function send(path: string): Promise<Record<string, unknown>> {
  const sending = scene.run(['send', plain, path, '--url', scene.url, '--json', '--quiet', '--batch', '100'])
  expect(await sending.ended()).toBe(0)
  return JSON.parse(sending.output) as Record<string, unknown>
}

test('a file sent twice with `freshet send` changes nothing, also across a restart', async () => {
  const path = writeEvents()
  const first = await scene.serve()
  expect(await send(path)).toMatchObject({ accepted: fileEvents, duplicates: 0 })
  expect(await send(path)).toMatchObject({ accepted: 0, duplicates: fileEvents })
  await first.stop('SIGTERM')
  await scene.serve()
  expect(await send(path)).toMatchObject({ accepted: 0, duplicates: fileEvents })
  await vi.waitFor(async () => expect(await plainRows()).toEqual({ n: fileEvents }), patience)
})

test('`freshet send` killed half way, and a server killed under it, leave a file to be sent again, once', async () => {
  const path = writeEvents()
  await scene.serve()
  const sendSlowly = (...more: string[]) =>
    scene.run(['send', plain, path, '--url', scene.url, '--quiet', '--batch', '20', '--retry-for', '60', ...more])

  const cut = sendSlowly('--concurrency', '2')
  await until('part of it was sent', () => logEnd(scene.dataDir, plain) > 0n)
  cut.child.kill('SIGKILL')
  await cut.ended()

  const reached = logEnd(scene.dataDir, plain)
  const rest = sendSlowly('--json')
  await until('the rest is being sent', () => logEnd(scene.dataDir, plain) > reached)
  for (const { pid } of (await serverStatus(scene.url)).processes) process.kill(pid, 'SIGKILL')
  await scene.serve()
  expect(await rest.ended()).toBe(0)
  const result = JSON.parse(rest.output) as { accepted: number; duplicates: number; rejected: number }
  expect(result.accepted + result.duplicates).toBe(fileEvents)
  expect(result.rejected).toBe(0)

  await vi.waitFor(async () => {
    const sql = `SELECT count(*)::INT AS events, count(DISTINCT n)::INT AS numbers FROM ${plain}`
    expect(await rows(scene.url, sql)).toEqual([{ events: fileEvents, numbers: fileEvents }])
  }, patience)
})
