import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { request } from 'node:http'
import { waitFor } from '../../examples/quickstart/server-process.ts'
import type { ConsumerStatus } from '../../packages/freshet/dist/streams/runner.js'
import { checkRows, untilCommitted } from '../harness/committed.ts'
import { untilAnswering, type Lab } from '../harness/lab.ts'
import { cpuSeconds, hasProc } from '../harness/process-tree.ts'
import type { Result } from '../harness/result.ts'
import { median, rounded } from '../harness/statistics.ts'
import type { TransformLoopResult, TransformLoopSpec } from '../harness/transform-task.ts'

const ratioGoal = 0.3
const rateGoal = 150_000
const shape = { events: 500, overlap: 0 }
const config = 'transforming'
const takenWithinMs = 300_000
const worker = 'worker'

interface Round {
  /** From the start of the worker's process until everything that came of the events is durable. */
  totalMs: number
  /** The same from the first event that was taken. */
  runningMs: number
  workerCpuSeconds: number
}

/**
 * Events a second that the worker brings through an identity function, from one stream's log to another's, against the same function in one loop
 * that only parses, calls and writes. A gateway alone has filled the log; then a worker is started on it.
 */
export async function transform(lab: Lab): Promise<Result> {
  const rounds = lab.quick ? 2 : 3
  const batches = lab.quick ? 1000 : 4000
  const events = batches * shape.events
  const filled = await fillLog(lab, batches)
  const limits = [await measureLoop(lab, batches)]
  const runs: Round[] = []
  for (let round = 0; round < rounds; round++) {
    const run = await transformOnce(lab, filled, events, round === rounds - 1)
    runs.push(run)
    limits.push(await measureLoop(lab, batches))
    const rate = events / (run.totalMs / 1000)
    lab.say(`round ${round + 1}: ${rounded(rate)} events/s, in the loop ${rounded(limits.at(-1)!)} events/s`)
  }
  lab.removeFolder(filled)
  const value = events / (median(runs.map(({ totalMs }) => totalMs)) / 1000)
  const running = events / (median(runs.map(({ runningMs }) => runningMs)) / 1000)
  const limit = median(limits)
  const ratio = value / limit
  return {
    name: 'transform',
    value,
    unit: 'events/s',
    limit: { name: 'one loop that parses, calls the function and writes', value: limit },
    ratio,
    goal: {
      text: `ratio at least ${ratioGoal}, ${rateGoal.toLocaleString('en-US')} events/s`,
      met: ratio >= ratioGoal && value >= rateGoal,
    },
    details: {
      events,
      totalMs: runs.map(({ totalMs }) => rounded(totalMs)),
      fromFirstEvent: { value: rounded(running), ratio: rounded(running / limit) },
      workerCores: rounded(median(runs.map(({ workerCpuSeconds, totalMs }) => workerCpuSeconds / (totalMs / 1000)))),
      limits: limits.map(rounded),
    },
  }
}

/** A data folder with a full log of the source and nothing else. */
async function fillLog(lab: Lab, batches: number): Promise<string> {
  const dataDir = lab.folder('source')
  const gateway = await lab.startServer({ config, dataDir, role: 'gateway' })
  await lab.startGenerator().run({ port: gateway.port, connections: 16, shape, first: 0, batches, producer: 'bench' })
  await lab.close()
  return dataDir
}

/** Only gateway and worker run while the time is taken: an engine, which loads both streams, comes afterwards, to show that the rows are right. */
async function transformOnce(lab: Lab, filled: string, events: number, isLast: boolean): Promise<Round> {
  const dataDir = lab.folder('transform')
  cpSync(filled, dataDir, { recursive: true })
  const gateway = await lab.startServer({ config, dataDir, role: 'gateway' })
  const startedAt = performance.now()
  const { pid } = await lab.startServer({ config, dataDir, role: worker, port: gateway.port })
  let firstAt: number | undefined
  await waitFor('the worker to have taken all events', takenWithinMs, async () => {
    const status = await consumerStatus(dataDir)
    if (status?.problem) throw new Error(`the transform does not get on: ${status.problem}`)
    if (status !== undefined && status.events > 0) firstAt ??= performance.now()
    return status !== undefined && status.lagBytes === 0 && status.events === events
  })
  const endedAt = performance.now()
  const workerCpuSeconds = hasProc() ? cpuSeconds([pid]) : 0
  if (isLast) await checkCopied(lab, dataDir, gateway.port, events)
  await lab.close()
  lab.removeFolder(dataDir)
  return { totalMs: endedAt - startedAt, runningMs: endedAt - (firstAt ?? startedAt), workerCpuSeconds }
}

/** @throws Error when the table of the outputs is not that of the inputs */
async function checkCopied(lab: Lab, dataDir: string, port: number, events: number): Promise<void> {
  const { sql } = await lab.startServer({ config, dataDir, role: 'engine', port })
  await untilAnswering(sql)
  for (const table of ['trades', 'copied']) {
    await untilCommitted(sql, events, () => {}, table)
    await checkRows(sql, lab.corpus, events, table)
  }
}

async function measureLoop(lab: Lab, batches: number): Promise<number> {
  const tasks = lab.startTasks<TransformLoopSpec, TransformLoopResult>(
    new URL('../harness/transform-task.ts', import.meta.url),
  )
  const { ms, bytes } = await tasks.run({ batches, shape })
  await tasks.stop()
  const events = batches * shape.events
  if (bytes < events * 200) throw new Error(`the loop wrote only ${bytes} bytes of ${events} events`)
  return events / (ms / 1000)
}

/** How the one consumer gets on, asked at the worker's own door; undefined while nobody answers there. */
function consumerStatus(dataDir: string): Promise<ConsumerStatus | undefined> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: join(dataDir, 'run', `${worker}.sock`), path: '/v1/consumers' }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (piece: string) => (text += piece))
      response.on('end', () => resolve((JSON.parse(text) as ConsumerStatus[])[0]))
      response.once('error', reject)
    })
    asked.once('error', () => resolve(undefined))
    asked.end()
  })
}
