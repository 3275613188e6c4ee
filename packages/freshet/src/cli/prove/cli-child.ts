/**
 * Runs one command in a process of its own that ends when the one that started it does, however that ended: what `freshet prove`
 * starts leaves nothing behind.
 */
import { processContext } from '../context.ts'
import { runCli } from '../program.ts'

process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'))
// Listening keeps the channel, and with it the process, alive; it should end when its command has ended.
process.channel?.unref()

process.exitCode = await runCli(process.argv.slice(2), processContext())
