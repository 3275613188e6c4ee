import { setTimeout as sleep } from 'node:timers/promises'
import { waitFor } from '../../examples/quickstart/server-process.ts'
import { checkRows } from '../harness/committed.ts'
import { CopyLimit, copyLimitName } from '../harness/copy-limit.ts'
import { distinctEvents } from '../harness/corpus.ts'
import type { Lab, Server } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { median, rounded } from '../harness/statistics.ts'

const goalMs = 5000
const shape = { events: 500, overlap: 0 }
/** Batches of an earlier life: the table is there when the backlog comes. */
const earlyBatches = 200
/** Between two looks: a query that is asked all the time takes from what it waits for. */
const lookEveryMs = 50
/** Between two questions to an engine that is away. */
const askAgainMs = 5
const visibleWithinMs = 300_000

interface Recovery {
  /** Bytes of the log that were not committed when the engine was killed. */
  backlogBytes: number
  /** From the kill to the first answer of SQL, milliseconds, and the share of the rows that it showed. */
  answeredMs: number
  share: number
  /** ... to the first answer with every row. */
  visibleMs: number
}

/**
 * Time from kill -9 of the engine until SQL is answered again, with a backlog in the log that is not committed: the engine is stopped
 * (SIGSTOP) while the gateway takes the events, and then killed; the supervisor starts the next one.
 */
export async function recovery(lab: Lab): Promise<Result> {
  const rounds = lab.quick ? 1 : 2
  // The log has some 140 bytes more an event than the client sends, for its system columns.
  const batches = Math.ceil((lab.quick ? 128e6 : 1e9) / (shape.events * (lab.corpus.lineBytesMean + 140)))
  const copy = await CopyLimit.prepare(lab, batches, shape)
  const limitsMs = [(1000 * batches * shape.events) / (await copy.measure())]
  const server = await lab.startWholeServer({ config: 'holding', dataDir: lab.folder('recovery') })
  const generator = lab.startGenerator()
  const send = async (first: number, sent: number): Promise<void> => {
    const spec = { port: server.port, connections: 16, shape, batches: sent, producer: `bench-${first}` }
    await generator.run({ ...spec, first })
  }
  await send(0, earlyBatches)
  let rows = distinctEvents(earlyBatches, shape)
  await untilVisible(server, rows)
  const found: Recovery[] = []
  for (let round = 0; round < rounds; round++) {
    const engine = await enginePid(server)
    const { checkpoint } = await server.sql.positions('trades')
    process.kill(engine, 'SIGSTOP')
    await send(rows, batches)
    rows += distinctEvents(batches, shape)
    const { logEnd } = await server.sql.positions('trades')
    const recovered = { backlogBytes: logEnd - checkpoint, ...(await killAndWait(server, engine, rows)) }
    found.push(recovered)
    lab.say(
      `round ${round + 1}: ${rounded(recovered.backlogBytes / 1e6)} MB of log; answered after ${rounded(recovered.answeredMs)} ms with ` +
        `${rounded(100 * recovered.share)}% of the rows, all of them after ${rounded(recovered.visibleMs)} ms`,
    )
    limitsMs.push((1000 * batches * shape.events) / (await copy.measure()))
  }
  await checkRows(server.sql, lab.corpus, rows)
  copy.remove()
  const value = median(found.map(({ answeredMs }) => answeredMs))
  const limit = median(limitsMs)
  const visibleMs = median(found.map((recovered) => recovered.visibleMs))
  return {
    name: 'recovery',
    value,
    unit: 'ms to the first answer',
    limit: { name: copyLimitName, value: limit },
    ratio: value / limit,
    goal: { text: `at most ${goalMs / 1000} s`, met: value <= goalMs },
    details: {
      rows,
      allVisible: { ms: rounded(visibleMs), ratio: rounded(visibleMs / limit) },
      rounds: found.map((recovered) =>
        Object.fromEntries(Object.entries(recovered).map(([name, figure]) => [name, rounded(figure)])),
      ),
      limitsMs: limitsMs.map(rounded),
    },
  }
}

async function killAndWait(server: Server, engine: number, rows: number): Promise<Omit<Recovery, 'backlogBytes'>> {
  const startedAt = performance.now()
  process.kill(engine, 'SIGKILL')
  for (;;) {
    const seen = await count(server)
    const answeredMs = performance.now() - startedAt
    if (seen !== undefined) {
      await untilVisible(server, rows)
      return { answeredMs, share: seen / rows, visibleMs: seen === rows ? answeredMs : performance.now() - startedAt }
    }
    await sleep(askAgainMs)
  }
}

/** undefined while the engine is away. */
async function count({ sql }: Server): Promise<number | undefined> {
  return sql.numbers<'n'>('select count(*) as n from trades').then(
    ({ n }) => n,
    (error: Error) => {
      if (error.message.includes('503')) return undefined
      throw error
    },
  )
}

async function untilVisible(server: Server, rows: number): Promise<void> {
  await waitFor(`${rows} rows in SQL`, visibleWithinMs, async () => (await count(server)) === rows, lookEveryMs)
}

async function enginePid({ sql }: Server): Promise<number> {
  const pid = (await sql.pids()).get('engine')
  if (pid === undefined || pid === 0) throw new Error('the engine does not run')
  return pid
}
