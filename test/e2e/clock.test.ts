/** The clock of the machine is set back, or forward and back again, while the server runs and between two runs. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { post, rows, streamStatus, type Answer } from './support/api.ts'
import { MovableClock, serveHere, type OneProcess } from './support/one-process.ts'
import { patience } from './support/until.ts'

const stream = 'ticks'
const hourMs = 3_600_000
const config = { lake: { flushInterval: '200 ms' }, streams: { [stream]: {} } }

let dataDir: string
let clock: MovableClock
let server: OneProcess
let ticks: number

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'freshet-clock-'))
  clock = new MovableClock()
  ticks = 0
  server = await serveHere(dataDir, config, clock)
})

afterEach(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
})

/** Sends the next tick, or one before it once more. */
async function tick(n = ticks): Promise<Answer> {
  const answer = await post(server.url, stream, [{ n }], { 'idempotency-key': `tick-${n}` })
  expect(answer.status).toBe(202)
  if (answer.body['accepted'] === 1) ticks++
  return answer
}

/** Waits until all there is has been committed. */
async function committed(): Promise<void> {
  await vi.waitFor(async () => {
    const { rows: all, hotRows, checkpoint, logEnd } = await streamStatus(server.url, stream)
    expect({ all, hotRows, checkpoint }).toEqual({ all: ticks, hotRows: 0, checkpoint: logEnd })
  }, patience)
}

async function arrivalsMs(): Promise<number[]> {
  const found = await rows(server.url, `SELECT epoch_ms(_received_at)::DOUBLE AS at FROM ${stream} ORDER BY n`)
  return found.map(({ at }) => Number(at))
}

interface Metadata {
  'last-updated-ms': number
  snapshots: { 'timestamp-ms': number; 'sequence-number': number }[]
  'snapshot-log': { 'timestamp-ms': number }[]
  'metadata-log': { 'timestamp-ms': number }[]
}

/** Every version of the table's metadata, oldest first. */
function metadataVersions(): Metadata[] {
  const folder = join(dataDir, 'lake', stream, 'metadata')
  return readdirSync(folder)
    .map((name) => ({ name, version: Number(/^v(\d+)\.metadata\.json$/.exec(name)?.[1]) }))
    .filter(({ version }) => !Number.isNaN(version))
    .toSorted((a, b) => a.version - b.version)
    .map(({ name }) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Metadata)
}

function expectAscending(numbers: readonly number[]): void {
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
}

function expectTimesAscend(): void {
  const versions = metadataVersions()
  expect(versions.length).toBeGreaterThan(1)
  expectAscending(versions.map((metadata) => metadata['last-updated-ms']))
  for (const metadata of versions) {
    for (const list of ['snapshots', 'snapshot-log', 'metadata-log'] as const) {
      expectAscending((metadata[list] ?? []).map((one) => one['timestamp-ms']))
    }
    const newest = metadata.snapshots.at(-1)
    if (newest) expect(metadata['last-updated-ms']).toBeGreaterThanOrEqual(newest['timestamp-ms'])
  }
}

async function expectSaneFigures(): Promise<void> {
  const { eventsPerSecond, freshnessMs, lagBytes } = await streamStatus(server.url, stream)
  expect(eventsPerSecond).toBeGreaterThanOrEqual(0)
  expect(lagBytes).toBeGreaterThanOrEqual(0)
  expect(freshnessMs?.p50).toBeGreaterThanOrEqual(0)
  expect(freshnessMs?.p99).toBeGreaterThanOrEqual(freshnessMs!.p50)
  expect(freshnessMs?.p99).toBeLessThan(2 * hourMs)
}

test('set back under a running server: times do not go back, commits go on, repeats are known', async () => {
  for (let n = 0; n < 3; n++) await tick()
  await committed()
  clock.move(-hourMs)
  expect((await tick(0)).body).toMatchObject({ accepted: 0, duplicates: 1 })
  for (let n = 0; n < 3; n++) await tick()
  await committed()
  clock.move(-24 * hourMs)
  for (let n = 0; n < 3; n++) await tick()
  await committed()

  const arrivals = await arrivalsMs()
  expect(arrivals).toHaveLength(9)
  expectAscending(arrivals)
  expectTimesAscend()
  await expectSaneFigures()
})

test('forward and back again, with hot rows in between: they are committed all the same', async () => {
  await tick()
  await committed()
  clock.move(hourMs)
  await tick()
  await vi.waitFor(async () => {
    expect(await rows(server.url, `SELECT count(*)::INT AS n FROM ${stream}`)).toEqual([{ n: 2 }])
  }, patience)
  clock.move(-hourMs)
  await tick()
  await committed()
  expectAscending(await arrivalsMs())
  expectTimesAscend()
  await expectSaneFigures()
  expect((await tick(1)).body).toMatchObject({ duplicates: 1 })
})

test('set back while the server was down: it goes on, commits, and knows repeats', async () => {
  await tick()
  await tick()
  await committed()
  await server.stop()
  clock.move(-2 * hourMs)
  server = await serveHere(dataDir, config, clock)
  expect((await tick(0)).body).toMatchObject({ accepted: 0, duplicates: 1 })
  await tick()
  await committed()
  expectTimesAscend()
  await expectSaneFigures()
  const snapshots = await rows(server.url, `SELECT committed_at FROM freshet.snapshots WHERE stream = '${stream}'`)
  expect(snapshots.length).toBeGreaterThan(1)
})
