/** `freshet rollback`: makes an earlier snapshot of a table its current state. */
import { confirm, isCancel } from '@clack/prompts'
import type { Command } from 'commander'
import { Client, serverUrl } from './client.ts'
import { subcommand, type CommandEnvironment } from './command.ts'
import { writeOut, type CliContext } from './context.ts'
import { exitCodes, usageError } from './exit-codes.ts'
import { sanitiseCell } from './output/sanitise.ts'
import { plural } from './output/units.ts'

interface Flags {
  to: string
  yes?: boolean
  dryRun?: boolean
  url?: string
  json?: boolean
}

interface Rollback {
  table: string
  to: string
  committedAt: string
  snapshotId: string | null
  removed: { rows: number; files: number }
  restored: { rows: number; files: number }
}

export function addRollback(program: Command, environment: CommandEnvironment): void {
  subcommand(program, 'rollback', 'go back to an earlier snapshot of a table')
    .argument('<table>', 'the table')
    .requiredOption('--to <snapshot>', 'id of a snapshot (freshet.snapshots), or a tag')
    .option('--yes', 'do not ask')
    .option('--dry-run', 'only say what would go and come back')
    .option('--url <url>', 'the server (default: FRESHET_URL, else http://127.0.0.1:7070)')
    .option('--json', 'print JSON')
    .action(async (table: string, flags: Flags) => environment.exit(await rollback(table, flags, environment.context)))
}

async function rollback(table: string, flags: Flags, context: CliContext): Promise<number> {
  const client = new Client(serverUrl(flags.url, context), 1)
  const ask = async (dryRun: boolean): Promise<Rollback> =>
    (await client.change('POST', `/v1/tables/${encodeURIComponent(table)}/rollback`, {
      to: flags.to,
      dryRun,
    })) as Rollback
  try {
    const mayAsk = context.stdin.isTTY === true && context.stdout.isTTY === true
    if (flags.dryRun !== true && flags.yes !== true && !mayAsk)
      throw usageError(
        'A rollback takes rows out of the table.',
        'Look at it by --dry-run, and say --yes if it is meant.',
      )
    if (flags.dryRun !== true && flags.yes !== true) {
      const planned = await ask(true)
      await writeOut(context.stdout, render(planned, true))
      const meant = await confirm({ message: `Go back to snapshot ${planned.to}?`, initialValue: false })
      if (isCancel(meant) || !meant) return exitCodes.interrupted
    }
    const done = await ask(flags.dryRun === true)
    const text = flags.json === true ? `${JSON.stringify(done, null, 2)}\n` : render(done, flags.dryRun === true)
    await writeOut(context.stdout, text)
    return exitCodes.ok
  } finally {
    await client.close()
  }
}

function render({ table, to, committedAt, snapshotId, removed, restored }: Rollback, isPlanned: boolean): string {
  const go = isPlanned ? 'would go' : 'are gone'
  const back = isPlanned ? 'would come back' : 'are back'
  const lines = [
    isPlanned
      ? `${table} would go back to snapshot ${to}, ${committedAt}:`
      : `${table} has gone back to snapshot ${to}, ${committedAt}, by snapshot ${snapshotId}:`,
    `${plural(removed.rows, 'row')} in ${plural(removed.files, 'file')} ${go}, ` +
      `${plural(restored.rows, 'row')} in ${plural(restored.files, 'file')} ${back}.`,
    'Events that are not committed yet stay; loading goes on.',
  ]
  return lines.map((line) => `${sanitiseCell(line)}\n`).join('')
}
