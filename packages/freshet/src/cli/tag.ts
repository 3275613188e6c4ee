/** `freshet tag`: names snapshots, which keeps them from expiring. */
import type { Command } from 'commander'
import { readDuration } from '../config/quantities.ts'
import { Client, serverUrl } from './client.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import { terminalWidth, writeOut, type CliContext } from './context.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { styleFor } from './output/style.ts'
import { renderTable } from './output/table.ts'
import { formatDuration } from './output/units.ts'

interface Flags {
  url?: string
  json?: boolean
}

interface CreateFlags extends Flags {
  snapshot?: string
  maxAge?: string
}

interface Tag {
  name: string
  snapshotId: string
  committedAt: string | null
  maxAgeMs: number | null
}

export function addTag(program: Command, environment: CommandEnvironment): void {
  const { context } = environment
  const tag = subcommand(program, 'tag', 'name snapshots of a table, which keeps them from expiring')
  const run = async (flags: Flags, work: (client: Client) => Promise<string>): Promise<void> => {
    const client = new Client(serverUrl(flags.url, context), 1)
    try {
      await writeOut(context.stdout, await work(client))
      environment.exit(exitCodes.ok)
    } finally {
      await client.close()
    }
  }
  withServer(subcommand(tag, 'create <table> <name>', 'tag a snapshot'))
    .option('--snapshot <id>', 'a snapshot, or another tag (default: the current one)')
    .option('--max-age <time>', 'the tag goes by itself when its snapshot is so old, like "30 days"')
    .action((table: string, name: string, flags: CreateFlags) =>
      run(flags, async (client) => {
        const body = {
          name,
          ...(flags.snapshot !== undefined && { snapshot: flags.snapshot }),
          ...(flags.maxAge !== undefined && { maxAgeMs: maxAgeMs(flags.maxAge) }),
        }
        const made = (await client.change('POST', tagsOf(table), body)) as Tag
        if (flags.json === true) return `${JSON.stringify(made, null, 2)}\n`
        return `${sanitiseCell(`${made.name} is snapshot ${made.snapshotId} of ${table}, ${made.committedAt}.`)}\n`
      }),
    )
  withServer(subcommand(tag, 'drop <table> <name>', 'drop a tag; its snapshot expires as others do')).action(
    (table: string, name: string, flags: Flags) =>
      run(flags, async (client) => {
        await client.change('DELETE', `${tagsOf(table)}/${encodeURIComponent(name)}`)
        if (flags.json === true) return `${JSON.stringify({ table, name, dropped: true }, null, 2)}\n`
        return `${sanitiseCell(`The tag ${name} of ${table} is dropped.`)}\n`
      }),
  )
  withServer(subcommand(tag, 'list <table>', 'list the tags of a table')).action((table: string, flags: Flags) =>
    run(flags, async (client) => {
      const answer = (await client.getJson(tagsOf(table))) as { tags: Tag[] }
      return flags.json === true ? `${JSON.stringify(answer, null, 2)}\n` : render(answer.tags, table, context)
    }),
  )
}

function withServer(command: Command): Command {
  return command
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
}

function tagsOf(table: string): string {
  return `/v1/tables/${encodeURIComponent(table)}/tags`
}

/** @throws FreshetError `invalid_usage` */
function maxAgeMs(text: string): number {
  const reading = readDuration(text)
  if ('value' in reading && reading.value >= 1) return reading.value
  throw usageError(`"${text}" is no time.`, 'Write it like "30 days" or "12 hours".')
}

const columns = [{ name: 'tag' }, { name: 'snapshot' }, { name: 'committed at' }, { name: 'goes after' }] as const

function render(tags: readonly Tag[], table: string, context: CliContext): string {
  if (tags.length === 0) return `${sanitiseCell(table)} has no tags.\n`
  const rows = tags.map(({ name, snapshotId, committedAt, maxAgeMs: ageMs }) => [
    name,
    snapshotId,
    committedAt ?? '-',
    ageMs === null ? 'never' : formatDuration(ageMs),
  ])
  return renderTable(columns, rows, { style: styleFor(context, context.stdout), width: terminalWidth(context.stdout) })
    .text
}
