/** Replays of streams with real processes: what the mended code makes, whatever is killed meanwhile, and the former rows again. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ProcessRole } from '../../packages/freshet/src/runtime/process-status.ts'
import { FreshetProcess } from '../freshet-process.ts'
import { post, processOf, rows, type Row } from './support/api.ts'
import { patience } from './support/until.ts'

let folder: string
let server: FreshetProcess | undefined

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-replay-'))
})

afterEach(async () => {
  await server?.stop()
  server = undefined
  rmSync(folder, { recursive: true, force: true })
})

const orders = `{
  schema: {
    type: 'object',
    properties: { id: { type: 'string' }, at: { type: 'string', format: 'date-time' }, price: { type: 'integer' }, quantity: { type: 'integer' } },
    required: ['id', 'at', 'price', 'quantity'],
  },
  id: 'id',
  time: 'at',
}`

/** Starts the server with this configuration, after the one that runs has ended. */
async function serve(members: string): Promise<void> {
  if (server !== undefined) expect(await server.stop()).toBe(0)
  writeFileSync(
    join(folder, 'freshet.config.mjs'),
    `export default { lake: { flushInterval: '100 ms' }, ${members} }\n`,
  )
  server = await FreshetProcess.serve(folder)
}

const url = (): string => server!.url
const withClean = (each: string): string => `streams: { orders: ${orders}, clean: { from: 'orders', each: ${each} } }`

const wrong = '({ id, price, quantity }) => ({ order_id: id, amount: price + quantity })'
const right = '({ id, price, quantity }) => (quantity === 0 ? null : { order_id: id, amount: price * quantity })'

/** Orders on some days, `perDay` on each; every fifth has no quantity. */
function ordersOn(days: number, perDay: number): object[] {
  return Array.from({ length: days * perDay }, (_, index) => ({
    id: `o${index}`,
    at: new Date(Date.UTC(2026, 8, 1 + (index % days), 12, 0, Math.floor(index / days) % 60)).toISOString(),
    price: 3 + (index % 7),
    quantity: index % 5,
  }))
}

async function send(events: readonly object[], inClean = events.length): Promise<void> {
  for (let first = 0; first < events.length; first += 1000) {
    const batch = events.slice(first, first + 1000)
    expect(await post(url(), 'orders', batch)).toMatchObject({ status: 202, body: { accepted: batch.length } })
  }
  await vi.waitFor(async () => {
    expect(await one('SELECT count(*) AS n FROM clean')).toEqual({ n: inClean })
  }, patience)
}

async function one(sql: string): Promise<Row> {
  return (await rows(url(), sql))[0]!
}

/** All that the table has, by what it says: the same for the same rows. */
const sumOfRows = (): Promise<Row> =>
  one('SELECT count(*) AS n, count(DISTINCT _event_id) AS ids, bit_xor(hash(c)) AS sum FROM clean c')

interface Replay {
  id: string
  state: string
  waitingFor: string | null
  preview: Counts | null
  applied: Counts | null
  commits: { partitions: string; rowsRemoved: number; rowsAdded: number }[]
  undone: unknown[]
  sample: { rows: { id: string; kind: string; columns: Record<string, object> }[] } | null
}

interface Counts {
  appear: number
  change: number
  vanish: number
  same: number
  letters: number
  partitionsChanged: number
}

/** Runs a command to its end; what it printed. */
async function run(...args: string[]): Promise<string> {
  const command = new FreshetProcess([...args, '--url', url()], folder)
  const code = await command.ended()
  expect({ code, output: command.output }).toMatchObject({ code: 0 })
  return command.output
}

const replay = async (...args: string[]): Promise<Replay> =>
  JSON.parse(await run('replay', ...args, '--json')) as Replay

/** Asks for a step of a replay without waiting for its end. */
async function ask(path: string, body: object = {}): Promise<Replay> {
  const response = await fetch(`${url()}/v1/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const answer = (await response.json()) as Replay
  expect({ status: response.status, answer }).toMatchObject({ status: expect.toBeOneOf([200, 202]) })
  return answer
}

/** How the newest replay stands. @throws while the engine does not answer */
async function newest(): Promise<Replay> {
  const answer = (await (await fetch(`${url()}/v1/replays`)).json()) as { replays: Replay[] }
  return answer.replays.at(-1)!
}

async function until(state: string): Promise<Replay> {
  return vi.waitFor(async () => {
    const found = await newest()
    expect(found).toMatchObject({ state })
    return found
  }, patience)
}

async function kill(role: ProcessRole): Promise<void> {
  const { pid } = await vi.waitFor(() => processOf(url(), role), patience)
  process.kill(pid, 'SIGKILL')
  await vi.waitFor(async () => expect((await processOf(url(), role)).pid).not.toBe(pid), patience)
}

/** Nothing that Freshet promises is broken. */
async function verify(): Promise<void> {
  expect(await server!.stop()).toBe(0)
  server = undefined
  const command = new FreshetProcess(['verify', '--deep'], folder)
  expect({ code: await command.ended(), output: command.output }).toMatchObject({ code: 0 })
}

const asRight = `SELECT count(*) FILTER (c._event_id IS NULL AND o.quantity <> 0) AS missing,
  count(*) FILTER (o.quantity = 0 AND c._event_id IS NOT NULL) AS needless,
  count(*) FILTER (c.amount <> o.price * o.quantity OR c._event_time <> o._event_time) AS wrong
  FROM orders o FULL JOIN clean c USING (_event_id)`

test('a transform that was wrong is mended: preview, apply, undo', async () => {
  await serve(withClean(wrong))
  await send(ordersOn(3, 50))
  const former = await sumOfRows()
  expect(await replay('clean', '--dry-run')).toMatchObject({ state: 'previewed', preview: { same: 150, change: 0 } })

  await serve(withClean(right))
  const seen = await replay('clean', '--dry-run')
  // price + quantity is their product for none of these: prices are 3 and more, and 3 * 1 <> 4.
  expect(seen.preview).toMatchObject({ appear: 0, change: 120, vanish: 30, same: 0, partitionsChanged: 3 })
  expect(seen.sample!.rows[0]).toEqual({
    id: 'o0',
    kind: 'vanish',
    columns: expect.objectContaining({ amount: { before: 3 } }),
  })
  expect(seen.sample!.rows.find(({ id }) => id === 'o102')).toEqual({
    id: 'o102',
    kind: 'change',
    columns: { amount: { before: 9, after: 14 } },
  })
  expect(await sumOfRows()).toEqual(former)

  expect(await run('replay', '--apply', seen.id)).toMatch(/applied\n[^]*120 changed, 30 vanished[^]*by 3 commits\n/)
  expect(await one(asRight)).toEqual({ missing: 0, needless: 0, wrong: 0 })
  expect(await sumOfRows()).toMatchObject({ n: 120, ids: 120 })
  // What comes later is made by the same code, and a second replay finds nothing.
  await send([{ id: 'later', at: '2026-09-02T12:00:00Z', price: 5, quantity: 2 }], 121)
  expect(await replay('clean', '--yes')).toMatchObject({ state: 'previewed', preview: { same: 121, change: 0 } })

  expect(await run('replay', '--undo', seen.id)).toContain('150 rows are back, 120 gone\n')
  await vi.waitFor(async () => expect(await one('SELECT count(*) AS n FROM clean')).toEqual({ n: 151 }), patience)
  const undone = await one("SELECT bit_xor(hash(c)) AS sum FROM clean c WHERE order_id <> 'later'")
  expect(undone).toEqual({ sum: former['sum'] })
  expect(await run('replays')).toMatch(new RegExp(`${seen.id} +clean .* undone`))
  await verify()
})

test('a range of time changes what lies in it alone', async () => {
  await serve(withClean(wrong))
  await send(ordersOn(4, 25))
  await serve(withClean(right))
  const done = await replay('clean', '--from', '2026-09-02', '--to', '2026-09-03', '--yes')
  expect(done).toMatchObject({ state: 'applied', applied: { change: 20, vanish: 5, partitionsChanged: 1 } })
  expect(done.commits).toMatchObject([{ partitions: '2026-09-02', rowsRemoved: 25, rowsAdded: 20 }])
  const found = await one(`SELECT count(*) FILTER (amount = price * quantity) AS mended, count(*) AS n
    FROM orders JOIN clean USING (_event_id) WHERE quantity > 0`)
  expect(found).toEqual({ mended: 20, n: 80 })
})

test('the engine is killed in the middle of an apply and of an undo: both are brought to their end', async () => {
  await serve(withClean(wrong))
  const days = 20
  await send(ordersOn(days, 20))
  const former = await sumOfRows()
  await serve(withClean(right))
  const { id } = await replay('clean', '--dry-run')
  const asked = ask(`replays/${id}/apply`).catch(() => undefined)
  const cut = await vi.waitFor(
    async () => {
      const found = await newest()
      expect(found.commits.length).toBeGreaterThan(2)
      return found
    },
    { ...patience, interval: 5 },
  )
  await kill('engine')
  await asked
  expect(cut).toMatchObject({ state: 'applying' })
  const done = await until('applied')
  expect(done.commits).toHaveLength(days)
  expect(done.applied).toMatchObject({ change: 320, vanish: 80, partitionsChanged: days })
  expect(await one(asRight)).toEqual({ missing: 0, needless: 0, wrong: 0 })

  const undoing = ask(`replays/${id}/undo`).catch(() => undefined)
  await vi.waitFor(async () => expect((await newest()).undone.length).toBeGreaterThan(2), { ...patience, interval: 5 })
  await kill('engine')
  await undoing
  await until('undone')
  expect(await sumOfRows()).toEqual(former)
  await verify()
})

test('the worker is killed while its code runs, and while it rests: the replay goes on, and so do events', async () => {
  await serve(withClean(wrong))
  await send(ordersOn(12, 250))
  const gate = join(folder, 'go-on')
  // It is met at work: nothing comes out before there is this file.
  const held = `async (event) => {
    const { existsSync } = await import('node:fs')
    while (!existsSync(${JSON.stringify(gate)})) await new Promise((go) => setTimeout(go, 5))
    return (${right})(event)
  }`
  await serve(withClean(`${held}, timeout: '10 minutes'`))
  const asked = ask('streams/clean/replays').catch(() => undefined)
  await until('applying')
  for (let round = 0; round < 2; round++) await kill('worker')
  expect(await newest()).toMatchObject({ state: 'applying', commits: [] })
  writeFileSync(gate, '')
  await vi.waitFor(async () => expect((await newest()).commits.length).toBeGreaterThan(0), { ...patience, interval: 5 })
  await kill('worker')
  expect(
    await post(url(), 'orders', [{ id: 'later', at: '2026-09-02T12:00:00Z', price: 5, quantity: 2 }]),
  ).toMatchObject({
    status: 202,
  })
  await asked
  const done = await until('applied')
  expect(done).toMatchObject({ applied: { change: 2400, vanish: 600 } })
  // The replay may have been done before the event that came later was in any table.
  await vi.waitFor(async () => expect(await sumOfRows()).toMatchObject({ n: 2401, ids: 2401 }), patience)
  expect(await one(asRight)).toEqual({ missing: 0, needless: 0, wrong: 0 })
  await verify()
})

const parsed = (separator: string): string => `
  buckets: { files: { stream: 'arrivals' } },
  streams: {
    arrivals: { id: 'id', time: 'put_at' },
    lines: {
      from: 'arrivals',
      each: async (event, { object }) => {
        if (event.deleted) return null
        const text = Buffer.from(await object(event)).toString()
        return text.split('\\n').filter((line) => line !== '').map((line) => {
          const [name, size] = line.split('${separator}')
          if (size === undefined) throw new Error('no size in ' + line)
          return { file: event.key, name, size: Number(size) }
        })
      },
    },
  }`

test('files that a wrong parser took are parsed again, with those at which it failed', async () => {
  await serve(parsed(','))
  const files = { 'a.txt': 'x,1;10\ny,2;20\n', 'b.txt': 'z,3;30\n', 'c.txt': 'broken;40\n' }
  for (const [name, body] of Object.entries(files)) {
    expect((await fetch(`${url()}/v1/objects/files/${name}`, { method: 'PUT', body })).ok).toBe(true)
  }
  const letters = (): Promise<Row> => one('SELECT count(*) AS n FROM lines_dead_letters')
  await vi.waitFor(async () => {
    expect(await one('SELECT count(*) AS n FROM lines')).toEqual({ n: 3 })
    expect(await letters()).toEqual({ n: 1 })
  }, patience)
  const ids = (): Promise<Row[]> => rows(url(), "SELECT _event_id FROM lines WHERE file <> 'c.txt' ORDER BY 1")
  const former = await ids()

  await serve(parsed(';'))
  const done = await replay('lines', '--yes')
  expect(done).toMatchObject({ state: 'applied', applied: { appear: 1, change: 3, vanish: 0, letters: 0 } })
  expect(await rows(url(), 'SELECT file, name, size FROM lines ORDER BY size')).toEqual([
    { file: 'a.txt', name: 'x,1', size: 10 },
    { file: 'a.txt', name: 'y,2', size: 20 },
    { file: 'b.txt', name: 'z,3', size: 30 },
    { file: 'c.txt', name: 'broken', size: 40 },
  ])
  expect(await ids()).toEqual(former)
  expect(await letters()).toEqual({ n: 0 })
})
