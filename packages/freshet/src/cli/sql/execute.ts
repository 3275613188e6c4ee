import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { StringDecoder } from 'node:string_decoder'
import { finished } from 'node:stream/promises'
import { messageOf } from '../../runtime/errors.ts'
import { unreachable, type Client, type ClientResponse, type SqlFormat } from '../client.ts'
import { terminalWidth, writeOut, type CliContext, type OutputStream } from '../context.ts'
import { usageError } from '../exit-codes.ts'
import { sanitiseText } from '../output/sanitise.ts'
import { styleFor } from '../output/style.ts'
import { renderTable } from '../output/table.ts'
import { formatDuration, plural } from '../output/units.ts'
import { parseResult } from './result.ts'

export type OutputFormat = SqlFormat | 'table'

export interface ExecuteOptions {
  client: Client
  context: CliContext
  format: OutputFormat
  params: Record<string, unknown>
  /** The moment as of which streams are read: a time, a snapshot's id, or a tag. */
  asOf?: string | undefined
  /** Absolute path of a file to write instead of standard output; null: standard output. */
  outputFile: string | null
  signal: AbortSignal
}

/** Runs one statement and prints or writes its result. @throws FreshetError; an AbortError when `signal` was aborted */
export async function execute(sql: string, options: ExecuteOptions): Promise<void> {
  const { client, context, format, params, asOf, signal } = options
  const startedMs = context.nowMs()
  const response = await client.sql(sql, { format: format === 'table' ? 'json' : format, params, asOf, signal })
  if (format === 'table') {
    const text = await client.readText(response, signal)
    await printTable(text, context.nowMs() - startedMs, options)
  } else if (options.outputFile === null) {
    await copy(response, context.stdout, context.stdout.isTTY === true, options)
  } else {
    await toFile(options.outputFile, (stream) => copy(response, stream, false, options))
  }
}

async function printTable(text: string, tookMs: number, { context, outputFile }: ExecuteOptions): Promise<void> {
  const result = parseResult(text)
  const toTerminal = outputFile === null && context.stdout.isTTY === true
  const width = toTerminal ? terminalWidth(context.stdout) : undefined
  const style = outputFile === null ? styleFor(context, context.stdout) : styleFor(context, context.stderr)
  const table = renderTable(result.columns, result.rows, {
    style: toTerminal ? style : styleFor({ env: { NO_COLOR: '1' } }, context.stdout),
    width,
  })
  if (outputFile === null) await writeOut(context.stdout, table.text)
  else await toFile(outputFile, (stream) => writeOut(stream, table.text))
  const dim = styleFor(context, context.stderr).dim
  let note = `${plural(result.rows.length, 'row')} in ${formatDuration(tookMs)}\n`
  if (table.hiddenColumns.length > 0)
    note += `${plural(table.hiddenColumns.length, 'column')} did not fit: ${table.hiddenColumns.join(', ')}\n`
  if (table.shortenedCells > 0 || table.hiddenColumns.length > 0)
    note += 'Everything is shown when the output is piped, or by --format json.\n'
  context.stderr.write(dim(note.trimEnd()) + '\n')
}

/** Passes a body on as it comes; for a terminal, made harmless. */
async function copy(
  response: ClientResponse,
  stream: OutputStream,
  toTerminal: boolean,
  { client, signal }: ExecuteOptions,
): Promise<void> {
  const decoder = new StringDecoder()
  const chunks = response.body[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  for (;;) {
    const next = await chunks.next().catch((error: unknown) => {
      signal.throwIfAborted()
      throw unreachable(client.url, error)
    })
    if (next.done === true) break
    await writeOut(stream, toTerminal ? sanitiseText(decoder.write(next.value).replaceAll('\r\n', '\n')) : next.value)
  }
}

/** Writes a file under a temporary name first, so that there is never half a result under the name that was asked for. */
async function toFile(path: string, write: (stream: OutputStream) => Promise<void>): Promise<void> {
  const temporary = `${path}.part`
  const stream = createWriteStream(temporary)
  try {
    await write(stream)
    stream.end()
    await finished(stream)
    await rename(temporary, path)
  } catch (error) {
    stream.destroy()
    await rm(temporary, { force: true })
    if (stream.errored !== null) throw usageError(`${path} cannot be written: ${messageOf(stream.errored)}.`)
    throw error
  }
}
