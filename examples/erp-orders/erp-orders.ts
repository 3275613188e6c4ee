/**
 * An ERP's webhooks, a website's database that follows them, and batch files for the system that the website replaces: runs all of it
 * and compares the outcome with the ERP, row by row. Exits 0 when everything matches.
 *
 *     SITE_DB=postgres://user:password@host/database node examples/erp-orders/erp-orders.ts
 *
 * --kill           kills the worker in the middle (kill -9)
 * --orders N       only the first so many orders
 * --data-dir DIR   folder for the data and the batch files; what is in it is deleted. Default .freshet/erp-orders
 */
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { lastingFolder } from '../quickstart/data-folder.ts'
import { grouped } from '../quickstart/report.ts'
import { freePort, spawnServer, waitFor, waitUntilReady, type ServerProcess } from '../quickstart/server-process.ts'
import { check, problemsOf, reportTable, type Places } from './check.ts'
import type { Change } from './entities.ts'
import { changesOf } from './erp.ts'
import { feed } from './feed.ts'
import { readNorthwind } from './northwind.ts'
import { createTables } from './site.ts'
import { planDeliveries } from './webhooks.ts'

const preferredPort = 7070
const matchWithinMs = 120_000
const checkEveryMs = 1000
const config = join(import.meta.dirname, 'freshet.config.ts')
const defaultFolder = join(import.meta.dirname, '..', '..', '.freshet', 'erp-orders')

function say(line = ''): void {
  process.stdout.write(`${line}\n`)
}

interface Settings {
  kill: boolean
  orders: number | undefined
  folder: string
  site: string | undefined
}

async function run({ kill, orders, folder, site }: Settings): Promise<void> {
  const startedAt = performance.now()
  const changes = changesOf(readNorthwind(orders))
  lastingFolder(folder)
  const legacyFolder = join(folder, 'legacy')
  // The configuration reads both.
  process.env['LEGACY_DIR'] = legacyFolder
  if (site !== undefined) await createTables(site)
  else say('SITE_DB is not set, so there is no website: only the batch files are made and checked.\n')
  const server = spawnServer({
    config,
    dataDir: join(folder, 'data'),
    port: await freePort(preferredPort),
    logFile: join(folder, 'server.log'),
  })
  try {
    await waitUntilReady(server)
    const places = { url: server.url, site, legacyFolder }
    const ended = server.ended.then((how) => {
      throw new Error(`the server ${how}`)
    })
    await Promise.race([sendAll(server, changes, kill), ended])
    await Promise.race([waitUntilAllMatches(places, changes), ended])
    say(`Legacy batches are in ${legacyFolder}`)
  } finally {
    await server.stop()
  }
  const seconds = Math.round((performance.now() - startedAt) / 100) / 10
  say(JSON.stringify({ 'erp-orders': 'ok', changes: changes.length, site: site !== undefined, killed: kill, seconds }))
}

/** The ERP sends its webhooks; half-way the worker may be killed. */
async function sendAll(server: ServerProcess, changes: readonly Change[], kill: boolean): Promise<void> {
  const deliveries = planDeliveries(changes)
  say(
    `The ERP tells of ${grouped(changes.length)} changes in ${grouped(deliveries.length)} webhooks to ${server.url} ...`,
  )
  const startedAt = performance.now()
  const half = Math.floor(deliveries.length / 2)
  let killing = Promise.resolve()
  const tally = await feed(server.url, deliveries, (sent) => {
    if (sent !== half) return
    say('Half of them are sent.')
    if (kill) killing = killWorker(server.url)
  })
  await killing
  const seconds = (performance.now() - startedAt) / 1000
  say(
    `All are acknowledged after ${seconds.toFixed(1)} s, ${grouped(tally.repeats)} of them told twice, some in the wrong order.`,
  )
}

async function killWorker(url: string): Promise<void> {
  const response = await fetch(`${url}/v1/status`)
  const { processes } = (await response.json()) as { processes: { role: string; pid: number }[] }
  const worker = processes.find(({ role }) => role === 'worker')
  if (worker === undefined) throw new Error('there is no worker to kill')
  process.kill(worker.pid, 'SIGKILL')
  say(`The worker, process ${worker.pid}, is killed.`)
}

/** Compares again and again, as everything arrives a moment later. @throws Error saying what is still wrong after two minutes */
async function waitUntilAllMatches(places: Places, changes: readonly Change[]): Promise<void> {
  const startedAt = performance.now()
  let problems: string[] = ['nothing could be compared yet']
  let report = ''
  const matches = async (): Promise<boolean> => {
    try {
      const reports = await check(places, changes)
      problems = problemsOf(reports)
      report = reportTable(reports)
    } catch (error) {
      problems = [error instanceof Error ? error.message : String(error)]
    }
    return problems.length === 0
  }
  await waitFor('everything to match', matchWithinMs, matches, checkEveryMs).catch((error: unknown) => {
    throw new Error(`what the ERP told has not arrived as it should:\n${report}\n  ${problems.join('\n  ')}`, {
      cause: error,
    })
  })
  say(`Everything matches ${((performance.now() - startedAt) / 1000).toFixed(1)} s later:\n\n${report}\n`)
}

const { values } = parseArgs({
  options: {
    kill: { type: 'boolean', default: false },
    orders: { type: 'string' },
    'data-dir': { type: 'string', default: defaultFolder },
  },
})
try {
  await run({
    kill: values.kill,
    orders: values.orders === undefined ? undefined : Number(values.orders),
    folder: resolve(values['data-dir']),
    site: process.env['SITE_DB'],
  })
} catch (error) {
  process.stderr.write(`erp-orders: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
