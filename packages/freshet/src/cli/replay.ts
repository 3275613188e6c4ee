/** `freshet replay`: runs a transform's present code over history, shows what differs, and swaps it. `freshet replays`: what was done. */
import { confirm, isCancel } from '@clack/prompts'
import type { Command } from 'commander'
import { readDuration } from '../config/quantities.ts'
import { Client, serverUrl } from './client.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import { writeOut, type CliContext } from './context.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { differs, renderReplay, renderReplays, type Replay } from './replay-text.ts'

interface Flags {
  from?: string
  to?: string
  keep?: string
  dryRun?: boolean
  yes?: boolean
  apply?: string
  undo?: string
  url?: string
  json?: boolean
}

const pollMs = 200
const example = 'freshet replay order_lines --from 2026-11-20 --dry-run'

export function addReplay(program: Command, environment: CommandEnvironment): void {
  const { context } = environment
  withServer(
    subcommand(program, 'replay', "run a transform's present code over history, and swap the rows that differ"),
  )
    .argument('[stream]', 'a stream that a transform makes')
    .option('--from <time>', 'event times from this on, like 2026-11-20 or 2026-11-20T09:30:00Z')
    .option('--to <time>', 'event times before this')
    .option('--dry-run', 'only show what differs')
    .option('--yes', 'do not ask')
    .option('--keep <time>', 'how long it can be undone, like "30 days" (default: 7 days)')
    .option('--apply <id>', 'apply a replay that was previewed')
    .option('--undo <id>', 'bring back the rows that a replay has swapped')
    .action(async (stream: string | undefined, flags: Flags) => environment.exit(await replay(stream, flags, context)))
  withServer(subcommand(program, 'replays', 'list replays of streams, or show one'))
    .argument('[id]', 'of a replay')
    .action(async (id: string | undefined, flags: Flags) => environment.exit(await list(id, flags, context)))
}

function withServer(command: Command): Command {
  return command
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
}

async function list(id: string | undefined, flags: Flags, context: CliContext): Promise<number> {
  return withClient(flags, context, async (client) => {
    if (id !== undefined) {
      const found = await show(client, id)
      await print(found, flags, context)
      return exitCodes.ok
    }
    const answer = (await client.getJson('/v1/replays')) as { replays: Replay[] }
    const text = flags.json === true ? asJson(answer) : renderReplays(answer.replays, context)
    await writeOut(context.stdout, text)
    return exitCodes.ok
  })
}

async function replay(stream: string | undefined, flags: Flags, context: CliContext): Promise<number> {
  checkUsage(stream, flags)
  const { apply, undo, dryRun, yes, from, to, keep } = flags
  const mayAsk = context.stdin.isTTY === true && context.stdout.isTTY === true && flags.json !== true
  if (stream !== undefined && dryRun !== true && yes !== true && !mayAsk) {
    throw usageError('A replay changes rows of the stream.', 'Look at it by --dry-run, and say --yes if it is meant.')
  }
  const request = {
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(keep !== undefined && { keepMs: keepMs(keep) }),
    dryRun: true,
  }
  return withClient(flags, context, async (client) => {
    const step = (path: string, body: object = {}): Promise<Followed> => follow(client, path, body, flags, context)
    if (stream === undefined) return end(await step(idPath((apply ?? undo)!, apply === undefined ? 'undo' : 'apply')))
    const previewed = await step(`/v1/streams/${encodeURIComponent(stream)}/replays`, request)
    const { id, state } = previewed.replay
    const isOver = dryRun === true || previewed.isInterrupted || state === 'failed' || !differs(previewed.replay)
    if (isOver) return end(previewed)
    if (flags.json !== true) await print(previewed.replay, flags, context)
    if (yes !== true && !(await isMeant(context, stream))) {
      await writeOut(context.stdout, `Nothing was changed. What was shown is applied by freshet replay --apply ${id}\n`)
      return exitCodes.interrupted
    }
    return end(await step(idPath(id, 'apply')))
  })

  async function end({ replay: found, isInterrupted }: Followed): Promise<number> {
    if (isInterrupted) {
      await writeOut(context.stderr, `The server goes on with it: freshet replays ${sanitiseCell(found.id)}\n`)
      return exitCodes.interrupted
    }
    await print(found, flags, context)
    if (found.state === 'failed') return exitCodes.failed
    if (found.state === 'previewed' && flags.json !== true) {
      const hint = differs(found) ? ` freshet replay --apply ${sanitiseCell(found.id)} applies it.` : ''
      await writeOut(context.stdout, `Nothing was changed.${hint}\n`)
    }
    return exitCodes.ok
  }
}

function checkUsage(stream: string | undefined, { apply, undo, from, to, keep, dryRun, yes }: Flags): void {
  const ways = [stream, apply, undo].filter((way) => way !== undefined).length
  if (ways !== 1) throw usageError('Say a stream, or --apply <id>, or --undo <id>.', example)
  const isStream = stream !== undefined
  if (!isStream && (from ?? to ?? keep ?? dryRun ?? yes) !== undefined)
    throw usageError('--from, --to, --keep, --dry-run and --yes go with a stream.', example)
  if (dryRun === true && yes === true) throw usageError('--dry-run changes nothing, so there is no --yes to it.')
}

interface Followed {
  replay: Replay
  /** By Ctrl-C, before it was done. */
  isInterrupted: boolean
}

/** Asks for a step of a replay, and waits until nothing is left to do. */
async function follow(
  client: Client,
  path: string,
  body: object,
  flags: Flags,
  context: CliContext,
): Promise<Followed> {
  const stop = new AbortController()
  const off = context.onInterrupt(() => stop.abort())
  try {
    let found = (await client.change('POST', path, body)) as Replay
    let told: string | null = null
    while (isOpen(found) && !stop.signal.aborted) {
      await context.sleep(pollMs, stop.signal).catch(() => undefined)
      if (stop.signal.aborted) break
      found = await show(client, found.id)
      const { waitingFor } = found
      if (isOpen(found) && waitingFor !== null && waitingFor !== told && flags.json !== true)
        await writeOut(context.stderr, `waits: ${sanitiseCell(waitingFor)}\n`)
      told = waitingFor
    }
    return { replay: found, isInterrupted: isOpen(found) }
  } finally {
    off()
  }
}

function isOpen({ state }: Replay): boolean {
  return state === 'previewing' || state === 'applying' || state === 'undoing'
}

async function isMeant({ stdin, stdout }: CliContext, stream: string): Promise<boolean> {
  const message = `Swap these rows of ${sanitiseCell(stream)}?`
  const meant = await confirm({ message, initialValue: false, input: stdin, output: stdout })
  return !isCancel(meant) && meant
}

function idPath(id: string, what: 'apply' | 'undo'): string {
  return `/v1/replays/${encodeURIComponent(id)}/${what}`
}

/** @throws FreshetError `invalid_usage` */
function keepMs(text: string): number {
  const read = readDuration(text)
  if ('value' in read) return read.value
  throw usageError(`--keep is ${JSON.stringify(text)}, which is no duration.`, 'Write it like "30 days".')
}

async function show(client: Client, id: string): Promise<Replay> {
  return (await client.getJson(`/v1/replays/${encodeURIComponent(id)}`)) as Replay
}

function asJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

function print(found: Replay, flags: Flags, context: CliContext): Promise<void> {
  return writeOut(context.stdout, flags.json === true ? asJson(found) : renderReplay(found, context))
}

async function withClient(
  flags: Flags,
  context: CliContext,
  work: (client: Client) => Promise<number>,
): Promise<number> {
  const client = new Client(serverUrl(flags.url, context), 1)
  try {
    return await work(client)
  } finally {
    await client.close()
  }
}
