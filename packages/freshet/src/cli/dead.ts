/** `freshet dead`: lists the dead letters of streams, shows one, sends them again, and drops them. */
import type { Command } from 'commander'
import { Client, serverUrl } from './client.ts'
import { subcommand, wholeNumber, type CommandEnvironment } from './command.ts'
import { writeOut, type CliContext } from './context.ts'
import {
  renderDrop,
  renderForecast,
  renderLetter,
  renderLetters,
  renderOverview,
  renderReplay,
  type Forecast,
  type Letter,
  type Overview,
  type Replay,
} from './dead-text.ts'
import { exitCodes, usageError } from './exit-codes.ts'

interface Flags {
  url?: string
  json?: boolean
}

interface ListFlags extends Flags {
  where?: string
  limit: number
}

interface ChangeFlags extends Flags {
  where?: string
  all?: boolean
  dryRun?: boolean
}

const pollMs = 200
const limitMax = 1000

export function addDead(program: Command, environment: CommandEnvironment): void {
  const { context } = environment
  const dead = subcommand(program, 'dead', 'list, show, replay and drop dead letters: events that could not be used')
  const run = async (flags: Flags, work: (client: Client) => Promise<Outcome>): Promise<void> => {
    const client = new Client(serverUrl(flags.url, context), 1)
    try {
      const { value, text, code = exitCodes.ok } = await work(client)
      await writeOut(context.stdout, flags.json === true ? `${JSON.stringify(value, null, 2)}\n` : text())
      environment.exit(code)
    } finally {
      await client.close()
    }
  }
  withServer(subcommand(dead, 'list [stream]', 'the letters of a stream, newest first; or which streams have some'))
    .option('--where <condition>', "only these, as in SQL: code = 'schema_violation'")
    .option('--limit <n>', 'most of them', wholeNumber(1, limitMax), 50)
    .action((stream: string | undefined, flags: ListFlags) =>
      run(flags, (client) => list(client, stream, flags, context)),
    )
  withServer(subcommand(dead, 'show <stream> <id>', 'one letter: the event, and where and why it failed')).action(
    (stream: string, id: string, flags: Flags) =>
      run(flags, async (client) => {
        const letter = (await client.getJson(`${lettersOf(stream)}/${encodeURIComponent(id)}`)) as Letter
        return { value: letter, text: () => renderLetter(letter) }
      }),
  )
  withChoice(subcommand(dead, 'replay <stream>', 'send letters again from where they failed, each exactly once'))
    .option('--dry-run', 'only say what would become of each')
    .action((stream: string, flags: ChangeFlags) => run(flags, (client) => replay(client, stream, flags, context)))
  withChoice(subcommand(dead, 'drop <stream>', 'drop letters for good'))
    .option('--dry-run', 'only count them')
    .action((stream: string, flags: ChangeFlags) =>
      run(flags, async (client) => {
        const body = choiceOf(flags)
        const answer = (await client.change('POST', `${lettersOf(stream)}/drop`, body)) as { dropped: number }
        return { value: answer, text: () => renderDrop(stream, answer.dropped, flags.dryRun === true) }
      }),
    )
}

interface Outcome {
  value: unknown
  text: () => string
  code?: number
}

function withServer(command: Command): Command {
  return command
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
}

function withChoice(command: Command): Command {
  return withServer(command)
    .option('--where <condition>', "which letters, as in SQL: code = 'schema_violation'")
    .option('--all', 'all letters of the stream')
}

function lettersOf(stream: string): string {
  return `/v1/streams/${encodeURIComponent(stream)}/dead-letters`
}

async function list(
  client: Client,
  stream: string | undefined,
  { where, limit }: ListFlags,
  context: CliContext,
): Promise<Outcome> {
  if (stream === undefined) {
    if (where !== undefined) throw usageError('--where goes with a stream.')
    const overview = (await client.getJson('/v1/dead-letters')) as Overview
    return { value: overview, text: () => renderOverview(overview, context) }
  }
  const query = new URLSearchParams({ limit: String(limit), ...(where !== undefined && { where }) })
  const answer = (await client.getJson(`${lettersOf(stream)}?${query.toString()}`)) as {
    letters: Letter[]
    more: boolean
  }
  return { value: answer, text: () => renderLetters(stream, answer, context) }
}

/** @throws FreshetError `invalid_usage` when the letters are not said */
function choiceOf({ where, all, dryRun }: ChangeFlags): object {
  if ((where === undefined) === (all !== true)) {
    throw usageError(
      'Say which letters, by --where or by --all.',
      `freshet dead replay orders --where "stage = 'load'"`,
    )
  }
  return { ...(where !== undefined && { where }), ...(all === true && { all }), ...(dryRun === true && { dryRun }) }
}

/** Waits until it is done; ends with 1 when letters failed again. */
async function replay(client: Client, stream: string, flags: ChangeFlags, context: CliContext): Promise<Outcome> {
  const body = choiceOf(flags)
  const path = `${lettersOf(stream)}/replay`
  if (flags.dryRun === true) {
    const forecast = (await client.change('POST', path, body)) as Forecast
    return { value: forecast, text: () => renderForecast(forecast) }
  }
  let answer = (await client.change('POST', path, body)) as Replay
  const stop = new AbortController()
  const off = context.onInterrupt(() => stop.abort())
  try {
    let told: string | null = null
    while (answer.state !== 'done' && !stop.signal.aborted) {
      await context.sleep(pollMs, stop.signal).catch(() => undefined)
      if (stop.signal.aborted) break
      answer = (await client.getJson(`/v1/dead-letters/replays/${encodeURIComponent(answer.id)}`)) as Replay
      const { waitingFor } = answer
      if (waitingFor !== null && waitingFor !== told && flags.json !== true)
        await writeOut(context.stderr, `waits: ${waitingFor}\n`)
      told = waitingFor
    }
  } finally {
    off()
  }
  const code = answer.failed > 0 ? exitCodes.failed : exitCodes.ok
  if (answer.state === 'done') return { value: answer, text: () => renderReplay(answer), code }
  const text = (): string => `The server goes on with the replay ${answer.id}.\n`
  return { value: answer, text, code: exitCodes.interrupted }
}
