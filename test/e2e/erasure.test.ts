/** Erasing by the command line, from a server whose processes are killed meanwhile: not a byte of the key is left (I6, I10). */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { filesWith } from '../../packages/freshet/test/integration/erasure-lab.ts'
import { post, processOf, rows } from './support/api.ts'
import { Scene } from './support/scene.ts'
import { until } from './support/until.ts'

const text = { type: 'string' }
const config = {
  lake: { flushInterval: '200 ms' },
  streams: {
    orders: {
      schema: {
        type: 'object',
        properties: {
          id: text,
          at: { type: 'string', format: 'date-time' },
          customer_id: text,
          amount: { type: 'number' },
        },
        required: ['id', 'at', 'customer_id'],
      },
      id: 'id',
      time: 'at',
    },
  },
}
const secret = 'customer-secret-17'
const where = `customer_id = '${secret}'`

interface Erasure {
  state: string
  report: { commits: unknown[]; expired: unknown[] }
}

let scene: Scene
beforeEach(async () => {
  scene = await Scene.create('erasure', config)
})
afterEach(() => scene.close())

/** Posts orders of ten days; every fifth is the secret customer's. */
async function send(round: number, events = 200): Promise<void> {
  const orders = Array.from({ length: events }, (_, index) => {
    const customer = index % 5 === 0 ? secret : `customer-${index % 7}`
    const day = String((index % 10) + 1).padStart(2, '0')
    return { id: `${round}-${customer}-${index}`, at: `2026-11-${day}T12:00:00Z`, customer_id: customer, amount: index }
  })
  const { status, body } = await post(scene.url, 'orders', orders)
  expect([status, (body as { accepted: number }).accepted]).toEqual([202, events])
}

async function count(condition: string): Promise<number> {
  const [row] = await rows(scene.url, `SELECT count(*)::INTEGER AS n FROM orders WHERE ${condition}`)
  return Number(row!['n'])
}

async function cli(args: readonly string[]): Promise<{ code: number | string; output: string }> {
  const running = scene.run([...args, '--url', scene.url])
  return { code: await running.ended(), output: running.output }
}

test('what is erased is gone from every file, though the engine is killed again and again', async () => {
  await scene.serve()
  for (let round = 0; round < 5; round++) {
    await send(round)
    await until('it is committed', async () => {
      const found = await rows(
        scene.url,
        `SELECT 1 FROM freshet.streams WHERE name = 'orders' AND rows = ${200 * (round + 1)} AND hot_rows = 0`,
      )
      return found.length === 1
    })
  }
  expect((await cli(['tag', 'create', 'orders', 'before'])).code).toBe(0)
  expect((await filesWith(scene.dataDir, secret)).length).toBeGreaterThanOrEqual(10)
  const counted = await cli(['erase', 'orders', '--where', where, '--dry-run'])
  expect(counted.output).toContain('200 events of 1,000 in orders would be erased')

  const asked = await cli(['erase', 'orders', '--where', where, '--no-wait', '--json'])
  const { id } = JSON.parse(asked.output.slice(asked.output.indexOf('{'))) as { id: string }
  // Killed when it has begun, when it has rewritten files, and when it has expired snapshots.
  const moments: ((erasure: Erasure) => boolean)[] = [
    () => true,
    ({ report }) => report.commits.length > 0,
    ({ report }) => report.expired.length > 0,
  ]
  let last = 0
  for (const [kill, hasCome] of moments.entries()) {
    await until(`moment ${kill} has come`, async () => {
      const engine = await processOf(scene.url, 'engine').catch(() => undefined)
      if (engine === undefined || engine.pid === null || engine.pid === last) return false
      const response = await fetch(`${scene.url}/v1/erasures/${id}`)
      if (!response.ok || !hasCome((await response.json()) as Erasure)) return false
      last = engine.pid
      return true
    })
    process.kill(last, 'SIGKILL')
    // Ingest goes on meanwhile.
    await send(100 + kill, 20)
  }
  await until('it is done', async () => {
    const response = await fetch(`${scene.url}/v1/erasures/${id}`)
    return response.ok && ((await response.json()) as Erasure).state === 'done'
  })
  const later = 3 * 4
  expect(await count(where)).toBe(later)
  expect(await count('true')).toBe(800 + 3 * 20)
  const shown = await cli(['erase', '--status', id])
  expect(shown.output).toContain('the tag before of orders')
  expect(shown.output).toContain('nothing is left')
  expect(shown.output).not.toContain(secret)

  // What came after the request is all that is left of the key; then nothing is.
  expect((await cli(['erase', 'orders', '--where', where])).code).toBe(0)
  expect(await filesWith(scene.dataDir, secret)).toEqual([])
  expect(await count('true')).toBe(800 + 3 * 16)
  const verified = await scene.run(['verify', '--data-dir', scene.dataDir]).ended()
  expect(verified).toBe(0)
})
