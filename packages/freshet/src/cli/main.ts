/** The entry of the `freshet` command; bin/freshet.js imports it. */
import { processContext } from './context.ts'
import { runCli } from './program.ts'

const context = processContext()

// A reader that went away, such as `head`, ends the command quietly; the failing write reports it too.
context.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
})

process.exitCode = await runCli(process.argv.slice(2), context)
// A standard input that was not read to its end would keep the process.
process.stdin.destroy()
