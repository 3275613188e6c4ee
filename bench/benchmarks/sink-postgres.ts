import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Column } from '../../packages/freshet/dist/config/plan.js'
import { nodeFileSystem } from '../../packages/freshet/dist/runtime/file-system.js'
import { silentLogger } from '../../packages/freshet/dist/runtime/logging.js'
import { systemRandom } from '../../packages/freshet/dist/runtime/random.js'
import { systemTimers } from '../../packages/freshet/dist/runtime/timers.js'
import { postgresKind } from '../../packages/freshet/dist/sinks/postgres/postgres-sink.js'
import { postgresSettings } from '../../packages/freshet/dist/sinks/postgres/settings.js'
import type { Sink, SinkEvent } from '../../packages/freshet/dist/sinks/sink.js'
import { PostgresServer } from '../../packages/freshet/test/interop/sql-servers.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { median, rounded } from '../harness/statistics.ts'

const ratioGoal = 0.5
/** About what the worker delivers at once. */
const batchRows = 5000

const columns: Column[] = [
  { name: 'order_id', type: { kind: 'long' } },
  { name: 'customer', type: { kind: 'string' } },
  { name: 'status', type: { kind: 'string' } },
  { name: 'total', type: { kind: 'decimal', precision: 12, scale: 2 } },
  { name: 'placed_at', type: { kind: 'timestamptz' } },
  { name: 'paid', type: { kind: 'boolean' } },
]

type Order = Record<string, unknown>

function orderOf(id: number, round: number): Order {
  return {
    order_id: id,
    customer: `customer ${id % 997}`,
    status: ['placed', 'packed', 'shipped'][round % 3],
    total: (id % 100_000) / 100,
    placed_at: new Date(Date.UTC(2026, 0, 1) + id * 1000).toISOString(),
    paid: id % 2 === 0,
  }
}

function eventOf(fields: Order, id: number): SinkEvent {
  const eventTime = '2026-11-20T20:29:00.123Z'
  const system = { _event_id: `e${id}`, _event_time: eventTime, _received_at: eventTime }
  const text = JSON.stringify({ ...system, ...fields })
  return { id: `e${id}`, eventTime, receivedAt: eventTime, source: undefined, tenant: undefined, text, fields }
}

/** The hand-made way: COPY of a file that is there to a temporary table, and one INSERT ... ON CONFLICT of it. */
async function byHand(server: PostgresServer, table: string, file: string): Promise<void> {
  const names = columns.map(({ name }) => name)
  const sets = names.slice(1).map((name) => `${name} = excluded.${name}`)
  await server.query(
    `BEGIN; TRUNCATE staged; COPY staged FROM '${file}'; INSERT INTO ${table} SELECT * FROM staged
     ON CONFLICT (order_id) DO UPDATE SET ${sets.join(', ')}; COMMIT`,
  )
}

/** Rows a second that a sink brings into PostgreSQL, new ones and changed ones, against COPY and INSERT ... ON CONFLICT by hand. */
export async function sinkPostgres(lab: Lab): Promise<Result> {
  const server = await PostgresServer.make()
  try {
    return await measure(lab, server)
  } finally {
    await server.stop()
  }
}

async function measure(lab: Lab, server: PostgresServer): Promise<Result> {
  const batches = lab.quick ? 8 : 40
  const rounds = lab.quick ? 2 : 4
  const open = async (table: string): Promise<Sink> => {
    const options = postgresSettings.parse({ url: server.url(), table, key: 'order_id' })
    const plan = { name: table, kind: 'postgres', from: 'orders', start: 'all' as const, options, functions: [] }
    return postgresKind.open({
      plan,
      columns,
      baseDir: server.dir,
      ownFolder: join(server.dir, table),
      fileSystem: nodeFileSystem,
      timers: systemTimers,
      logger: silentLogger,
      call: () => Promise.reject(new Error('the sink has no functions')),
      clock: { nowMs: Date.now },
      random: systemRandom,
    })
  }
  const sink = await open('delivered')
  await (await open('made_by_hand')).close()
  await server.query('CREATE TEMPORARY TABLE staged (LIKE made_by_hand)')
  const rates = { sink: [] as number[], hand: [] as number[] }
  const file = join(server.dir, 'rows')
  for (let round = 0; round < rounds; round++) {
    let sinkMs = 0
    let handMs = 0
    for (let at = 0; at < batches; at++) {
      // The first rounds add rows, the others change those that are there.
      const first = (at + (round % 2) * batches) * batchRows
      const orders = Array.from({ length: batchRows }, (_, index) => orderOf(first + index, round))
      const events = orders.map((order, index) => eventOf(order, first + index))
      writeFileSync(file, orders.map((order) => `${Object.values(order).join('\t')}\n`).join(''))
      chmodSync(file, 0o644)
      const deliver = async (): Promise<void> => {
        const startedMs = performance.now()
        await sink.deliver(events, `${round}-${at}`)
        sinkMs += performance.now() - startedMs
      }
      const make = async (): Promise<void> => {
        const startedMs = performance.now()
        await byHand(server, 'made_by_hand', file)
        handMs += performance.now() - startedMs
      }
      for (const work of at % 2 === 0 ? [deliver, make] : [make, deliver]) await work()
    }
    rates.sink.push((batches * batchRows) / (sinkMs / 1000))
    rates.hand.push((batches * batchRows) / (handMs / 1000))
    lab.say(
      `round ${round + 1}: sink ${rounded(rates.sink.at(-1)!)} rows/s, by hand ${rounded(rates.hand.at(-1)!)} rows/s`,
    )
  }
  await sink.close()
  rmSync(file)
  await check(server)
  const value = median(rates.sink)
  const limit = median(rates.hand)
  const ratio = value / limit
  return {
    name: 'sink-postgres',
    value,
    unit: 'rows/s',
    limit: { name: 'COPY and INSERT ... ON CONFLICT by hand', value: limit },
    ratio,
    goal: { text: `ratio at least ${ratioGoal}`, met: ratio >= ratioGoal },
    details: { batchRows, rounds: { sink: rates.sink.map(rounded), hand: rates.hand.map(rounded) } },
  }
}

/** @throws Error when the two ways made different rows */
async function check(server: PostgresServer): Promise<void> {
  const differs = '(TABLE delivered EXCEPT TABLE made_by_hand) UNION ALL (TABLE made_by_hand EXCEPT TABLE delivered)'
  const [found] = await server.query(
    `SELECT count(*) AS rows, (SELECT count(*) FROM (${differs}) d) AS differ FROM delivered`,
  )
  if (found === undefined || found['rows'] === '0' || found['differ'] !== '0')
    throw new Error(`wrong rows: ${JSON.stringify(found)}`)
}
