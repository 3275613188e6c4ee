/** `freshet objects`: puts files into buckets, fetches, lists and removes objects, and rotates the keys of a bucket. */
import type { Command } from 'commander'
import type { Rotation } from '../objects/rotate.ts'
import { Client, serverUrl } from './client.ts'
import { collect, splitPair, subcommand, type CommandEnvironment } from './command.ts'
import { terminalWidth, writeOut, type CliContext } from './context.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { getObject } from './objects/get-object.ts'
import { localFiles } from './objects/local-files.ts'
import { bucketPath, objectPath } from './objects/object-paths.ts'
import { putFiles, type PutReport } from './objects/put-files.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { styleFor } from './output/style.ts'
import { renderTable } from './output/table.ts'
import { formatBytes, plural } from './output/units.ts'

interface Flags {
  url?: string
  json?: boolean
}

interface PutFlags extends Flags {
  key?: string
  prefix?: string
  recursive?: boolean
  type?: string
  meta?: string[]
  source?: string
  new?: boolean
}

interface GetFlags extends Flags {
  output?: string
  version?: string
}

interface ListFlags extends Flags {
  prefix?: string
  folders?: boolean
}

interface Bucket {
  name: string
  stream: string
  compressed: boolean
  encrypted: boolean
}

interface ListedObject {
  key: string
  size: number
  contentType: string
  putAt: string
  version: number
}

interface Page {
  objects: ListedObject[]
  prefixes: string[]
  next: string | null
}

export function addObjects(program: Command, environment: CommandEnvironment): void {
  const { context } = environment
  const objects = subcommand(program, 'objects', 'put files into buckets, and fetch, list and remove objects')
  const run = async (flags: Flags, work: (client: Client) => Promise<string>): Promise<void> => {
    const client = new Client(serverUrl(flags.url, context), 8)
    try {
      environment.exit(exitCodes.ok)
      await writeOut(context.stdout, await work(client))
    } finally {
      await client.close()
    }
  }

  withServer(subcommand(objects, 'put <bucket> <path...>', 'put files; what the bucket has already is not sent again'))
    .option('--key <key>', 'the key of a single file (default: its name)')
    .option('--prefix <text>', 'put in front of every key')
    .option('-r, --recursive', 'all files of folders, each with its path below the folder as key')
    .option('--type <type>', 'the Content-Type (default: by the name of the file)')
    .option('--meta <name=value>', 'metadata; may come several times', collect)
    .option('--source <name>', 'the _source of the events')
    .option('--new', 'refuse keys that are taken')
    .action((bucket: string, paths: string[], flags: PutFlags) =>
      run(flags, async (client) => {
        const report = await put(client, bucket, paths, flags, context)
        if (report.failed.length > 0) environment.exit(exitCodes.failed)
        return flags.json === true ? jsonText(report) : putText(report, context)
      }),
    )
  withServer(subcommand(objects, 'get <bucket> <key>', 'fetch an object'))
    .option('-o, --output <file>', 'a file, or a folder (default: standard output)')
    .option('--version <number>', 'an earlier version, while it is kept')
    .action((bucket: string, key: string, flags: GetFlags) =>
      run(flags, async (client) => {
        const file = await getObject(client, { bucket, key, version: flags.version, output: flags.output }, context)
        if (file === undefined) return ''
        return flags.json === true ? jsonText({ bucket, key, file }) : `${sanitiseCell(file)}\n`
      }),
    )
  withServer(subcommand(objects, 'list [bucket]', 'list the objects of a bucket, or the buckets'))
    .option('--prefix <text>', 'only keys that begin so')
    .option('--folders', 'show what is below a slash by its folder only')
    .action((bucket: string | undefined, flags: ListFlags) =>
      run(flags, (client) =>
        bucket === undefined ? listBuckets(client, flags, context) : list(client, bucket, flags, context),
      ),
    )
  withServer(subcommand(objects, 'delete <bucket> <key...>', 'remove objects')).action(
    (bucket: string, keys: string[], flags: Flags) =>
      run(flags, async (client) => {
        for (const key of keys) await client.change('DELETE', objectPath(bucket, key))
        if (flags.json === true) return jsonText({ bucket, removed: keys })
        return `${plural(keys.length, 'object')} removed from ${sanitiseCell(bucket)}.\n`
      }),
  )
  withServer(subcommand(objects, 'rotate <bucket>', 'wrap the keys of all objects by the newest master key')).action(
    (bucket: string, flags: Flags) =>
      run(flags, async (client) => {
        const done = (await client.change('POST', bucketPath(bucket, { rotate: '' }))) as Rotation
        if (done.unreadable > 0) environment.exit(exitCodes.failed)
        return flags.json === true ? jsonText(done) : rotationText(done)
      }),
  )
}

function withServer(command: Command): Command {
  return command
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

async function put(
  client: Client,
  bucket: string,
  paths: readonly string[],
  flags: PutFlags,
  context: CliContext,
): Promise<PutReport> {
  const { key, prefix, recursive, type, source } = flags
  const files = await localFiles(paths, { cwd: context.cwd, key, prefix, recursive })
  // Said once, and not for each file.
  await client.getJson(bucketPath(bucket, { limit: '1' }))
  const metadata = Object.fromEntries((flags.meta ?? []).map(metaPair))
  return putFiles(client, files, { bucket, type, metadata, source, onlyNew: flags.new === true }, context)
}

function metaPair(text: string): [string, string] {
  const pair = splitPair(text)
  if (pair === null || !/^[\w.-]{1,128}$/.test(pair[0]))
    throw usageError(`"${text}" is no metadata.`, 'Write it like --meta host=web-1.')
  return [pair[0].toLowerCase(), pair[1]]
}

function putText({ done, failed, bytes }: PutReport, context: CliContext): string {
  const style = styleFor(context, context.stdout)
  const sent = done.filter(({ outcome }) => outcome === 'put').length
  const unchanged = done.length - sent
  const lines = failed.map(({ key, message, hint }) =>
    style.red(sanitiseCell(`${key}: ${message}${hint === null ? '' : ` ${hint}`}`)),
  )
  const parts = [`${plural(sent, 'object')} put`, ...(unchanged > 0 ? [`${unchanged} there already`] : [])]
  if (failed.length > 0) parts.push(`${failed.length} not put; the same command goes on with them`)
  return `${[...lines, `${parts.join(', ')} (${formatBytes(bytes)}).`].join('\n')}\n`
}

function rotationText({ rewrapped, current, plain, unreadable, problems }: Rotation): string {
  const lines = [`${plural(rewrapped, 'key')} wrapped by the newest master key, ${current} were already.`]
  if (plain > 0)
    lines.push(`${plural(plain, 'object')} put before the bucket was encrypted: put them again to encrypt them.`)
  if (unreadable > 0) lines.push(`${plural(unreadable, 'object')} cannot be read:`, ...problems.map(sanitiseCell))
  else lines.push('The older master keys are needed no more.')
  return `${lines.join('\n')}\n`
}

async function listBuckets(client: Client, flags: Flags, context: CliContext): Promise<string> {
  const answer = (await client.getJson('/v1/objects')) as { buckets: Bucket[] }
  if (flags.json === true) return jsonText(answer)
  if (answer.buckets.length === 0) return 'No buckets. Declare them under `buckets` in freshet.config.ts.\n'
  const columns = [{ name: 'bucket' }, { name: 'stream' }, { name: 'stored' }]
  const rows = answer.buckets.map(({ name, stream, compressed, encrypted }) => [
    name,
    stream,
    [compressed && 'compressed', encrypted && 'encrypted'].filter(Boolean).join(', ') || 'as they come',
  ])
  return renderTable(columns, rows, { style: styleFor(context, context.stdout), width: terminalWidth(context.stdout) })
    .text
}

const objectColumns = [{ name: 'key' }, { name: 'size', align: 'right' }, { name: 'type' }, { name: 'put at' }] as const

async function list(client: Client, bucket: string, flags: ListFlags, context: CliContext): Promise<string> {
  const all: Omit<Page, 'next'> = { objects: [], prefixes: [] }
  for (let after: string | null = ''; after !== null;) {
    const query = {
      limit: '1000',
      prefix: flags.prefix ?? '',
      after,
      ...(flags.folders === true && { delimiter: '/' }),
    }
    const page = (await client.getJson(bucketPath(bucket, query))) as Page
    all.objects.push(...page.objects)
    all.prefixes.push(...page.prefixes)
    after = page.next
  }
  if (flags.json === true) return jsonText(all)
  if (all.objects.length + all.prefixes.length === 0) return 'No objects.\n'
  const rows = [
    ...all.prefixes.map((prefix) => [prefix, '-', '-', '-']),
    ...all.objects.map(({ key, size, contentType, putAt }) => [key, formatBytes(size), contentType, putAt]),
  ]
  return renderTable(objectColumns, rows, {
    style: styleFor(context, context.stdout),
    width: terminalWidth(context.stdout),
  }).text
}
