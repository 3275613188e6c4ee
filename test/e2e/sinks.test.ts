/** Sinks of real processes: the worker is killed again and again, and a target is down all the while. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { BulkLab } from '../../packages/freshet/test/support/bulk-lab.ts'
import { HttpLab } from '../../packages/freshet/test/support/sink-lab.ts'
import { post, processOf, type Status } from './support/api.ts'
import { Scene } from './support/scene.ts'
import { patience } from './support/until.ts'

const batchEvents = 50
/** The load is to be steady, not heavy. */
const paceMs = 20

let scene: Scene
let shop: HttpLab
let search: HttpLab

beforeEach(async () => {
  shop = await HttpLab.start()
  search = await HttpLab.start()
  const breaker = { failures: 3, wait: '100 ms', waitMax: '300 ms' }
  scene = await Scene.create('sinks', {
    streams: {
      load: {
        schema: {
          type: 'object',
          properties: { id: { type: 'string' }, n: { type: 'integer' } },
          required: ['id', 'n'],
        },
        id: 'id',
      },
    },
    sinks: {
      files: { kind: 'files', from: 'load', folder: 'out', events: 700, every: '1 s', done: true },
      shop: { kind: 'webhook', from: 'load', url: shop.url, batch: 50, format: 'ndjson', breaker },
      search: { kind: 'opensearch', from: 'load', url: search.url, index: 'load', breaker },
    },
  })
})

afterEach(async () => {
  await scene.close()
  await shop.stop()
  await search.stop()
})

/** Sends events, in order, until it is told to stop. */
class Sender {
  sent = 0
  #stopping = false
  readonly #running = this.#run()

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const events = Array.from({ length: batchEvents }, (_, at) => ({ id: `e${this.sent + at}`, n: this.sent + at }))
      const { status } = await post(scene.url, 'load', events)
      if (status !== 202) throw new Error(`the events were answered ${status}`)
      this.sent += batchEvents
      await delay(paceMs)
    }
  }

  /** How many were sent. */
  async stop(): Promise<number> {
    this.#stopping = true
    await this.#running
    return this.sent
  }
}

async function killWorker(): Promise<void> {
  const before = await vi.waitFor(() => processOf(scene.url, 'worker'), patience)
  process.kill(before.pid, 'SIGKILL')
  await vi.waitFor(async () => {
    expect((await processOf(scene.url, 'worker')).pid).not.toBe(before.pid)
  }, patience)
}

const numbersOf = (ndjson: string): number[] =>
  ndjson
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { n: number }).n)

/** What is in the files, in the order of their names. */
function filed(): number[] {
  const folder = join(scene.folder, 'out')
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.ndjson'))
    .toSorted()
  return names.flatMap((name) => numbersOf(readFileSync(join(folder, name), 'utf8')))
}

async function consumer(name: string): Promise<Record<string, unknown>> {
  const status = (await (await fetch(`${scene.url}/v1/status`)).json()) as Status & { consumers: { name: string }[] }
  return { ...status.consumers.find((one) => one.name === name) }
}

test('a killed worker files each event once, and a target that is down costs nothing but lag', async () => {
  const index = new BulkLab()
  search.reply = (request) => index.answer(request)
  shop.reply = () => ({ status: 503, body: 'down for an hour' })
  await scene.serve()
  const sender = new Sender()
  for (let kills = 0; kills < 4; kills++) {
    const seen = shop.seen.length
    await vi.waitFor(() => expect(shop.seen.length).toBeGreaterThan(seen), patience)
    await killWorker()
  }
  const total = await sender.stop()

  const all = Array.from({ length: total }, (_, n) => n)
  await vi.waitFor(() => expect(filed()).toHaveLength(total), patience)
  expect(filed()).toEqual(all)
  await vi.waitFor(() => expect(Object.keys(index.documents)).toHaveLength(total), patience)
  const waiting = await vi.waitFor(async () => {
    const found = await consumer('sink:shop')
    expect(found).toMatchObject({ state: 'failing', problem: expect.stringContaining('down for an hour') })
    return found
  }, patience)
  expect(waiting['lagBytes']).toBeGreaterThan(total * 50)

  const before = shop.seen.length
  shop.reply = () => ({ status: 204 })
  const delivered = (): number[] => shop.seen.slice(before).flatMap(({ body }) => numbersOf(body.toString()))
  await vi.waitFor(async () => {
    expect(await consumer('sink:shop')).toMatchObject({ state: 'running', lagBytes: 0, problem: null })
  }, patience)
  expect(delivered()).toEqual(all)
  expect(filed()).toHaveLength(total)
})
