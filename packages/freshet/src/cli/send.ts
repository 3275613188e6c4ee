import { Option, type Command } from 'commander'
import { cellTypes, type CellType } from './cell-types.ts'
import { Client, serverUrl } from './client.ts'
import { collect, splitPair, subcommand, wholeNumber, type CommandEnvironment } from './command.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { findSources, type InputFormat } from './send/input.ts'
import { SendJob, type SendOptions } from './send/job.ts'
import type { Compression } from './send/deliver.ts'
import { formatCount, formatDuration, plural } from './output/units.ts'

interface SendFlags {
  url?: string
  format?: InputFormat
  batch: number
  concurrency: number
  producer?: string
  source?: string
  types: 'auto' | 'string'
  type?: string[]
  null?: string
  header?: string
  delimiter?: string
  compress: Compression
  rejects?: string
  errors: number
  retryFor?: number
  linger?: number
  json?: boolean
  quiet?: boolean
}

export function addSend(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'send', 'send events from files or a pipe; sending the same again changes nothing')
    .argument('<stream>', 'the stream to send to')
    .argument('[files...]', 'NDJSON, JSON or CSV, also .gz and .zst; - or none: standard input')
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .addOption(
      new Option('--format <format>', 'what the input is (default: by name, else by its first line)').choices([
        'ndjson',
        'json',
        'csv',
      ]),
    )
    .option('--batch <events>', 'events in one request', wholeNumber(1, 100_000), 500)
    .option('--concurrency <requests>', 'requests at once', wholeNumber(1, 64), 4)
    .option('--producer <name>', 'producer id, instead of one made from the content')
    .option('--source <name>', 'where the events come from, kept in _source')
    .addOption(
      new Option('--types <how>', 'CSV cells: find numbers and booleans, or leave all text')
        .choices(['auto', 'string'])
        .default('auto'),
    )
    .option('--type <column=type>', `type of one CSV column: ${cellTypes.join(', ')} (repeatable)`, collect)
    .option('--null <text>', 'CSV cells of this text are null')
    .option('--header <names>', 'names of the CSV columns, when the input has no header row')
    .option('--delimiter <character>', 'what separates CSV cells (default: comma; tab for .tsv)')
    .addOption(new Option('--compress <how>', 'compress requests').choices(['gzip', 'zstd', 'none']).default('none'))
    .option('--rejects <file>', 'write rejected events to this file')
    .option('--errors <count>', 'rejected events to print', wholeNumber(0, 1_000_000), 10)
    .option(
      '--retry-for <seconds>',
      'how long to try again (default: 120, but 5 until the first answer)',
      wholeNumber(0, 86_400),
    )
    .option('--linger <ms>', 'send what there is after this long without input, for live pipes', wholeNumber(1, 60_000))
    .option('--json', 'print the result as JSON on standard output')
    .option('--quiet', 'show no progress')
    .addHelpText('after', sendExamples)
    .action(async (stream: string, files: string[], flags: SendFlags) =>
      environment.exit(await send(stream, files, flags, environment)),
    )
}

const sendExamples = `
Examples:
  freshet send trades trades.ndjson
  freshet send trades part-*.csv.gz --type venue=string --rejects bad.ndjson
  tail -f app.log.ndjson | freshet send logs --linger 200`

async function send(
  stream: string,
  files: string[],
  flags: SendFlags,
  { context }: CommandEnvironment,
): Promise<number> {
  const client = new Client(serverUrl(flags.url, context), flags.concurrency)
  try {
    const sources = await findSources(files, context)
    const job = new SendJob(client, context, sendOptions(stream, flags))
    const off = context.onInterrupt(() => job.interrupt())
    try {
      await job.run(sources)
    } finally {
      off()
      job.close()
      conclude(job, stream, flags, context.stderr.write.bind(context.stderr))
      if (flags.json === true) context.stdout.write(`${JSON.stringify(resultJson(job, stream))}\n`)
    }
    if (job.interrupted) return exitCodes.interrupted
    return job.report.rejected > 0 ? exitCodes.failed : exitCodes.ok
  } finally {
    await client.close()
  }
}

function conclude(job: SendJob, stream: string, flags: SendFlags, write: (text: string) => unknown): void {
  const { report } = job
  const { accepted, duplicates, rejected, retries, unprinted } = report
  if (unprinted > 0) write(`... and ${formatCount(unprinted)} more rejected\n`)
  if (flags.quiet === true) return
  const rate = Math.round((report.handled * 1000) / job.elapsedMs)
  write(
    `${plural(report.handled, 'event')} to ${stream} in ${formatDuration(job.elapsedMs)} (${formatCount(rate)}/s): ` +
      `${formatCount(accepted)} accepted, ${plural(duplicates, 'duplicate')}, ${formatCount(rejected)} rejected` +
      `${retries === 0 ? '' : `, ${retries === 1 ? '1 retry' : `${formatCount(retries)} retries`}`}\n`,
  )
  if (job.interrupted)
    write(`Stopped ${job.reached}. The same command sends the rest; what was accepted is not taken twice.\n`)
  else if (accepted === 0 && duplicates > 0 && retries === 0) {
    write('All of it had been sent before. To take it in again as new events, give --producer a name not used yet.\n')
  }
}

function resultJson(job: SendJob, stream: string): Record<string, unknown> {
  const { accepted, duplicates, rejected, retries } = job.report
  return {
    stream,
    accepted,
    duplicates,
    rejected,
    retries,
    interrupted: job.interrupted,
    seconds: job.elapsedMs / 1000,
  }
}

function sendOptions(stream: string, flags: SendFlags): SendOptions {
  if (flags.delimiter !== undefined && !isDelimiter(flags.delimiter)) {
    throw usageError(
      '--delimiter must be one character, not a quote or a line break.',
      "A tab is written as \\t or $'\\t'.",
    )
  }
  for (const name of ['producer', 'source'] as const) {
    const value = flags[name]
    if (value !== undefined && !/^[\u0020-\u007e]{1,128}$/.test(value)) {
      throw usageError(`--${name} must be 1 to 128 printable ASCII characters.`)
    }
  }
  return {
    stream,
    format: flags.format ?? null,
    delimiter: flags.delimiter === '\\t' ? '\t' : (flags.delimiter ?? null),
    csv: {
      header: flags.header === undefined ? null : flags.header.split(','),
      types: flags.types,
      columnTypes: columnTypes(flags.type ?? []),
      nullText: flags.null ?? null,
    },
    batchEvents: flags.batch,
    concurrency: flags.concurrency,
    producer: flags.producer ?? null,
    source: flags.source ?? null,
    compression: flags.compress,
    rejectsFile: flags.rejects ?? null,
    errorsMax: flags.errors,
    retryForMs: flags.retryFor === undefined ? null : flags.retryFor * 1000,
    lingerMs: flags.linger ?? null,
    quiet: flags.quiet === true,
  }
}

function isDelimiter(text: string): boolean {
  return text === '\\t' || (text.length === 1 && !'"\r\n'.includes(text))
}

function columnTypes(pairs: readonly string[]): Record<string, CellType> {
  return Object.fromEntries(
    pairs.map((text) => {
      const pair = splitPair(text)
      if (pair === null || !(cellTypes as readonly string[]).includes(pair[1])) {
        throw usageError(`--type ${text} is not COLUMN=TYPE.`, `Types are ${cellTypes.join(', ')}.`)
      }
      return [pair[0], pair[1] as CellType]
    }),
  )
}
