/**
 * From POST to SQL, shown on real trades: starts a server, lets twelve sites send to it at once, and tells what becomes of the
 * events. `npm run quickstart` stays up until Ctrl-C; `npm run quickstart -- --once` checks itself, prints one line of JSON last
 * and exits 0, or non-zero with the reason.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { lastingFolder, temporaryFolder, type DataFolder } from './data-folder.ts'
import { FreshnessWatch } from './freshness-watch.ts'
import { postEvents, sqlOnce } from './http-client.ts'
import { quantile } from './quantile.ts'
import { replay, type Tally } from './replay.ts'
import { barsSql, barsTable, dataFiles, fileTable, grouped, venueTable, venueTotals } from './report.ts'
import { readSample, type Trade } from './sample.ts'
import { freePort, spawnServer, waitFor, waitUntilReady, type ServerProcess } from './server-process.ts'
import { planSites, wrongTrade } from './sites.ts'
import { recognisedRepeats, verifyFiles, verifyTable, waitUntilCommitted } from './verify.ts'

const preferredPort = 7070
/** How long the trades of the first half hour of the day take here. */
const replayMs = 4000
const interruptedCode = 130
const engineWithinMs = 60_000
const firstCommitWithinMs = 60_000
const config = join(import.meta.dirname, 'freshet.config.ts')
const lastingPath = join(import.meta.dirname, '..', '..', '.freshet', 'quickstart')

/** What the last line of `--once` says. */
interface Outcome {
  quickstart: 'ok'
  /** Different trades sent; repeats do not count. */
  sent: number
  /** Rows in the table. */
  rows: number
  freshnessMs: { p50: number; p99: number }
  seconds: number
}

function say(line = ''): void {
  process.stdout.write(`${line}\n`)
}

/** Starts the server; its queries work when this returns. */
async function startServer(folder: DataFolder): Promise<ServerProcess> {
  const port = await freePort(preferredPort)
  if (port !== preferredPort) say(`Port ${preferredPort} is taken, so this server listens on ${port}.`)
  const server = spawnServer({ config, dataDir: folder.path, port, logFile: join(folder.path, 'server.log') })
  try {
    await waitUntilReady(server)
    await waitFor('the first query', engineWithinMs, () =>
      sqlOnce(server.url, 'select 1').then(
        () => true,
        () => false,
      ),
    )
    return server
  } catch (error) {
    await server.stop()
    throw error
  }
}

/** Sends everything, tells the story, and checks that it ended as it must. */
async function tell(url: string, trades: readonly Trade[], startedAt: number): Promise<Outcome> {
  const sites = planSites(trades)
  say(
    `\n${grouped(trades.length)} real SPY trades of 7 October 2013, sent by ${sites.length} sites at once, one an exchange.`,
  )
  say(
    'Some batches go out twice, some trades again in other batches, and those made before the opening bell come last.\n',
  )
  const watch = new FreshnessWatch(url)
  const watching = watch.run()
  const sending = replay(url, sites, { replayMs, watch, beforeLate: () => waitForFirstCommit(url) }).finally(() =>
    watch.end(),
  )
  const [tally, samplesMs] = await Promise.all([sending, watching])
  tellTally(tally)
  await tellRefusal(url, trades)

  const freshnessMs = { p50: rounded(quantile(samplesMs, 0.5)), p99: rounded(quantile(samplesMs, 0.99)) }
  say(
    `Freshness   ${freshnessMs.p50} ms p50, ${freshnessMs.p99} ms p99, from acknowledgement to the answer of a query (${samplesMs.length} probes)`,
  )
  say(`\nTrades a venue:\n\n${venueTable(await venueTotals(url))}`)
  say(`\nOne-minute bars after the opening bell:\n\n${await barsTable(url, 6)}`)

  await waitUntilCommitted(url)
  const files = await dataFiles(url)
  say(
    `\nThe Iceberg table on disk, ${files.length} Parquet files, cut by the hour the trades were made in:\n\n${fileTable(files)}`,
  )
  const rows = await verifyTable(url, trades)
  await verifyFiles(url, rows)
  const recognised = await recognisedRepeats(url)
  say(
    `\nChecked: ${grouped(rows)} rows for ${grouped(trades.length)} trades, each venue with its own trades and shares.`,
  )
  say(`The engine recognised ${grouped(recognised)} trades by their ids, which had come in other batches before.`)
  return {
    quickstart: 'ok',
    sent: trades.length,
    rows,
    freshnessMs,
    seconds: rounded((performance.now() - startedAt) / 1000),
  }
}

function tellTally(tally: Tally): void {
  say(
    `Accepted    ${grouped(tally.accepted)} trades in ${grouped(tally.requests)} requests, each on disk before its answer`,
  )
  say(
    `Duplicates  ${grouped(tally.duplicateBatchEvents)} in batches that came twice, ${grouped(tally.resent)} in other batches: ignored`,
  )
  say(`Late        ${grouped(tally.late)} trades, hours old when they came`)
}

/** One event that does not fit the schema, and what the server says about it. */
async function tellRefusal(url: string, trades: readonly Trade[]): Promise<void> {
  const [trade] = trades
  if (trade === undefined) return
  const answer = await postEvents(url, 'trades', {
    producer: 'site-with-a-bug',
    sequence: 0,
    events: [wrongTrade(trade)],
  })
  const [error] = answer.errors
  if (answer.rejected !== 1 || error === undefined)
    throw new Error(`a wrong event was answered ${JSON.stringify(answer)}`)
  say(`Rejected    1 event that is wrong on purpose: ${error.path ?? ''} ${error.reason}`)
}

async function waitForFirstCommit(url: string): Promise<void> {
  await waitFor('the first Iceberg commit', firstCommitWithinMs, async () => (await dataFiles(url)).length > 0)
}

function tellWhatToTry(url: string, dataDir: string): void {
  const option = url.endsWith(`:${preferredPort}`) ? '' : ` --url ${url}`
  const event = { ...readSample()[0], id: 'P-by-hand' }
  say(`
Try it, in another terminal:

  curl ${url}/v1/streams/trades/events --json '${JSON.stringify(event)}'
  curl ${url}/v1/sql --json '{"sql":"select venue, max(price) from trades group by venue"}'
  npm run freshet -- sql${option} "select * from freshet.snapshots"
  npm run freshet -- sql${option}            # a prompt, for queries like this one:

${barsSql.replaceAll(/^/gm, '      ')};

  npm run freshet -- status${option}
  ${url}/docs

The data is in ${dataDir}. Ctrl-C stops the server.`)
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10
}

/** Resolves at the first Ctrl-C (or SIGTERM, SIGHUP); the same signal can come twice, from the terminal and by way of npm. */
function interrupted(): Promise<'interrupted'> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => resolve('interrupted'))
  })
}

/** @param once check, say the outcome as JSON, and end @returns the exit code */
async function main(once: boolean): Promise<number> {
  const startedAt = performance.now()
  const stopping = interrupted()
  const folder = once ? temporaryFolder() : lastingFolder(lastingPath)
  let server: ServerProcess | undefined
  try {
    say('Starting a Freshet server: a gateway, an engine, and a supervisor that looks after them ...')
    server = await startServer(folder)
    say(`It listens on ${server.url}.`)
    const ended = server.ended.then((how) => {
      throw new Error(`the server ${how}`)
    })
    const outcome = await Promise.race([tell(server.url, readSample(), startedAt), ended, stopping])
    if (outcome === 'interrupted') return interruptedCode
    if (!once) {
      tellWhatToTry(server.url, folder.path)
      await Promise.race([stopping, ended])
      say('\nStopping ...')
    }
    await server.stop()
    if (once) say(JSON.stringify(outcome))
    return 0
  } finally {
    await server?.stop()
    folder.remove()
  }
}

const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } })
try {
  process.exitCode = await main(values.once)
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error)
  say(values.once ? JSON.stringify({ quickstart: 'failed', reason }) : `The quickstart failed: ${reason}`)
  process.exitCode = 1
}
// What was cut short may still be waiting for answers that will not come.
process.stdout.write('', () => process.exit())
