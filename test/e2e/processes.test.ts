import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ProcessRole, ProcessStatus } from '../../packages/freshet/src/runtime/process-status.ts'
import { FreshetProcess } from '../freshet-process.ts'

const patience = { timeout: 60_000, interval: 50 }

let folder: string
let servers: FreshetProcess[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-processes-'))
  servers = []
})

afterEach(async () => {
  for (const server of servers) await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function serve(): Promise<FreshetProcess> {
  const server = await FreshetProcess.serve(folder)
  servers.push(server)
  return server
}

async function processesOf(server: FreshetProcess): Promise<Record<ProcessRole, ProcessStatus>> {
  const response = await fetch(`${server.url}/v1/status`)
  const { processes } = (await response.json()) as { processes: ProcessStatus[] }
  return Object.fromEntries(processes.map((one) => [one.role, one])) as Record<ProcessRole, ProcessStatus>
}

async function post(server: FreshetProcess, from: number, count: number): Promise<void> {
  const lines = Array.from({ length: count }, (_, index) => JSON.stringify({ n: from + index })).join('\n')
  const response = await fetch(`${server.url}/v1/streams/numbers/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines,
  })
  expect(response.status).toBe(202)
}

async function numbersIn(server: FreshetProcess): Promise<unknown> {
  const response = await fetch(`${server.url}/v1/sql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ sql: 'select count(*)::int as c, count(distinct n)::int as d from numbers' }),
  })
  return ((await response.json()) as { rows?: unknown[] }).rows?.[0]
}

const holds = (server: FreshetProcess, count: number): Promise<void> =>
  vi.waitFor(async () => expect(await numbersIn(server)).toEqual({ c: count, d: count }), patience)

test('I10: gateway and engine are killed and come back by themselves, with every event once', async () => {
  const server = await serve()
  await post(server, 0, 10)
  await holds(server, 10)

  const before = await processesOf(server)
  process.kill(before.engine.pid, 'SIGKILL')
  await post(server, 10, 10)
  await holds(server, 20)

  process.kill(before.gateway.pid, 'SIGKILL')
  await vi.waitFor(async () => {
    const now = await processesOf(server)
    expect(now).toMatchObject({ gateway: { state: 'running', restarts: 1 }, engine: { state: 'running', restarts: 1 } })
  }, patience)
  await post(server, 20, 10)
  await holds(server, 30)
  expect(server.output).toContain('engine was ended by SIGKILL; starting it again')
  expect(server.output).toContain('gateway was ended by SIGKILL; starting it again')
})

test('I10: a whole server is killed, and the next one on its data folder has every event once', async () => {
  const first = await serve()
  await post(first, 0, 10)
  await first.stop('SIGKILL')
  const second = await serve()
  await post(second, 10, 10)
  await holds(second, 20)
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s stops the server in order and it ends with 0', async (signal) => {
  const server = await serve()
  await post(server, 0, 10)
  const { gateway, engine } = await processesOf(server)
  expect(await server.stop(signal)).toBe(0)
  for (const { pid } of [gateway, engine]) expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  await holds(await serve(), 10)
})

test('a second server on the data folder is refused, and says which process has it', async () => {
  const first = await serve()
  const second = new FreshetProcess(['dev', '--port', '0'], folder)
  expect(await second.ended()).not.toBe(0)
  expect(second.output).toContain('is in use by')
  expect(second.output).toContain(String(first.child.pid))
  await post(first, 0, 1)
})

test('a port in use ends the server with an explanation, instead of trying again', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const server = new FreshetProcess(['dev', '--port', String(port)], folder)
  expect(await server.ended()).not.toBe(0)
  expect(server.output).toContain(String(port))
  expect(server.output).not.toContain('starting it again')
  other.close()
})

test('a data folder of a newer version ends the server with an explanation', async () => {
  mkdirSync(join(folder, 'newer'))
  writeFileSync(join(folder, 'newer', 'freshet.json'), '{"format":99,"createdBy":"freshet 9.0.0"}')
  const server = new FreshetProcess(['dev', '--port', '0', '--data-dir', 'newer'], folder)
  expect(await server.ended()).not.toBe(0)
  expect(server.output).toContain('freshet 9.0.0')
})
