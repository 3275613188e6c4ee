import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { loadConfig } from '../config/load.ts'
import type { Plan } from '../config/plan.ts'
import { silentLogger } from '../runtime/logging.ts'
import { startGateway } from './compose-gateway.ts'

let folder: string
let plan: Plan

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'freshet-app-'))
  plan = await loadConfig({ cwd: folder, mode: 'dev', overrides: { port: 0, dataDir: join(folder, 'data') } })
})

afterEach(() => rm(folder, { recursive: true, force: true }))

const context = { logger: silentLogger, processes: () => [], lockWaitMs: 0 }

test('a gateway takes events without an engine, and one data folder has one gateway', async () => {
  const gateway = await startGateway(plan, context)
  try {
    const response = await fetch(`${gateway.info.url}/v1/streams/greetings/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"hello":"world"}',
    })
    expect(response.status).toBe(202)
    await expect(startGateway(plan, context)).rejects.toMatchObject({ code: 'data_folder_locked' })
  } finally {
    await gateway.stop()
  }
  expect(await readdir(join(plan.dataDir, 'log'))).toContain('greetings')

  const again = await startGateway(plan, context)
  await again.stop()
})

test('a gateway that cannot listen lets go of the data folder', async () => {
  const first = await startGateway(plan, context)
  const port = Number(new URL(first.info.url).port)
  const other = { ...plan, dataDir: join(folder, 'other'), http: { ...plan.http, port } }
  await expect(startGateway(other, context)).rejects.toMatchObject({ code: 'port_in_use' })
  await first.stop()
  const second = await startGateway(other, context)
  await second.stop()
})

test('a data folder of a newer version is refused before anything is started', async () => {
  await rm(plan.dataDir, { recursive: true, force: true })
  const gateway = await startGateway(plan, context)
  await gateway.stop()
  await writeFile(join(plan.dataDir, 'freshet.json'), '{"format":99,"createdBy":"freshet 9.0.0"}')
  await expect(startGateway(plan, context)).rejects.toMatchObject({ code: 'data_folder_newer' })
})
