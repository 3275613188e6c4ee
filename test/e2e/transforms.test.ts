/** Streams that are made of others, with real processes: exactly once whatever is killed, dead letters for what fails, back-fill, and no consumer in another's way. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ProcessRole } from '../../packages/freshet/src/runtime/process-status.ts'
import { FreshetProcess } from '../freshet-process.ts'
import { post, processOf, rows, type Row } from './support/api.ts'
import { segmentsOf } from './support/log-files.ts'
import { freePort } from '../../packages/freshet/test/support/free-port.ts'
import { patience, until } from './support/until.ts'

let folder: string
let server: FreshetProcess

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-transforms-'))
})

afterEach(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

const orders = `{
  schema: {
    type: 'object',
    properties: {
      id: { type: 'string' },
      at: { type: 'string', format: 'date-time' },
      amount: { type: 'integer' },
      lines: { type: 'integer' },
      note: { type: 'string' },
    },
    required: ['id', 'at', 'amount', 'lines'],
  },
  id: 'id',
  time: 'at',
}`

/** @param streams what stands beside `orders` */
async function start(streams: string, others = ''): Promise<void> {
  const config = `export default {
    log: { segment: '64 KiB' },
    lake: { flushInterval: '100 ms' },
    streams: { orders: ${orders}, ${streams} },
    ${others}
  }\n`
  writeFileSync(join(folder, 'freshet.config.mjs'), config)
  server = await FreshetProcess.serve(folder)
}

const order = (id: number, fields: object = {}): object => ({
  id: `o${id}`,
  at: new Date(Date.UTC(2026, 10, 1 + (id % 3))).toISOString(),
  amount: id,
  lines: id % 4,
  note: 'x'.repeat(200),
  ...fields,
})

const ordersFrom = (first: number, count: number): object[] =>
  Array.from({ length: count }, (_, index) => order(first + index))

async function send(batches: readonly (readonly object[])[], firstSequence = 0): Promise<void> {
  for (const [index, batch] of batches.entries()) {
    const marks = { 'freshet-producer': 'p', 'freshet-sequence': String(firstSequence + index) }
    await vi.waitFor(
      async () => expect(await post(server.url, 'orders', batch, marks)).toMatchObject({ status: 202 }),
      patience,
    )
  }
}

async function kill(role: ProcessRole): Promise<void> {
  const { pid } = await vi.waitFor(() => processOf(server.url, role), patience)
  process.kill(pid, 'SIGKILL')
}

async function one(sql: string): Promise<Row> {
  return (await rows(server.url, sql))[0]!
}

interface ConsumerStatus {
  name: string
  state: string
  lagBytes: number
  problem: string | null
}

async function consumer(name: string): Promise<ConsumerStatus> {
  const { consumers } = (await (await fetch(`${server.url}/v1/status`)).json()) as {
    consumers: ConsumerStatus[] | null
  }
  const found = consumers?.find((candidate) => candidate.name === name)
  if (found === undefined) throw new Error(`nobody tells of ${name}`)
  return found
}

const chain = `
  lines: { from: 'orders', each: ({ id, lines }) => Array.from({ length: lines }, (_, line) => ({ order_id: id, line })) },
  doubled: {
    from: 'orders',
    batch: async (orders) => orders.map(({ id, amount }) => ({ order_id: id, amount: amount * 2 })),
  },
  copies: { from: 'doubled', each: (event) => event },
  large: { from: 'orders', sql: 'SELECT _event_id, id AS order_id, amount FROM batch WHERE amount % 2 = 0' },
`

const expected = (count: number): Row => ({
  orders: count,
  lines: Array.from({ length: count }, (_, id) => id % 4).reduce((sum, lines) => sum + lines, 0),
  doubled: count * (count - 1),
  copies: count * (count - 1),
  large: Math.ceil(count / 2),
})

/** What the streams have: sums, so that what is there twice and what is missing cannot make up for each other unseen. */
const found = (): Promise<Row> =>
  one(`SELECT (SELECT count(*) FROM orders) AS orders,
    (SELECT count(*) FROM lines) AS lines,
    (SELECT sum(amount)::BIGINT FROM doubled) AS doubled,
    (SELECT sum(amount)::BIGINT FROM copies) AS copies,
    (SELECT count(*) FROM large) AS large`)

test('whatever is killed under load, each output is there once, and the log goes on being trimmed', async () => {
  await start(chain)
  const count = 6000
  const batches = Array.from({ length: count / 100 }, (_, batch) => ordersFrom(batch * 100, 100))
  const roles: ProcessRole[] = ['worker', 'gateway', 'worker', 'engine', 'worker']
  for (const [index, role] of roles.entries()) {
    const part = batches.slice(index * 12, (index + 1) * 12)
    const sending = send(part, index * 12)
    await kill(role)
    await sending
  }
  await vi.waitFor(async () => expect(await found()).toEqual(expected(count)), patience)
  const distinct = await one(`SELECT (SELECT count(DISTINCT (order_id, line)) FROM lines) AS lines,
    (SELECT count(DISTINCT order_id) FROM copies) AS copies, (SELECT count(DISTINCT order_id) FROM large) AS large`)
  expect(distinct).toEqual({ lines: expected(count)['lines'], copies: count, large: count / 2 })
  // Each output is that of its own event, not only of some.
  const wrong = await one(`SELECT count(*) AS n FROM orders o
    LEFT JOIN copies c ON c._event_id = o._event_id LEFT JOIN large l ON l._event_id = o._event_id
    WHERE c.amount IS DISTINCT FROM o.amount * 2 OR c.order_id <> o.id OR c._event_time <> o._event_time
      OR l.amount IS DISTINCT FROM CASE WHEN o.amount % 2 = 0 THEN o.amount END
      OR (SELECT count(*) FROM lines x WHERE x.order_id = o.id) <> o.lines`)
  expect(wrong).toEqual({ n: 0 })
  await until('the log is trimmed', async () => {
    await send([[order(0)]], 1_000_000 + Date.now())
    return segmentsOf(join(folder, '.freshet'), 'orders')[0]!.base > 0n
  })
  expect(await server.stop()).toBe(0)
  const verify = new FreshetProcess(['verify', '--deep'], folder)
  expect({ code: await verify.ended(), output: verify.output }).toMatchObject({ code: 0 })
})

test('what a function cannot take becomes a dead letter, and the others go on', async () => {
  await start(`
    checked: {
      from: 'orders',
      timeout: '500 ms',
      schema: { type: 'object', properties: { amount: { type: 'integer' } }, required: ['amount'] },
      each: ({ amount }) => {
        if (amount === 1) throw new Error('no ones')
        if (amount === 2) for (;;);
        if (amount === 3) return new Promise(() => undefined)
        if (amount === 4) return { amount: 'four' }
        if (amount === 5) process.exit(1)
        return { amount }
      },
    },
  `)
  await send([ordersFrom(0, 50)])
  await vi.waitFor(async () => expect(await one('SELECT count(*) AS n FROM checked')).toEqual({ n: 45 }), patience)
  const letters = await vi.waitFor(async () => {
    const all = await rows(
      server.url,
      `SELECT stage, consumer, code, path, message, stack IS NOT NULL AS stack, event, version
       FROM checked_dead_letters ORDER BY event_id`,
    )
    expect(all.length).toBe(5)
    return all
  }, patience)
  expect(letters.map(({ code }) => code)).toEqual([
    'function_failed',
    'timeout',
    'timeout',
    'schema_violation',
    'crashed',
  ])
  expect(letters[0]).toMatchObject({
    stage: 'transform',
    consumer: 'transform:checked',
    message: 'no ones',
    stack: true,
    event: expect.stringContaining('"id":"o1"'),
    version: expect.stringMatching(/^[0-9a-f]{12}$/),
  })
  expect(letters[3]).toMatchObject({ path: '/amount' })
})

test('a consumer that is slow or fails holds up neither events nor other consumers', async () => {
  const nobody = `http://127.0.0.1:${await freePort()}`
  await start(
    `
    slow: { from: 'orders', each: async (event) => { await new Promise((go) => setTimeout(go, 5000)); return event } },
    quick: { from: 'orders', each: ({ amount }) => ({ amount }) },
  `,
    `sinks: { shop: { kind: 'webhook', from: 'orders', url: '${nobody}' } },`,
  )
  await send([ordersFrom(0, 200)])
  await vi.waitFor(async () => expect(await one('SELECT count(*) AS n FROM quick')).toEqual({ n: 200 }), patience)
  const { rejected } = (await post(server.url, 'orders', ordersFrom(200, 200))).body
  expect(rejected).toBe(0)
  await vi.waitFor(async () => expect(await one('SELECT count(*) AS n FROM quick')).toEqual({ n: 400 }), patience)
  expect((await consumer('transform:slow')).lagBytes).toBeGreaterThan(0)
  await vi.waitFor(async () => expect((await consumer('transform:quick')).lagBytes).toBe(0), patience)
  await vi.waitFor(async () => {
    const { state, problem, lagBytes } = await consumer('sink:shop')
    expect({ state, problem, isBehind: lagBytes > 0 }).toEqual({
      state: 'failing',
      problem: expect.stringMatching(/./),
      isBehind: true,
    })
  }, patience)
  const shown = new FreshetProcess(['status', '--url', server.url], folder)
  expect(await shown.ended()).toBe(0)
  expect(shown.output).toMatch(/^sink:shop +orders +failing/m)
  expect(shown.output).toMatch(/^transform:quick +orders +running +0 B +400/m)
})

test('a consumer that comes later is given all that came before it, once, and goes on in the log', async () => {
  await start('')
  const count = 4000
  const batches = Array.from({ length: count / 200 }, (_, batch) => ordersFrom(batch * 200, 200))
  await send(batches)
  await until('the log is trimmed', async () => {
    await send([[order(0)]], 1_000_000 + Date.now())
    return segmentsOf(join(folder, '.freshet'), 'orders')[0]!.base > 0n
  })
  expect(await server.stop()).toBe(0)
  await start(chain)
  await kill('worker')
  await send([ordersFrom(count, 500)], 100)
  await vi.waitFor(async () => expect(await found()).toEqual(expected(count + 500)), patience)
  const tags = await one("SELECT count(tags) AS n FROM freshet.snapshots WHERE stream = 'orders'")
  expect(tags).toEqual({ n: 0 })
})

test('nothing is posted to a stream that is made of another', async () => {
  await start(chain)
  const { status, body } = await post(server.url, 'lines', [{ order_id: 'o1', line: 1 }])
  expect(status).toBe(400)
  expect(body).toMatchObject({ detail: expect.stringContaining('is made of the stream orders') })
})
