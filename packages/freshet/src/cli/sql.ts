import { readFile } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { Option, type Command } from 'commander'
import { messageOf } from '../runtime/errors.ts'
import { cellJson } from './cell-types.ts'
import { Client, serverUrl, type SqlFormat } from './client.ts'
import { collect, splitPair, subcommand, type CommandEnvironment } from './command.ts'
import type { CliContext } from './context.ts'
import { exitCodeOf, exitCodes, usageError } from './exit-codes.ts'
import { renderFailure } from './output/failure.ts'
import { styleFor } from './output/style.ts'
import { execute, type OutputFormat } from './sql/execute.ts'
import { History, historyPath } from './sql/history.ts'
import { Prompt } from './sql/prompt.ts'
import { isBlankSql, splitStatements } from './sql/statements.ts'

interface SqlFlags {
  url?: string
  file?: string
  format?: OutputFormat
  param?: string[]
  asOf?: string
  output?: string
  debug?: boolean
}

export function addSql(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'sql', 'query the streams; without a query, a prompt')
    .argument('[query]', 'one or more SELECT statements; without it, --file, or standard input')
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--file <file>', 'read the query from this file')
    .addOption(
      new Option('--format <format>', 'how to print the result (default: by the name of --output, else table)').choices(
        ['table', 'json', 'ndjson', 'csv', 'parquet'],
      ),
    )
    .option('--param <name=value>', 'value of $name in the query (repeatable)', collect)
    .option('--as-of <moment>', 'read the streams as they were: a time, a snapshot id, or a tag')
    .option('--output <file>', 'write the result to this file')
    .addHelpText('after', sqlExamples)
    .action(async (query: string | undefined, flags: SqlFlags) =>
      environment.exit(await sql(query, flags, environment.context)),
    )
}

const sqlExamples = `
Examples:
  freshet sql "select symbol, count(*) from trades group by all"
  freshet sql "select * from trades where symbol = $symbol" --param symbol=SPY --output spy.parquet
  freshet sql "select count(*) from trades" --as-of 2026-11-20T09:30:00Z
  freshet sql --format ndjson < query.sql | jq .`

async function sql(query: string | undefined, flags: SqlFlags, context: CliContext): Promise<number> {
  const format = flags.format ?? formatOf(flags.output) ?? 'table'
  const params = parseParams(flags.param ?? [])
  if (format === 'parquet' && flags.output === undefined && context.stdout.isTTY === true) {
    throw usageError(
      'Parquet is binary and would garble the terminal.',
      'Add --output FILE.parquet, or redirect the output.',
    )
  }
  const client = new Client(serverUrl(flags.url, context), 2)
  try {
    const text = await queryText(query, flags, context)
    if (text === null) {
      const history = await History.load(historyPath(context.env))
      await new Prompt({
        client,
        context,
        format,
        params,
        asOf: flags.asOf,
        history,
        debug: flags.debug === true,
      }).run()
      return exitCodes.ok
    }
    const outputFile = flags.output === undefined ? null : resolve(context.cwd, flags.output)
    return await runAll(statementsOf(text, format, outputFile), {
      client,
      context,
      format,
      params,
      asOf: flags.asOf,
      outputFile,
      debug: flags.debug === true,
    })
  } finally {
    await client.close()
  }
}

interface RunOptions {
  client: Client
  context: CliContext
  format: OutputFormat
  params: Record<string, unknown>
  asOf: string | undefined
  outputFile: string | null
  debug: boolean
}

async function runAll(statements: readonly string[], options: RunOptions): Promise<number> {
  const { context, debug } = options
  const stop = new AbortController()
  const off = context.onInterrupt(() => stop.abort())
  try {
    for (const statement of statements) {
      try {
        await execute(statement, { ...options, signal: stop.signal })
      } catch (error) {
        if (stop.signal.aborted) return exitCodes.interrupted
        context.stderr.write(renderFailure(error, { style: styleFor(context, context.stderr), debug, sql: statement }))
        return exitCodeOf(error)
      }
    }
    return exitCodes.ok
  } finally {
    off()
  }
}

/** The SQL from wherever it comes; null: there is a person to ask. */
async function queryText(query: string | undefined, flags: SqlFlags, context: CliContext): Promise<string | null> {
  if (query !== undefined && flags.file !== undefined) throw usageError('Give either a query or --file, not both.')
  if (query !== undefined) return query
  if (flags.file !== undefined && flags.file !== '-') {
    try {
      return await readFile(resolve(context.cwd, flags.file), 'utf8')
    } catch (error) {
      throw usageError(`${flags.file} cannot be read: ${messageOf(error)}.`)
    }
  }
  if (context.stdin.isTTY === true && flags.file === undefined) {
    if (flags.output !== undefined)
      throw usageError('--output needs a query.', 'freshet sql "select ..." --output FILE')
    return null
  }
  const chunks: Buffer[] = []
  for await (const chunk of context.stdin) chunks.push(Buffer.from(chunk as Buffer | string))
  return Buffer.concat(chunks).toString()
}

function statementsOf(text: string, format: OutputFormat, outputFile: string | null): string[] {
  const { statements, rest } = splitStatements(text.replace(/^\ufeff/, ''))
  const all = isBlankSql(rest) ? statements : [...statements, rest.trim()]
  if (all.length === 0) throw usageError('The query is empty.', 'freshet sql "select * from freshet.streams"')
  if (all.length > 1 && (format === 'parquet' || outputFile !== null)) {
    throw usageError(
      `There are ${all.length} statements, but ${outputFile === null ? 'Parquet' : 'a file'} holds one result.`,
      'Run them one by one.',
    )
  }
  return all
}

const formatByExtension: Readonly<Record<string, SqlFormat>> = {
  '.json': 'json',
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.csv': 'csv',
  '.parquet': 'parquet',
}

function formatOf(output: string | undefined): SqlFormat | undefined {
  return output === undefined ? undefined : formatByExtension[extname(output).toLowerCase()]
}

/** Values are typed as CSV cells are; one in double quotes is a string whatever it looks like; `null` is null. */
function parseParams(pairs: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map((text) => {
      const pair = splitPair(text)
      if (pair === null) throw usageError(`--param ${text} is not NAME=VALUE.`, 'For example: --param symbol=SPY')
      const [name, value] = pair
      return [name.replace(/^\$/, ''), paramValue(value)]
    }),
  )
}

function paramValue(text: string): unknown {
  if (text === 'null') return null
  if (text.length >= 2 && text.startsWith('"') && text.endsWith('"')) {
    try {
      return JSON.parse(text)
    } catch {
      return text
    }
  }
  return JSON.parse(cellJson(text, 'auto')!)
}
