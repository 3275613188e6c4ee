import { setTimeout as sleep } from 'node:timers/promises'
import { checkRows, untilCommitted } from '../harness/committed.ts'
import type { Lab } from '../harness/lab.ts'
import { cpuSeconds, hasProc, treeOf } from '../harness/process-tree.ts'
import type { Result } from '../harness/result.ts'
import { rounded } from '../harness/statistics.ts'

const percentGoal = 1
const idleSeconds = 20
const shape = { events: 500, overlap: 0 }
const batches = 200

/** CPU of the whole process tree while nothing is asked of it, after some load has been committed. */
export async function idle(lab: Lab): Promise<Result> {
  if (!hasProc()) throw new Error('CPU time is read from /proc, which only Linux has')
  const server = await lab.startWholeServer({ config: 'committing', dataDir: lab.folder('idle') })
  const generator = lab.startGenerator()
  const { distinct } = await generator.run({
    port: server.port,
    connections: 4,
    shape,
    first: 0,
    batches,
    producer: 'bench',
  })
  await generator.stop()
  await untilCommitted(server.sql, distinct)
  await checkRows(server.sql, lab.corpus, distinct)
  const pids = await server.sql.pids()
  server.sql.close()
  const tree = treeOf(server.pid)
  const cpuByRole = (): Record<string, number> =>
    Object.fromEntries([...pids].map(([role, pid]) => [role, cpuSeconds([pid])]))
  const before = cpuSeconds(tree)
  const beforeByRole = cpuByRole()
  const startedAt = performance.now()
  lab.say(`leaving ${tree.length} processes alone for ${idleSeconds} s`)
  await sleep(idleSeconds * 1000)
  const used = cpuSeconds(tree) - before
  const byRole = Object.entries(cpuByRole()).map(([role, seconds]) => [
    role,
    rounded(seconds - (beforeByRole[role] ?? 0)),
  ])
  const percent = (100 * used) / ((performance.now() - startedAt) / 1000)
  await lab.close()
  return {
    name: 'idle',
    value: percent,
    unit: '% of a core',
    limit: null,
    ratio: null,
    goal: { text: `at most ${percentGoal}%`, met: percent <= percentGoal },
    details: {
      processes: tree.length,
      seconds: idleSeconds,
      cpuSeconds: { all: rounded(used), ...Object.fromEntries(byRole) },
    },
  }
}
