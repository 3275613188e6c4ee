import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { answerOf, startLab, type GatewayLab } from '../../test/support/gateway-lab.ts'

let dir: string
let lab: GatewayLab
let worker: Server | undefined

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'freshet-consumers-'))
  lab = await startLab({}, { workerSocket: join(dir, 'worker.sock') })
})

afterEach(async () => {
  await lab.close()
  worker?.close()
  worker = undefined
  rmSync(dir, { recursive: true, force: true })
})

/** Starts a worker that tells this of its consumers. */
async function tell(consumers: unknown, status = 200): Promise<void> {
  worker = createServer((request, response) => {
    response.statusCode = request.url === '/v1/consumers' ? status : 404
    response.end(JSON.stringify(consumers))
  })
  await new Promise<void>((resolve) => worker!.listen(join(dir, 'worker.sock'), resolve))
}

const consumers = async (): Promise<unknown> => (await answerOf(await fetch(`${lab.url}/v1/status`))).body['consumers']
const metrics = async (): Promise<string> => (await fetch(`${lab.url}/metrics`)).text()

test('consumers are in the status and in the metrics while the worker tells of them', async () => {
  expect(await consumers()).toBeNull()
  expect(await metrics()).not.toContain('freshet_consumer')
  const told = [
    { name: 'sink:files', from: 'trades', state: 'running', lagBytes: 0, events: 50, problem: null },
    { name: 'transform:lines', from: 'trades', state: 'failing', lagBytes: 700, events: 12, problem: 'it is full' },
  ]
  await tell(told)
  expect(await consumers()).toEqual(told)
  const text = await metrics()
  for (const line of [
    '# TYPE freshet_consumer_lag_bytes gauge',
    'freshet_consumer_lag_bytes{consumer="transform:lines",from="trades"} 700',
    'freshet_consumer_stuck{consumer="sink:files",from="trades"} 0',
    'freshet_consumer_stuck{consumer="transform:lines",from="trades"} 1',
    'freshet_consumer_events_total{consumer="sink:files",from="trades"} 50',
  ])
    expect(text.split('\n')).toContain(line)
  expect(text).toMatch(/^freshet_gateway_held_bytes 0$/m)
})

test('a worker without consumers adds nothing, and one that fails is as one that is away', async () => {
  await tell([])
  expect(await consumers()).toEqual([])
  expect(await metrics()).not.toContain('freshet_consumer')
  worker!.close()
  worker!.closeAllConnections()
  await tell({ code: 'internal' }, 500)
  expect(await consumers()).toBeNull()
  expect(await metrics()).not.toContain('freshet_consumer')
})
