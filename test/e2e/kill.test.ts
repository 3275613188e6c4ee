/** kill -9 of every process of a server, under load: I1, I4, I5, I7, I10. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ProcessRole } from '../../packages/freshet/src/runtime/process-status.ts'
import { post, processOf, query, serverStatus, streamStatus } from './support/api.ts'
import { segmentsOf } from './support/log-files.ts'
import { producedStream, Producers } from './support/producers.ts'
import { Scene } from './support/scene.ts'
import { expectStored } from './support/stored.ts'
import { patience, until } from './support/until.ts'
import { Watcher } from './support/watcher.ts'

const stream = 'load'
const config = {
  log: { segment: '64 KiB' },
  lake: { flushInterval: '200 ms' },
  streams: { [stream]: producedStream },
}

let scene: Scene
let sending: Producers | undefined
let reading: Watcher | undefined

beforeEach(async () => {
  scene = await Scene.create('kill', config)
  sending = undefined
  reading = undefined
})

afterEach(async () => {
  await sending?.abandon()
  await reading?.stop().catch(() => undefined)
  await scene.close()
})

/** Starts to send and to read. */
function begin(count: number): { producers: Producers; watcher: Watcher } {
  sending = new Producers({ url: scene.url, stream, count })
  reading = new Watcher({ url: scene.url, stream, batchEvents: sending.batchEvents })
  return { producers: sending, watcher: reading }
}

/** Kills a process and waits until its successor runs. */
async function killAndAwait(role: ProcessRole, isTime: () => boolean = () => true): Promise<void> {
  const before = await vi.waitFor(() => processOf(scene.url, role), patience)
  await until('it is time to kill', isTime)
  process.kill(before.pid, 'SIGKILL')
  await vi.waitFor(async () => {
    const now = await processOf(scene.url, role)
    expect(now).toMatchObject({ restarts: before.restarts + 1 })
    expect(now.pid).not.toBe(before.pid)
  }, patience)
}

/** Whether the engine is writing a data file right now. */
const isFlushing = (): boolean => hasParquet('tmp')

/** Whether a file has reached the table's folder, in a snapshot or not yet. */
const hasDataFile = (): boolean => hasParquet('lake', stream, 'data')

function hasParquet(...path: string[]): boolean {
  try {
    const names = readdirSync(join(scene.dataDir, ...path), { recursive: true })
    return names.some((name) => String(name).endsWith('.parquet'))
  } catch (error) {
    // The engine makes its folders, and empties its scratch, as it starts.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** I7, as seen from outside: what the log has let go is below the checkpoint. Bases are read first: checkpoints only grow. */
async function expectTrimmedBelowCheckpoint(): Promise<void> {
  const [oldest] = segmentsOf(scene.dataDir, stream)
  const { checkpoint } = await vi.waitFor(() => streamStatus(scene.url, stream), patience)
  expect(BigInt(checkpoint)).toBeGreaterThanOrEqual(oldest!.base)
}

test('I1, I4, I5, I7, I10: whatever is killed under load, every acknowledged event is there once', async () => {
  await scene.serve()
  const { url } = scene
  const { producers, watcher } = begin(4)
  await watcher.progress()

  for (let round = 0; round < 3; round++) {
    await killAndAwait('engine', isFlushing)
    await watcher.progress()
    await killAndAwait('gateway')
    await producers.progress()
    await watcher.progress()
    await expectTrimmedBelowCheckpoint()
  }

  const { processes } = await serverStatus(url)
  for (const { pid } of processes) process.kill(pid, 'SIGKILL')
  await scene.serve()
  await producers.progress()
  await watcher.progress()

  await producers.stop()
  await expectStored(scene.url, stream, producers.acknowledged)
  await vi.waitFor(async () => {
    const { checkpoint, logEnd } = await streamStatus(url, stream)
    expect(checkpoint).toBe(logEnd)
    expect(segmentsOf(scene.dataDir, stream)).toHaveLength(1)
  }, patience)
  await watcher.progress()
  await watcher.stop()
  expect([...producers.refusals.keys()].filter((refusal) => !refusal.startsWith('503'))).toEqual([])
})

test('I10: a killed supervisor takes its processes with it, and the next server needs no manual step', async () => {
  const first = await scene.serve()
  const { producers, watcher } = begin(2)
  await watcher.progress()
  first.child.kill('SIGKILL')
  // At once: what is left of the first server is still on its way out.
  const second = await scene.serve()
  // The end of its output: none of its processes is left.
  await first.ended()
  await producers.progress()
  await watcher.progress()
  await producers.stop()
  await watcher.stop()
  await expectStored(scene.url, stream, producers.acknowledged)

  expect(await second.stop('SIGTERM')).toBe(0)
  await scene.serve()
  await expectStored(scene.url, stream, producers.acknowledged)
})

test('I10: ingest goes on while the engine is away, and an engine that comes later catches up', async () => {
  await scene.serve(['--role', 'gateway'])
  const { url } = scene
  const { producers, watcher } = begin(2)
  await producers.progress(50)
  expect(await query(url, 'SELECT 1')).toMatchObject({ status: 503, body: { code: 'engine_unavailable' } })
  expect(await fetch(`${url}/readyz`)).toMatchObject({ status: 200 })

  const engine = scene.run(['dev', '--role', 'engine', '--log-level', 'info'])
  await watcher.progress()
  engine.child.kill('SIGKILL')
  await engine.ended()
  await producers.progress(20)
  expect(await post(url, stream, [])).toMatchObject({ status: 400 })

  scene.run(['dev', '--role', 'engine', '--log-level', 'info'])
  await watcher.progress()
  await producers.stop()
  await expectStored(scene.url, stream, producers.acknowledged)
  await watcher.stop()
})

/** Enough for the engine to take it in large chunks, which become data files without a detour through a hot table. */
const backlog = { batches: 50, events: 2000, ballast: 'x'.repeat(1000) }

function backlogBatch(sequence: number) {
  return Array.from({ length: backlog.events }, (_, index) => ({
    id: `${sequence}-${index}`,
    at: new Date(Date.UTC(2026, 0, 10) + sequence * backlog.events + index).toISOString(),
    producer: 'backlog',
    sequence,
    ballast: backlog.ballast,
  }))
}

test('I3, I4, I5, I10: an engine killed while it works through a large backlog loads all of it once', async () => {
  await scene.close()
  scene = await Scene.create('kill', { ...config, log: {} })
  await scene.serve(['--role', 'gateway'])
  const { url } = scene
  const ids = new Set<string>()
  for (let sequence = 0; sequence < backlog.batches; sequence++) {
    const events = backlogBatch(sequence)
    for (const { id } of events) ids.add(id)
    expect(await post(url, stream, events)).toMatchObject({ status: 202 })
    // Now and then a batch comes once more, with nothing but the ids of its events to tell.
    if (sequence % 10 === 5) await post(url, stream, backlogBatch(sequence - 3))
  }
  const watcher = new Watcher({ url, stream, batchEvents: backlog.events })
  reading = watcher
  for (const isTime of [isFlushing, hasDataFile]) {
    const engine = scene.run(['dev', '--role', 'engine', '--log-level', 'info'])
    await until('it is time to kill', isTime)
    engine.child.kill('SIGKILL')
    await engine.ended()
  }
  scene.run(['dev', '--role', 'engine', '--log-level', 'info'])
  await watcher.progress()
  await expectStored(url, stream, ids)
  await watcher.progress()
  await watcher.stop()
})
