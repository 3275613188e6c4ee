/** Receipts over the public API: what a 202 names is found again, whatever is killed in between (I1, I10). */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { post, processOf, rows, serverStatus } from './support/api.ts'
import { Scene } from './support/scene.ts'
import { patience } from './support/until.ts'

const stream = 'orders'
const config = {
  log: { segment: '4 KiB' },
  lake: { flushInterval: '200 ms' },
  streams: {
    [stream]: {
      schema: {
        type: 'object',
        properties: { id: { type: 'string' }, at: { type: 'string', format: 'date-time' } },
        required: ['id', 'at'],
      },
      id: 'id',
      time: 'at',
    },
  },
}

let scene: Scene
beforeEach(async () => {
  scene = await Scene.create('receipts', config)
})
afterEach(() => scene.close())

const event = (id: string) => ({ id, at: '2026-11-20T12:00:00Z' })

async function send(sequence: number, ids: readonly string[]): Promise<{ receipt: string; accepted: number }> {
  const marks = { 'freshet-producer': 'p', 'freshet-sequence': String(sequence) }
  const { status, body } = await post(scene.url, stream, ids.map(event), marks)
  expect(status).toBe(202)
  return body as { receipt: string; accepted: number }
}

async function find(receipt: string): Promise<Record<string, unknown>> {
  const response = await fetch(`${scene.url}/v1/receipts/${receipt}`)
  const body = (await response.json()) as Record<string, unknown>
  expect(response.status, JSON.stringify(body)).toBe(200)
  return body
}

const events = (visible: number, deduplicated: number) => ({
  visible,
  deduplicated,
  deadLettered: 0,
  waiting: 0,
  removed: 0,
  missing: 0,
})

async function expectCommitted(receipt: string, visible: number, deduplicated: number): Promise<void> {
  await vi.waitFor(async () => {
    expect(await find(receipt)).toMatchObject({ state: 'committed', events: events(visible, deduplicated) })
  }, patience)
}

test('a receipt outlives kills of the engine and of the server, and a repeat is told the same one', async () => {
  const first = await scene.serve()
  const { receipt } = await send(0, ['a', 'b'])
  const again = await send(1, ['b', 'c'])
  await expectCommitted(receipt, 2, 0)
  await expectCommitted(again.receipt, 1, 1)
  const { files, snapshot } = await find(receipt)
  const stored = await rows(
    scene.url,
    `SELECT path, snapshot_id::VARCHAR AS id FROM freshet.files WHERE stream = '${stream}'`,
  )
  for (const path of files as string[]) expect(stored.map((file) => file['path'])).toContain(path)
  expect(stored.map(({ id }) => id)).toContain((snapshot as { id: string }).id)

  process.kill((await processOf(scene.url, 'engine')).pid, 'SIGKILL')
  expect(await send(0, ['a', 'b'])).toMatchObject({ receipt, accepted: 0 })
  await expectCommitted(receipt, 2, 0)
  await first.stop('SIGKILL')

  await scene.serve()
  const repeat = await send(0, ['a', 'b'])
  expect(repeat.accepted).toBe(0)
  // The text may be another one now. What it names is not.
  const { from, to, receivedAt } = await find(receipt)
  expect(await find(repeat.receipt)).toMatchObject({ from, to, receivedAt, count: 2 })
  await expectCommitted(receipt, 2, 0)
  await expectCommitted(again.receipt, 1, 1)
  const shown = scene.run(['receipt', again.receipt, '--url', scene.url])
  expect(await shown.ended()).toBe(0)
  expect(shown.output).toContain('events: 1 in queries, 1 there before')
})

test('while the engine is away the log answers; when the log has let go of a batch the table does', async () => {
  const gateway = await scene.serve(['--role', 'gateway'])
  const { receipt } = await send(0, ['a', 'b'])
  expect(await find(receipt)).toMatchObject({
    state: 'logged',
    inLog: true,
    events: null,
    engine: { available: false },
  })
  await gateway.stop()

  await scene.serve()
  let sequence = 1
  await vi.waitFor(async () => {
    await send(sequence, [`${sequence++}${'x'.repeat(400)}`])
    expect(await find(receipt)).toMatchObject({ state: 'committed', inLog: false })
  }, patience)
  const { events: counts, files } = await find(receipt)
  // Where another batch may have arrived in the same millisecond, its rows cannot be told apart any more.
  expect(counts).toMatchObject({ visible: expect.toBeOneOf([2, null]) as unknown, deadLettered: 0, waiting: 0 })
  if ((counts as { visible: number | null }).visible !== null) expect(files).toHaveLength(1)
  expect((await serverStatus(scene.url)).engine.available).toBe(true)
  const unknown = await fetch(`${scene.url}/v1/receipts/${receipt.slice(0, -1)}`)
  expect(unknown.status).toBe(404)
})
