/** The example `erp-orders` as a whole, with a real PostgreSQL as the website's database. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PostgresServer } from './sql-servers.ts'

const program = join(import.meta.dirname, '..', '..', '..', '..', 'examples', 'erp-orders', 'erp-orders.ts')

let site: PostgresServer
let folder: string
beforeAll(async () => {
  site = await PostgresServer.make()
  folder = mkdtempSync(join(tmpdir(), 'freshet-erp-orders-'))
})
afterAll(async () => {
  await site.stop()
  rmSync(folder, { recursive: true, force: true })
})

/**
 * Runs the example as its users do.
 * @param half called when half of the webhooks are acknowledged
 */
async function run(
  args: readonly string[],
  half?: () => Promise<void>,
): Promise<{ code: number | null; output: string }> {
  const env = { ...process.env, SITE_DB: site.url() }
  const child = spawn(process.execPath, [program, '--data-dir', folder, ...args], { env })
  let output = ''
  let halfDone: Promise<void> | undefined
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes('Half of them are sent.')) halfDone ??= half?.()
    })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  await halfDone
  return { code, output }
}

test('the whole of Northwind, with the worker killed half-way, matches row by row', async () => {
  const { code, output } = await run(['--kill'])
  expect(output).toMatch(/The worker, process \d+, is killed\./)
  expect(output).toContain('{"erp-orders":"ok","changes":11606,"site":true,"killed":true,')
  expect(code, output).toBe(0)
  const [orders] = await site.query(
    'SELECT count(*) AS rows, count(quote_number) AS quoted, sum(quote_version) AS versions FROM erp_site.orders',
  )
  expect(orders).toEqual({ rows: '830', quoted: '277', versions: '691' })
})

test('a database that is killed and comes back costs nothing but time', async () => {
  let isRestarted = false
  const { code, output } = await run(['--orders', '150'], async () => {
    await site.kill()
    await site.start()
    isRestarted = true
  })
  expect(isRestarted).toBe(true)
  expect(output).toMatch(/\{"erp-orders":"ok","changes":\d+,"site":true,"killed":false,/)
  expect(code, output).toBe(0)
})
