import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-erp-orders-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Runs the example as its users do, without a website. */
function run(args: readonly string[]): Promise<{ code: number | null; output: string }> {
  const { SITE_DB: _, ...env } = process.env
  const program = join(import.meta.dirname, 'erp-orders.ts')
  const child = spawn(process.execPath, [program, '--data-dir', folder, ...args], { env })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })))
}

test('the first orders become batches for the legacy system, also when the worker is killed', async () => {
  const { code, output } = await run(['--orders', '15', '--kill'])
  expect(output).toMatch(/The worker, process \d+, is killed\./)
  expect(output).toMatch(/\{"erp-orders":"ok","changes":\d+,"site":false,"killed":true,"seconds":[\d.]+\}\n$/)
  expect(code, output).toBe(0)
})
