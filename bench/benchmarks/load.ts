import { cpSync } from 'node:fs'
import { checkRows, untilCommitted } from '../harness/committed.ts'
import { copyLimitName, CopyLimit } from '../harness/copy-limit.ts'
import { distinctEvents } from '../harness/corpus.ts'
import { untilAnswering, type Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { median, rounded } from '../harness/statistics.ts'

const ratioGoal = 0.45
/** With --quick no round is begun after this: a slow machine gets fewer rounds, not a longer wait. */
const quickRoundsMs = 8000
/** One event in a hundred is a repeat in another batch. */
const shape = { events: 500, overlap: 5 }

/**
 * Events a second from the log to committed and queryable, with de-duplication: a log is filled by a gateway alone, and then an
 * engine is started on it. The time runs from the start of the engine's process, so it includes what a start takes.
 */
export async function load(lab: Lab): Promise<Result> {
  const rounds = lab.quick ? 2 : 3
  const batches = lab.quick ? 2000 : 6000
  const events = batches * shape.events
  const distinct = distinctEvents(batches, shape)
  const filled = await fillLog(lab, batches)
  const copy = await CopyLimit.prepare(lab, batches, shape)
  const limits = [await copy.measure()]
  const totalMs: number[] = []
  const startMs: number[] = []
  const roundsStartedAt = performance.now()
  for (let round = 0; round < rounds; round++) {
    if (lab.quick && round > 0 && performance.now() - roundsStartedAt > quickRoundsMs) break
    const { total, start } = await loadOnce(lab, filled, distinct)
    totalMs.push(total)
    startMs.push(start)
    limits.push(await copy.measure())
    lab.say(`round ${round + 1}: loaded in ${rounded(total)} ms, of which start ${rounded(start)} ms`)
  }
  copy.remove()
  lab.removeFolder(filled)
  const value = events / (median(totalMs) / 1000)
  const limit = median(limits)
  const ratio = value / limit
  const afterStart = events / (median(totalMs.map((total, index) => total - startMs[index]!)) / 1000)
  return {
    name: 'load',
    value,
    unit: 'events/s',
    limit: { name: copyLimitName, value: limit },
    ratio,
    goal: { text: `ratio at least ${ratioGoal}`, met: ratio >= ratioGoal },
    details: {
      events,
      rows: distinct,
      totalMs: totalMs.map(rounded),
      startMs: startMs.map(rounded),
      afterStart: { value: rounded(afterStart), ratio: rounded(afterStart / limit) },
      limits: limits.map(rounded),
    },
  }
}

/** A data folder with a full log and nothing else. */
async function fillLog(lab: Lab, batches: number): Promise<string> {
  const dataDir = lab.folder('log')
  const gateway = await lab.startServer({ config: 'committing', dataDir, role: 'gateway' })
  const generator = lab.startGenerator()
  await generator.run({ port: gateway.port, connections: 16, shape, first: 0, batches, producer: 'bench' })
  await lab.close()
  return dataDir
}

async function loadOnce(lab: Lab, filled: string, distinct: number): Promise<{ total: number; start: number }> {
  const dataDir = lab.folder('load')
  cpSync(filled, dataDir, { recursive: true })
  const gateway = await lab.startServer({ config: 'committing', dataDir, role: 'gateway' })
  const startedAt = performance.now()
  await lab.startServer({ config: 'committing', dataDir, role: 'engine', port: gateway.port })
  await untilAnswering(gateway.sql)
  const start = performance.now() - startedAt
  await untilCommitted(gateway.sql, distinct)
  const total = performance.now() - startedAt
  await checkRows(gateway.sql, lab.corpus, distinct)
  await lab.close()
  lab.removeFolder(dataDir)
  return { total, start }
}
