/** `freshet receipt`: where a batch that the server acknowledged is now. */
import type { Command } from 'commander'
import { Client, serverUrl } from './client.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import { writeOut, type CliContext } from './context.ts'
import { exitCodes } from './exit-codes.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { formatCount } from './output/units.ts'

/** `GET /v1/receipts/{receipt}`. Members that the server cannot tell are null. */
interface ReceiptAnswer {
  receipt: string
  stream: string
  from: string
  to: string
  count: number
  receivedAt: string
  state: string
  inLog: boolean
  snapshot: { id: string; committedAt: string } | null
  files: string[] | null
  events: Record<string, number | null> | null
  engine: { available: boolean }
}

export function addReceipt(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'receipt', 'show where an acknowledged batch is now')
    .argument('<receipt>', 'the "receipt" in the answer to the batch')
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print what the server answers, as JSON')
    .action(async (receipt: string, flags: { url?: string; json?: boolean }) =>
      environment.exit(await showReceipt(receipt, flags, environment.context)),
    )
}

async function showReceipt(
  receipt: string,
  flags: { url?: string; json?: boolean },
  context: CliContext,
): Promise<number> {
  const client = new Client(serverUrl(flags.url, context), 1)
  try {
    const answer = (await client.getJson(`/v1/receipts/${encodeURIComponent(receipt)}`)) as ReceiptAnswer
    await writeOut(context.stdout, flags.json === true ? `${JSON.stringify(answer, null, 2)}\n` : render(answer))
    return exitCodes.ok
  } finally {
    await client.close()
  }
}

function render(answer: ReceiptAnswer): string {
  const { stream, count, receivedAt, from, to, inLog, files } = answer
  const lines = [
    `${formatCount(count)} ${count === 1 ? 'event' : 'events'} for ${stream}, received ${receivedAt}`,
    stateLine(answer),
    inLog
      ? `in the log from position ${from} to ${to}`
      : `no longer in the log, where it was from position ${from} to ${to}`,
    eventsLine(answer),
    ...(files ?? []),
  ]
  return lines.map((line) => `${sanitiseCell(line)}\n`).join('')
}

function stateLine({ state, snapshot, engine }: ReceiptAnswer): string {
  if (!engine.available) return 'on disk; the engine is away and cannot say more'
  switch (state) {
    case 'logged':
      return 'on disk, on its way into queries'
    case 'loaded':
      return 'in queries, not committed to the table yet'
    default:
      return snapshot === null
        ? 'committed to the table, by a snapshot that has expired'
        : `committed to the table by snapshot ${snapshot.id}, ${snapshot.committedAt}`
  }
}

const words: Readonly<Record<string, string>> = {
  visible: 'in queries',
  deduplicated: 'there before',
  deadLettered: 'in the dead letters',
  waiting: 'waiting',
  removed: 'removed since',
  missing: 'missing',
}

function eventsLine({ events }: ReceiptAnswer): string {
  const known = Object.entries(events ?? {}).filter(([, count]) => count !== null && count > 0)
  const parts = known.map(([name, count]) => `${formatCount(count!)} ${words[name] ?? name}`)
  if (Object.values(events ?? {}).includes(null)) parts.push('what became of the others can no longer be told')
  return parts.length === 0 ? 'what became of its events cannot be told' : `events: ${parts.join(', ')}`
}
