/** Dead letters with real processes: kept at the door and by loads, replayed after the configuration was mended, whatever is killed meanwhile. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FreshetProcess } from '../freshet-process.ts'
import { post, processOf, rows } from './support/api.ts'
import { patience } from './support/until.ts'

let folder: string
let server: FreshetProcess

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-letters-'))
})

afterEach(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** A stream whose `amount` has a JSON type, and whose `size` has a width that the door does not know of: `size` is new to it. */
async function start(amount: string): Promise<void> {
  const schema = {
    type: 'object',
    properties: { id: { type: 'string' }, at: { type: 'string', format: 'date-time' }, amount: { type: amount } },
    required: ['id', 'at'],
  }
  const orders = { schema, id: 'id', time: 'at', invalid: 'dead-letter' }
  const config = { lake: { flushInterval: '100 ms' }, streams: { orders } }
  writeFileSync(join(folder, 'freshet.config.mjs'), `export default ${JSON.stringify(config)}\n`)
  server = await FreshetProcess.serve(folder)
}

const order = (id: string, fields: object): object => ({ id, at: '2026-11-20T12:00:00Z', ...fields })

async function letters(): Promise<unknown[]> {
  const found = await rows(
    server.url,
    'SELECT stage, event_id, event FROM orders_dead_letters ORDER BY failed_at, _event_id',
  )
  return found.map(({ stage, event }) => `${String(stage)} ${/"id":"([^"]*)"/.exec(String(event))?.[1]}`)
}

async function dead(...args: string[]): Promise<{ code: number | string; output: string }> {
  const command = new FreshetProcess(['dead', ...args, '--url', server.url], folder)
  return { code: await command.ended(), output: command.output }
}

async function kill(role: 'engine' | 'gateway'): Promise<void> {
  const { pid } = await vi.waitFor(() => processOf(server.url, role), patience)
  process.kill(pid, 'SIGKILL')
}

test('what was acknowledged is in the table or in the letters, and comes in once when its reason is mended', async () => {
  await start('integer')
  const batches = Array.from({ length: 20 }, (_, batch) =>
    Array.from({ length: 10 }, (__, index) => order(`o-${batch}-${index}`, { amount: index === 3 ? 'many' : index })),
  )
  for (const [sequence, batch] of batches.entries()) {
    if (sequence === 7) await kill('engine')
    if (sequence === 14) await kill('gateway')
    await vi.waitFor(async () => {
      const answer = await post(server.url, 'orders', batch, {
        'freshet-producer': 'p',
        'freshet-sequence': String(sequence),
      })
      expect(answer).toMatchObject({ status: 202, body: { rejected: 0, deadLettered: 1 } })
    }, patience)
  }
  // What only the engine finds out.
  const torn = '{"id":"torn","at":"2026-11-20T12:00:00Z","amount":1,"amount":2}\n'
  expect(await post(server.url, 'orders', torn)).toMatchObject({ status: 202, body: { accepted: 1 } })
  const count = async (from: string): Promise<unknown> =>
    (await rows(server.url, `SELECT count(*) AS n FROM ${from}`))[0]!['n']
  await vi.waitFor(async () => {
    expect([await count('orders'), await count('orders_dead_letters')]).toEqual([180, 21])
  }, patience)
  expect((await letters()).at(-1)).toBe('load torn')
  expect(await dead('replay', 'orders', '--all', '--dry-run')).toMatchObject({
    code: 0,
    output: expect.stringContaining('Of 21 dead letters of orders, 0 would be accepted and 21 would fail again.'),
  })
  expect(await server.stop()).toBe(0)

  await start('string')
  const numbers = await dead('replay', 'orders', '--where', "stage = 'door'", '--dry-run')
  expect(numbers.output).toContain('20 would be accepted')
  const replay = dead('replay', 'orders', '--all')
  await kill('engine')
  await replay
  await vi.waitFor(async () => {
    const again = await dead('replay', 'orders', '--all')
    expect(again.output).toContain('Of 1 dead letter of orders, 0 were sent again and 1 failed again.')
  }, patience)
  expect(await letters()).toEqual(['load torn'])
  await vi.waitFor(async () => expect(await count('orders')).toBe(200), patience)
  expect(await count('(SELECT DISTINCT _event_id FROM orders)')).toBe(200)
  expect(await dead('drop', 'orders', '--all')).toMatchObject({ code: 0, output: '1 dead letter of orders dropped.\n' })
  expect(await server.stop()).toBe(0)
  const verify = new FreshetProcess(['verify', '--deep'], folder)
  expect({ code: await verify.ended(), output: verify.output }).toMatchObject({ code: 0 })
})
