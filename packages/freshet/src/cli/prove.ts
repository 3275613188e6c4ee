import { closeSync, openSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { InvalidArgumentError, type Command } from 'commander'
import { messageOf } from '../runtime/errors.ts'
import { serverUrl } from './client.ts'
import { subcommand, wholeNumber, type CommandEnvironment } from './command.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { styleFor } from './output/style.ts'
import { isProved, type Facts } from './prove/facts.ts'
import { htmlReport } from './prove/html-report.ts'
import { jsonReport } from './prove/json-report.ts'
import { defaultEvents, proveOptions, type ProveFlags } from './prove/options.ts'
import { textReport } from './prove/report.ts'
import { ProveRun } from './prove/run.ts'
import { Show } from './prove/show.ts'

export function addProve(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'prove', 'send events under faults, then audit every one: none may be missing or there twice')
    .option(
      '--events <count>',
      `events to send (default: ${defaultEvents}, or all rows of --input)`,
      wholeNumber(1, 100_000_000),
    )
    .option('--sites <count>', 'sites that send at once', wholeNumber(1, 500), 12)
    .option('--duplicates <part>', 'part of the events that is sent twice', fraction, 0.1)
    .option('--late <part>', 'part of the events that is hours or days late', fraction, 0.1)
    .option('--kill <count>', 'kill -9 of gateway, engine or supervisor, so often', wholeNumber(0, 10_000), 0)
    .option('--input <files...>', 'send the rows of these files: CSV or NDJSON, also .gz, .zst and .zip')
    .option('--columns <names>', 'names of the columns of CSV without a header, such as a,b,c')
    .option('--batch <events>', 'events in a request, about', wholeNumber(1, 20_000), 500)
    .option(
      '--rate <events>',
      'events a second, all sites together (default: as fast as they are taken)',
      wholeNumber(1, 100_000_000),
    )
    .option('--readers <count>', 'readers that query all the time', wholeNumber(0, 64), 2)
    .option(
      '--seed <number>',
      'decides everything that is left to chance (default: another one each time)',
      wholeNumber(0, 2 ** 31),
    )
    .option('--url <url>', 'a server that runs already (default: one is started in a temporary folder)')
    .option('--stream <name>', 'the stream to send to', 'prove')
    .option('--data-dir <folder>', 'folder for the server that is started; it is kept')
    .option('--keep', 'keep the folder of the server that is started')
    .option('--json <file>', 'write the report as JSON to this file; - is standard output')
    .option('--html <file>', 'write the report as a page with charts to this file')
    .option('--quiet', 'show no progress')
    .addHelpText('after', examples)
    .action(async (flags: ProveFlags) => environment.exit(await prove(flags, environment)))
}

const examples = `
Examples:
  freshet prove
  freshet prove --events 1000000 --duplicates 0.1 --late 0.1 --kill 20 --html report.html
  freshet prove --input trades.csv --columns ms,price,size --kill 5`

async function prove(flags: ProveFlags, { context, version }: CommandEnvironment): Promise<number> {
  const url = flags.url === undefined ? {} : { url: serverUrl(flags.url, context) }
  const options = proveOptions({ ...flags, ...url }, context.cwd)
  const files = [flags.json, flags.html].filter((file) => file !== undefined && file !== '-')
  for (const file of files) closeSync(open(file!, context.cwd))
  const show = new Show(context, flags.quiet === true)
  const run = new ProveRun({ options, context, version, show })
  const off = context.onInterrupt(() => run.interrupt())
  let facts: Facts
  try {
    facts = await run.run()
  } catch (error) {
    if (!run.interrupted) throw error
    show.line(`Interrupted; nothing of it runs any more. The seed was ${options.seed}.`)
    return exitCodes.interrupted
  } finally {
    off()
    show.clear()
    if (options.keep && run.folder !== undefined) {
      show.line(`The server's folder is kept: ${run.folder}; "freshet verify", run there, checks it again.`)
    }
  }
  const json = `${JSON.stringify(jsonReport(facts), null, 2)}\n`
  if (flags.json === '-') context.stdout.write(json)
  else context.stdout.write(textReport(facts, styleFor(context, context.stdout)))
  if (flags.json !== undefined && flags.json !== '-') writeFileSync(resolve(context.cwd, flags.json), json)
  if (flags.html !== undefined) writeFileSync(resolve(context.cwd, flags.html), htmlReport(facts))
  return isProved(facts) ? exitCodes.ok : exitCodes.failed
}

/** A report that cannot be written is found out before the run. */
function open(file: string, cwd: string): number {
  try {
    return openSync(resolve(cwd, file), 'a')
  } catch (error) {
    throw usageError(`The report ${file} cannot be written: ${messageOf(error)}.`)
  }
}

function fraction(text: string): number {
  const value = Number(text)
  if (!/^\d*\.?\d+$/.test(text) || value > 1) throw new InvalidArgumentError('Give a part from 0 to 1, such as 0.1.')
  return value
}
