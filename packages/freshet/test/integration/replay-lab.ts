/** A transform that runs in the test: it takes its source's log step by step, and can be replayed. */
import { deadLettersOf, appendDeadLetters, type DeadLetter } from '../../src/events/dead-letter.ts'
import type { StreamPlan } from '../../src/config/plan.ts'
import type { Pause, Rerun, TransformPlace, TransformRunner } from '../../src/engine/replay/transform-runner.ts'
import { Lab, LabEngine, streamPlan, trade, until, type LabEvent } from './engine-harness.ts'

type Event = Record<string, unknown> & { _event_id: string; _event_time: string; _received_at: string }
/** undefined for no output. */
export type Code = (event: Event) => Record<string, unknown> | Record<string, unknown>[] | undefined

export interface Replay {
  id: string
  state: string
  waitingFor: string | null
  from: string | null
  undoUntil: string | null
  preview: Counts | null
  applied: Counts | null
  commits: { snapshotId: string; partitions: string; rowsRemoved: number; rowsAdded: number }[]
  undone: { rowsRemoved: number; rowsAdded: number }[]
  sample: { rows: { id: string; kind: string; columns: Record<string, unknown> }[]; letters: unknown[] } | null
}

interface Counts {
  appear: number
  change: number
  vanish: number
  same: number
  events: number
  letters: number
  partitions: { partition: string }[]
}

const from = 'trades'
export const target = 'clean'

export function cleanPlan(options: Partial<StreamPlan> = {}): StreamPlan {
  return streamPlan(target, {
    id: '_event_id',
    time: { field: '_event_time', unit: 'iso' },
    transform: {
      from,
      kind: 'each',
      batchEventsMax: 1000,
      timeoutMs: 1000,
      memoryBytes: 1 << 28,
      version: '000000000001',
    },
    ...options,
  })
}

export class TestTransform implements TransformRunner {
  code: Code
  readonly #log: Lab
  #place: TransformPlace = { log: 0n, skip: 0 }
  #sequence = 0
  /** Called before a batch of a replay is run. */
  beforeRun: () => Promise<void> = async () => undefined
  /** Called once the transform rests. */
  atRest: () => Promise<void> = async () => undefined
  runs = 0

  constructor(lab: Lab, code: Code) {
    this.#log = lab
    this.code = code
  }

  /** Takes what the source's log has, as a worker would. */
  async take(): Promise<void> {
    const { log } = this.#log
    const chunk = await log.read(from, 0, this.#place.log, 1 << 26)
    if (chunk.bytes.length === 0) return
    const { lines, count, letters } = this.#made(chunk.bytes)
    await appendDeadLetters(log, letters)
    await log.append(target, {
      lines: count === 0 ? [] : [lines],
      count,
      receivedAtMs: Date.now(),
      producer: { id: `transform:${target}`, sequence: this.#sequence++ },
    })
    this.#place = { log: chunk.next, skip: 0 }
    await this.take()
  }

  async run(_stream: string, lines: Buffer): Promise<Rerun> {
    this.runs++
    await this.beforeRun()
    return this.#made(lines)
  }

  async pause(): Promise<Pause> {
    await this.atRest()
    return { place: this.#place, resume: async () => undefined }
  }

  #made(bytes: Buffer): Rerun {
    const outputs: string[] = []
    const letters: DeadLetter[] = []
    for (const line of bytes.toString('utf8').split('\n')) {
      if (!line.startsWith('{"_e')) continue
      const event = JSON.parse(line) as Event
      try {
        const returned = this.code(event) ?? []
        for (const [index, output] of (Array.isArray(returned) ? returned : [returned]).entries()) {
          const { _event_id, _event_time, _received_at, ...own } = output
          const id = index === 0 ? event._event_id : `${event._event_id}/${index}`
          const head = {
            _event_id: id,
            _event_time: _event_time ?? event._event_time,
            _received_at: event._received_at,
          }
          outputs.push(`${JSON.stringify({ ...head, ...own })}\n`)
        }
      } catch (error) {
        letters.push({
          stream: target,
          stage: 'transform',
          consumer: `transform:${target}`,
          code: 'function_failed',
          message: (error as Error).message,
          event: line,
          eventId: event._event_id,
          version: '000000000001',
          failedAtMs: Date.now(),
          eventTime: event._event_time,
          receivedAt: event._received_at,
        })
      }
    }
    return { lines: Buffer.from(outputs.join('')), count: outputs.length, letters }
  }
}

/** `count` trades a day on each of some days in October 2013. */
export function tradesOn(days: readonly number[], count: number, fields: Record<string, unknown> = {}): LabEvent[] {
  return days.flatMap((day) =>
    Array.from({ length: count }, (_, index) => {
      const time = new Date(Date.UTC(2013, 9, day, 0, 0, index)).toISOString()
      return trade(`${day}-${index}`, time, { size: index % 7, ...fields })
    }),
  )
}

export async function post(engine: LabEngine, path: string, body: unknown = {}): Promise<Replay> {
  const { status, text } = await engine.send('POST', path, {}, JSON.stringify(body))
  if (status >= 300) throw new Error(text)
  return ended(engine, (JSON.parse(text) as Replay).id)
}

/** How a replay stands when nothing is left to do. */
async function ended(engine: LabEngine, id: string): Promise<Replay> {
  let found: Replay | undefined
  await until(`the replay ${id} ends`, async () => {
    found = JSON.parse((await engine.send('GET', `/v1/replays/${id}`)).text) as Replay
    return !['previewing', 'applying', 'undoing'].includes(found.state)
  })
  if (found!.state === 'failed') throw new Error(`the replay has failed: ${found!.waitingFor}`)
  return found!
}

export function preview(engine: LabEngine, body: Record<string, unknown> = {}): Promise<Replay> {
  return post(engine, `/v1/streams/${target}/replays`, { ...body, dryRun: true })
}

export function apply(engine: LabEngine, body: Record<string, unknown> = {}): Promise<Replay> {
  return post(engine, `/v1/streams/${target}/replays`, body)
}

/** All rows with all columns, as one text. */
export async function checksum(engine: LabEngine, stream = target): Promise<string> {
  const rows = await engine.sql(`select * from ${stream} order by _event_id, _event_time`)
  return rows.map((row) => JSON.stringify(row)).join('\n')
}

export async function snapshots(engine: LabEngine): Promise<unknown[]> {
  return (await engine.sql(`select snapshot_id from freshet.snapshots where stream = '${target}'`)).map(
    (row) => row['snapshot_id'],
  )
}

export const lettersTable = deadLettersOf(target)
