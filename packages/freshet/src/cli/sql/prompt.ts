import { createInterface, type Interface } from 'node:readline'
import { FreshetError } from '../../runtime/errors.ts'
import type { Client } from '../client.ts'
import type { CliContext } from '../context.ts'
import { renderFailure } from '../output/failure.ts'
import { styleFor } from '../output/style.ts'
import { renderTable } from '../output/table.ts'
import { execute, type OutputFormat } from './execute.ts'
import type { History } from './history.ts'
import { parseResult } from './result.ts'
import { isBlankSql, quoteName, splitStatements } from './statements.ts'

export interface PromptOptions {
  client: Client
  context: CliContext
  format: OutputFormat
  params: Record<string, unknown>
  asOf: string | undefined
  history: History
  debug: boolean
}

const firstPrompt = 'freshet> '
const nextPrompt = '    ...> '

const help = `A statement ends with ; and may span lines.
  .tables          the streams
  .schema STREAM   its columns
  .help            this
  .quit            leave (also Ctrl-D)
Ctrl-C cancels a running query, or clears what was typed.
`

/** The interactive prompt: reads statements from the terminal and runs them until `.quit` or the end of the input. */
export class Prompt {
  readonly #options: PromptOptions
  readonly #lines: Interface
  #typed = ''
  #running: AbortController | null = null
  #streamNames: string[] = []
  /** The input has ended; lines that were read before are still handled. */
  #ended = false

  constructor(options: PromptOptions) {
    this.#options = options
    const { context, history } = options
    this.#lines = createInterface({
      input: context.stdin,
      output: context.stdout,
      terminal: context.stdin.isTTY === true,
      history: history.lines.toReversed(),
      historySize: 1000,
      removeHistoryDuplicates: true,
      prompt: firstPrompt,
      completer: (line: string) => this.#complete(line),
    })
    this.#lines.on('SIGINT', () => this.#interrupt())
    this.#lines.on('close', () => {
      this.#ended = true
    })
  }

  async run(): Promise<void> {
    const { context, client } = this.#options
    context.stdout.write(`Connected to ${client.url}. .help shows what there is.\n`)
    // The names are for completion only; the prompt does not wait for them.
    void this.#learnNames()
    this.#lines.prompt()
    for await (const line of this.#lines) {
      await this.#options.history.add(line)
      if (await this.#handle(line)) break
      if (this.#ended) continue
      this.#lines.setPrompt(this.#typed === '' ? firstPrompt : nextPrompt)
      this.#lines.prompt()
    }
    this.#lines.close()
    context.stdout.write('\n')
  }

  /** @returns whether to leave */
  async #handle(line: string): Promise<boolean> {
    const word = line.trim()
    if (this.#typed === '') {
      if (['.quit', '.exit', 'quit', 'exit', '\\q'].includes(word.replace(/;$/, ''))) return true
      if (word.startsWith('.')) {
        await this.#guard(null, (signal) => this.#dotCommand(word, signal))
        return false
      }
    }
    const { statements, rest } = splitStatements(this.#typed + line)
    this.#typed = isBlankSql(rest) ? '' : `${rest.trimStart()}\n`
    for (const sql of statements) {
      const { client, context, format, params, asOf } = this.#options
      const ran = await this.#guard(sql, (signal) =>
        execute(sql, { client, context, format, params, asOf, outputFile: null, signal }),
      )
      if (!ran) break
    }
    return false
  }

  async #dotCommand(text: string, signal: AbortSignal): Promise<void> {
    const { context } = this.#options
    const [command, ...args] = text.replace(/;$/, '').split(/\s+/)
    switch (command) {
      case '.help':
        context.stdout.write(help)
        return
      case '.tables':
        await this.#print(
          'select name, declared, rows, files, last_commit_at from freshet.streams order by name',
          signal,
        )
        await this.#learnNames()
        return
      case '.schema':
        if (args.length !== 1) throw new FreshetError('invalid_usage', 'Name one stream: .schema STREAM')
        await this.#printColumns(args[0]!, signal)
        return
      default:
        throw new FreshetError('invalid_usage', `There is no command ${command}.`, {
          hint: '.help shows what there is.',
        })
    }
  }

  async #print(sql: string, signal: AbortSignal): Promise<void> {
    const { client, context } = this.#options
    await execute(sql, { client, context, format: 'table', params: {}, outputFile: null, signal })
  }

  async #printColumns(stream: string, signal: AbortSignal): Promise<void> {
    const { client, context } = this.#options
    const response = await client.sql(`select * from ${stream.includes('.') ? stream : quoteName(stream)} limit 0`, {
      format: 'json',
      signal,
    })
    const result = parseResult(await client.readText(response, signal))
    const rows = result.columns.map((column, index) => [column.name, result.types[index]!])
    context.stdout.write(
      renderTable([{ name: 'column' }, { name: 'type' }], rows, { style: styleFor(context, context.stdout) }).text,
    )
  }

  /** Runs something that Ctrl-C can cancel, and prints its error. @returns whether it succeeded */
  async #guard(sql: string | null, action: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    const { context, debug } = this.#options
    const running = new AbortController()
    this.#running = running
    try {
      await action(running.signal)
      return true
    } catch (error) {
      const style = styleFor(context, context.stderr)
      if (running.signal.aborted) context.stderr.write('Cancelled.\n')
      else context.stderr.write(renderFailure(error, { style, debug, ...(sql === null ? {} : { sql }) }))
      return false
    } finally {
      this.#running = null
    }
  }

  #interrupt(): void {
    if (this.#running !== null) {
      this.#running.abort()
      return
    }
    const { stdout } = this.#options.context
    if (this.#typed === '' && this.#lines.line === '') stdout.write('\n.quit or Ctrl-D leaves.\n')
    else stdout.write('^C\n')
    this.#typed = ''
    this.#lines.write(null, { ctrl: true, name: 'e' })
    this.#lines.write(null, { ctrl: true, name: 'u' })
    this.#lines.setPrompt(firstPrompt)
    this.#lines.prompt()
  }

  async #learnNames(): Promise<void> {
    try {
      const answer = (await this.#options.client.getJson('/v1/streams')) as { streams?: { name: string }[] }
      this.#streamNames = (answer.streams ?? []).map(({ name }) => name)
    } catch {
      // Completion is a convenience; the first query reports what is wrong.
    }
  }

  #complete(line: string): [string[], string] {
    const word = /[\w.]*$/.exec(line)?.[0] ?? ''
    const candidates = word.startsWith('.')
      ? ['.tables', '.schema', '.help', '.quit']
      : [...this.#streamNames, 'freshet.streams', 'freshet.snapshots', 'freshet.files', ...keywords]
    return [word === '' ? [] : candidates.filter((candidate) => candidate.startsWith(word.toLowerCase())), word]
  }
}

const keywords = [
  'select',
  'from',
  'where',
  'group by',
  'order by',
  'limit',
  'join',
  'left join',
  'with',
  'having',
  'count(*)',
  'explain',
]
