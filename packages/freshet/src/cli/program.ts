import { Command, CommanderError } from 'commander'
import { version } from '../app/version.ts'
import { systemCodeOf } from '../runtime/errors.ts'
import type { CommandEnvironment } from './command.ts'
import { terminalWidth, type CliContext } from './context.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'
import { addDead } from './dead.ts'
import { addErase } from './erase.ts'
import { addInit } from './init.ts'
import { addMaintain } from './maintain.ts'
import { renderFailure } from './output/failure.ts'
import { styleFor } from './output/style.ts'
import { addObjects } from './objects.ts'
import { addPlan } from './plan.ts'
import { addProve } from './prove.ts'
import { addReceipt } from './receipt.ts'
import { addReplay } from './replay.ts'
import { addRollback } from './rollback.ts'
import { addSend } from './send.ts'
import { addServe } from './serve.ts'
import { addSites } from './sites.ts'
import { addSql } from './sql.ts'
import { addStatus } from './status.ts'
import { addStreams } from './streams.ts'
import { addTag } from './tag.ts'
import { addVerify } from './verify.ts'

/** Runs one command line (without the names of node and the script). Returns the exit code; never throws. */
export async function runCli(args: readonly string[], context: CliContext): Promise<number> {
  let exitCode: number = exitCodes.ok
  const program = new Command('freshet')
    .description('Events in by HTTP, SQL out a quarter of a second later, exactly once, on open Iceberg tables.')
    .version(version, '-V, --version', 'show the version')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      getOutHelpWidth: () => terminalWidth(context.stdout) ?? 80,
      getErrHelpWidth: () => terminalWidth(context.stderr) ?? 80,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .showSuggestionAfterError()
    .showHelpAfterError('(see freshet --help for what there is)')
  const environment: CommandEnvironment = { context, version, exit: (code) => (exitCode = code) }
  addInit(program, environment)
  addServe(program, environment, 'dev')
  addServe(program, environment, 'start')
  addPlan(program, environment)
  addSend(program, environment)
  addReceipt(program, environment)
  addSql(program, environment)
  addStreams(program, environment)
  addSites(program, environment)
  addObjects(program, environment)
  addStatus(program, environment)
  addMaintain(program, environment)
  addErase(program, environment)
  addDead(program, environment)
  addReplay(program, environment)
  addTag(program, environment)
  addRollback(program, environment)
  addVerify(program, environment)
  addProve(program, environment)
  try {
    await program.parseAsync([...args], { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
    // The reader of our output has gone, as `head` does when it has enough.
    if (systemCodeOf(error) === 'EPIPE') return exitCodes.ok
    context.stderr.write(renderFailure(error, { style: styleFor(context, context.stderr), debug: isDebug(args) }))
    return exitCodeOf(error)
  }
}

function isDebug(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  return (end === -1 ? args : args.slice(0, end)).includes('--debug')
}
