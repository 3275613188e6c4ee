import type { Command } from 'commander'
import { FreshetError } from '../runtime/errors.ts'
import { siteNameFault } from '../sites/site-registry.ts'
import { Client, serverUrl } from './client.ts'
import { collect, subcommand, type CommandEnvironment } from './command.ts'
import { terminalWidth, writeOut, type CliContext } from './context.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { styleFor } from './output/style.ts'
import { renderTable } from './output/table.ts'
import { formatDuration } from './output/units.ts'
import { completenessLines } from './sites/completeness.ts'

interface Flags {
  url?: string
  json?: boolean
}

interface AddFlags extends Flags {
  streams: string
  paused?: boolean
}

interface HeartbeatFlags extends Flags {
  stream: string[]
  until: string
}

/** A site, as the server answers. */
interface Site {
  name: string
  streams: 'all' | string[]
  state: string
}

/** A row of `freshet.sites`. */
interface Report {
  stream: string
  site: string
  state: string
  reported_through: string | null
  last_event_time: string | null
  lag_ms: number | null
  silent_ms: number | null
  holds_back: boolean
  complete_through: string | null
}

const reportsMax = 1000

export function addSites(program: Command, environment: CommandEnvironment): void {
  const { context } = environment
  const sites = subcommand(program, 'sites', 'show, add, pause and remove the sites that are expected to report')
  const run = async (flags: Flags, work: (client: Client) => Promise<string>): Promise<void> => {
    const client = new Client(serverUrl(flags.url, context), 2)
    try {
      await writeOut(context.stdout, await work(client))
      environment.exit(exitCodes.ok)
    } finally {
      await client.close()
    }
  }
  const change = (name: string, flags: Flags, body: unknown): Promise<void> =>
    run(flags, async (client) => {
      const site = (await client.change('PUT', pathOf(name), body)) as Site
      return flags.json === true ? jsonText(site) : `${describe(site)}\n`
    })

  withServer(sites.command('list', { isDefault: true }))
    .description('list the sites and what each has reported (the default)')
    .option('--debug', 'show where an error comes from')
    .action((flags: Flags) => run(flags, (client) => list(client, flags, context)))
  withServer(subcommand(sites, 'add <name>', 'add a site, or change the streams it reports to'))
    .option('--streams <names>', 'the streams it reports to, with commas between them', 'all')
    .option('--paused', 'paused at first: it holds nothing back')
    .action((name: string, flags: AddFlags) =>
      change(name, flags, {
        streams: flags.streams === 'all' ? 'all' : flags.streams.split(',').map((stream) => stream.trim()),
        ...(flags.paused === true && { state: 'paused' }),
      }),
    )
  withServer(subcommand(sites, 'pause <name>', 'let a site hold nothing back any more')).action(
    (name: string, flags: Flags) => change(name, flags, { state: 'paused' }),
  )
  withServer(subcommand(sites, 'resume <name>', 'wait for a paused site again')).action((name: string, flags: Flags) =>
    change(name, flags, { state: 'active' }),
  )
  withServer(subcommand(sites, 'remove <name>', 'forget a site; its events stay')).action(
    (name: string, flags: Flags) =>
      run(flags, async (client) => {
        await client.change('DELETE', pathOf(name))
        return flags.json === true ? jsonText({ name, removed: true }) : `${sanitiseCell(name)} is removed.\n`
      }),
  )
  withServer(subcommand(sites, 'heartbeat <name>', 'report for a site that there is nothing (more) until a time'))
    .requiredOption('--stream <name>', 'the stream; may come several times', collect)
    .requiredOption('--until <time>', 'ISO 8601 with Z or an offset, or: now')
    .action((name: string, flags: HeartbeatFlags) => run(flags, (client) => heartbeat(client, name, flags, context)))
}

function withServer(command: Command): Command {
  return command
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
}

/** @throws FreshetError `invalid_usage` for what cannot be the name of a site */
function checked(name: string): string {
  const fault = siteNameFault(name)
  if (fault !== undefined) throw usageError(`"${name}" cannot be the name of a site: ${fault}.`)
  return name
}

function pathOf(name: string): string {
  return `/v1/sites/${encodeURIComponent(checked(name))}`
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

function describe({ name, streams, state }: Site): string {
  return sanitiseCell(`${name} is ${state}; it reports to ${streamsText(streams)}.`)
}

function streamsText(streams: Site['streams']): string {
  return streams === 'all' ? 'all streams' : streams.join(', ')
}

async function heartbeat(client: Client, name: string, flags: HeartbeatFlags, context: CliContext): Promise<string> {
  const until = flags.until === 'now' ? new Date(context.nowMs()).toISOString() : flags.until
  const answers: { stream: string; source: string; until: string }[] = []
  for (const stream of flags.stream) {
    const path = `/v1/streams/${encodeURIComponent(stream)}/heartbeats`
    answers.push(
      (await client.change('POST', path, { until }, { 'freshet-source': checked(name) })) as (typeof answers)[number],
    )
  }
  if (flags.json === true) return jsonText(answers)
  return answers
    .map((answer) => `${sanitiseCell(`${answer.source} has reported ${answer.stream} until ${answer.until}.`)}\n`)
    .join('')
}

async function list(client: Client, flags: Flags, context: CliContext): Promise<string> {
  const { sites } = (await client.getJson('/v1/sites')) as { sites: Site[] }
  const reports = await fetchReports(client)
  if (flags.json === true) return jsonText({ sites, reports })
  if (sites.length === 0 && (reports ?? []).length === 0)
    return 'No sites. Add one by `freshet sites add NAME`; NAME is what it sends as Freshet-Source.\n'
  return render(sites, reports, context)
}

/** What each site has reported; null while the engine cannot tell. */
async function fetchReports(client: Client): Promise<Report[] | null> {
  const query = `select * from freshet.sites order by state = 'unregistered', site, stream limit ${reportsMax}`
  try {
    const response = await client.sql(query, { format: 'json' })
    return (JSON.parse(await client.readText(response)) as { rows: Report[] }).rows
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'engine_unavailable') return null
    throw error
  }
}

const columns = [
  { name: 'site' },
  { name: 'state' },
  { name: 'stream' },
  { name: 'reported through' },
  { name: 'behind', align: 'right' },
  { name: 'silent', align: 'right' },
  { name: 'last event' },
] as const

function render(sites: readonly Site[], reports: readonly Report[] | null, context: CliContext): string {
  const style = styleFor(context, context.stdout)
  const told = new Set(reports?.map(({ site }) => site))
  const rows = [
    ...sites
      .filter(({ name }) => !told.has(name))
      .map(({ name, state, streams }) => [name, state, streamsText(streams), '-', '-', '-', '-']),
    ...(reports ?? []).map(reportRow),
  ]
  let text = renderTable(columns, rows, { style, width: terminalWidth(context.stdout) }).text
  if (reports === null) text += style.yellow('The engine is not running: what the sites have reported is not known.\n')
  if (reports?.length === reportsMax)
    text += style.dim(`Only the first ${reportsMax} rows of freshet.sites are shown.\n`)
  const lines = completenessLines(byStream(reports ?? []))
  return lines.length === 0 ? text : `${text}\n${lines.map((line) => `${line}\n`).join('')}`
}

function reportRow(report: Report): string[] {
  return [
    report.site,
    report.state,
    report.stream,
    report.reported_through ?? '-',
    report.lag_ms === null ? '-' : formatDuration(Math.max(0, report.lag_ms)),
    report.silent_ms === null ? '-' : formatDuration(report.silent_ms),
    report.last_event_time ?? '-',
  ]
}

function byStream(reports: readonly Report[]): Parameters<typeof completenessLines>[0] {
  return [...Map.groupBy(reports, ({ stream }) => stream)].map(([name, rows]) => ({
    name,
    completeThrough: rows[0]!.complete_through,
    sites: rows.map((row) => ({
      site: row.site,
      state: row.state,
      silentMs: row.silent_ms,
      holdsBack: row.holds_back,
    })),
  }))
}
