import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pino } from 'pino'
import { afterEach, expect, test, vi } from 'vitest'
import type { ChildBehaviour } from '../../test/fixtures/child.ts'
import type { ProcessRole, ProcessStatus } from './process-status.ts'
import { defaultRestartSettings, type RestartSettings } from './restart-policy.ts'
import { Supervisor } from './supervisor.ts'

const fixtures = join(import.meta.dirname, '../../test/fixtures')
const settled = { timeout: 20_000, interval: 20 }

const running: Supervisor[] = []
let lines: string[] = []

afterEach(async () => {
  for (const supervisor of running.splice(0)) {
    supervisor.kill()
    await supervisor.stop()
  }
  lines = []
})

function supervise(
  children: Partial<Record<ProcessRole, ChildBehaviour>>,
  options: { restart?: Partial<RestartSettings>; stopDeadlineMs?: number } = {},
): Supervisor {
  const supervisor = new Supervisor({
    logger: pino({ base: null }, { write: (line: string) => void lines.push(line) }),
    stopDeadlineMs: options.stopDeadlineMs ?? 20_000,
    restart: { ...defaultRestartSettings, delayMsMin: 10, ...options.restart },
    processes: (Object.keys(children) as ProcessRole[]).map((role) => ({
      role,
      module: join(fixtures, 'child.ts'),
      env: {},
      payload: { behaviour: children[role] },
      isFatal: (refusal) => refusal.code === 'port_in_use',
    })),
  })
  running.push(supervisor)
  return supervisor
}

function statusOf(supervisor: Supervisor, role: ProcessRole): ProcessStatus {
  return supervisor.processes().find((one) => one.role === role)!
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('I10: a killed process is started again, and takes no other down', async () => {
  const supervisor = supervise({ gateway: 'serve', engine: 'serve' })
  await supervisor.start()
  const gateway = statusOf(supervisor, 'gateway')
  const engine = statusOf(supervisor, 'engine')

  process.kill(engine.pid, 'SIGKILL')
  await vi.waitFor(() => {
    const now = statusOf(supervisor, 'engine')
    expect(now).toMatchObject({ state: 'running', restarts: 1 })
    expect(now.pid).not.toBe(engine.pid)
  }, settled)
  expect(statusOf(supervisor, 'gateway')).toMatchObject({ pid: gateway.pid, state: 'running', restarts: 0 })
  expect(lines.filter((line) => line.includes('was ended by SIGKILL; starting it again'))).toHaveLength(1)
})

test('a crash loop is reported once it is known, and does not spin', async () => {
  const supervisor = supervise({ gateway: 'serve', engine: 'crash-at-start' }, { restart: { loopDelayMs: 3_600_000 } })
  const started = await supervisor.start()
  expect(started.get('engine')).toEqual({ ready: false })
  expect(started.get('gateway')).toMatchObject({ ready: true })
  expect(statusOf(supervisor, 'engine')).toMatchObject({ state: 'failed', restarts: 4, pid: 0 })
  expect(lines.filter((line) => line.includes('exited with code 7; starting it again'))).toHaveLength(4)
  expect(lines.filter((line) => line.includes('it keeps failing'))).toHaveLength(1)
})

test('a fatal refusal at the first start is thrown with its code and hint, and stops the others', async () => {
  const supervisor = supervise({ gateway: 'refuse', engine: 'serve' })
  await expect(supervisor.start()).rejects.toMatchObject({
    code: 'port_in_use',
    message: 'Port 7070 is taken.',
    hint: 'Choose another.',
  })
  expect(statusOf(supervisor, 'engine').pid).toBe(0)
})

test('stopping waits for each process to finish', async () => {
  const supervisor = supervise({ gateway: 'serve', engine: 'serve' })
  await supervisor.start()
  const pids = supervisor
    .processes()
    .slice(1)
    .map(({ pid }) => pid)
  expect(pids.every(isAlive)).toBe(true)
  await supervisor.stop()
  expect(pids.some(isAlive)).toBe(false)
})

test('processes are stopped one after another: the next goes on until the one before is gone', async () => {
  const supervisor = supervise({ gateway: 'never-stop', engine: 'serve' }, { stopDeadlineMs: 200 })
  await supervisor.start()
  const { pid } = statusOf(supervisor, 'engine')
  const stopped = supervisor.stop()
  await vi.waitFor(() => expect(lines.some((line) => line.includes('gateway did not stop in time'))).toBe(true), {
    ...settled,
    interval: 1,
  })
  expect(statusOf(supervisor, 'engine')).toMatchObject({ pid, state: 'running' })
  await stopped
  expect(isAlive(pid)).toBe(false)
})

test('a process that does not stop in time is killed', async () => {
  const supervisor = supervise({ gateway: 'never-stop' }, { stopDeadlineMs: 50 })
  await supervisor.start()
  const { pid } = statusOf(supervisor, 'gateway')
  await supervisor.stop()
  expect(isAlive(pid)).toBe(false)
  expect(lines.some((line) => line.includes('did not stop in time'))).toBe(true)
})

test('every process gets the table of all, with what each uses', async () => {
  const supervisor = supervise({ gateway: 'serve', engine: 'serve' })
  const started = await supervisor.start()
  const gateway = started.get('gateway') as { info: { port: number } }
  await vi.waitFor(async () => {
    const response = await fetch(`http://127.0.0.1:${gateway.info.port}`)
    const table = (await response.json()) as ProcessStatus[]
    expect(table.map(({ role, state }) => [role, state])).toEqual([
      ['supervisor', 'running'],
      ['gateway', 'running'],
      ['engine', 'running'],
    ])
  }, settled)
  await vi.waitFor(() => expect(statusOf(supervisor, 'engine').rssBytes).toBeGreaterThan(1_000_000), settled)
})

test('I10: processes end by themselves when their supervisor is killed', async () => {
  const parent = spawn(process.execPath, [join(fixtures, 'parent.ts')], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface(parent.stdout), 'line')) as [string]
  const pid = Number(line)
  expect(isAlive(pid)).toBe(true)
  parent.kill('SIGKILL')
  await vi.waitFor(() => expect(isAlive(pid)).toBe(false), settled)
})
