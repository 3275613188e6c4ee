/**
 * Runs the present code over the history of a stream's source, into scratch: what a replay compares with the stream. The source is taken in one or
 * more goes; each leaves out what those before it had, and what the transform has still before it.
 */
import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { Column, StreamPlan, TransformPlan } from '../../config/plan.ts'
import type { DeadLetter } from '../../events/dead-letter.ts'
import type { Log } from '../../log/log.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Unreadable } from '../chunk-lines.ts'
import { identifier, literal } from '../sql-text.ts'
import { hiddenNames, knownColumns } from '../stream-view.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { readSource, sourceBatches, takeBehind, takeSource, type SourceDeps } from './source-rows.ts'
import { Staging } from './staging.ts'
import { allTimes, type TimeRange } from './time-range.ts'
import type { TransformPlace, TransformRunner } from './transform-runner.ts'

export interface RehearsalDeps extends SourceDeps {
  transforms: TransformRunner
  log: Pick<Log, 'read'>
  clock: Clock
}

export interface RehearsalRequest {
  stream: StreamPlan & { transform: TransformPlan }
  range: TimeRange
  /** The columns of the source as it is shown. */
  sourceColumns: () => readonly Column[]
  /** The stream's table. */
  table: LoadedTable
  unreadable: (lines: readonly Buffer[]) => Promise<Unreadable[]>
  recordBytesMax: number
  /** Takes letters of events that have no outputs; resolves once they are durable. */
  onLetters: (letters: DeadLetter[]) => Promise<void>
  signal: AbortSignal
}

/** Batches that the code works on at once. */
const batchesAtOnce = 2
/** In scratch: the ids of events that have no outputs. */
const failedName = 'failed.ndjson'

export class Rehearsal {
  readonly #deps: RehearsalDeps
  readonly #request: RehearsalRequest
  readonly #connection: DuckDBConnection
  readonly #dir: string
  readonly #unread: DeadLetter[] = []
  #staging: Staging
  #sources: string[] = []
  #goes = 0
  events = 0

  /** @param dir scratch folder, which is emptied */
  static async open(
    deps: RehearsalDeps,
    request: RehearsalRequest,
    connection: DuckDBConnection,
    dir: string,
  ): Promise<Rehearsal> {
    await makeEmpty(dir)
    return new Rehearsal(deps, request, connection, dir)
  }

  private constructor(deps: RehearsalDeps, request: RehearsalRequest, connection: DuckDBConnection, dir: string) {
    this.#deps = deps
    this.#request = request
    this.#connection = connection
    this.#dir = dir
    this.#staging = this.#newStaging()
  }

  /** The columns that the stream has with what the code made. */
  get columns(): readonly Column[] {
    return this.#staging.columns
  }

  /** A SELECT of what the code made, with these times; undefined where there can be none. */
  select(columns: readonly Column[], range: TimeRange): string | undefined {
    return this.#staging.select(columns, range)
  }

  /** A SELECT of `id` and `time` of the events that have outputs, or need none. */
  passedEvents(): string | undefined {
    if (this.#sources.length === 0) return undefined
    const failed = `read_json(${literal(this.#failedFile)}, format = 'newline_delimited', columns = {id: 'VARCHAR'})`
    return `SELECT id, time FROM ${readSource(this.#sources)} WHERE id NOT IN (SELECT id FROM ${failed})`
  }

  /** Takes what the source has by now. @param place how far the transform has come */
  async take(place: TransformPlace): Promise<void> {
    if (await this.#takeRest(place)) return
    // Events were erased: what came of them must go, and nobody can say which rows those are.
    await this.#beginAnew()
    await this.#takeRest(place)
  }

  async close(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true })
  }

  /** @returns false when events that were taken before are in the source no longer */
  async #takeRest(place: TransformPlace): Promise<boolean> {
    const { stream, range, sourceColumns } = this.#request
    const { from } = stream.transform
    const go = ++this.#goes
    const file = join(this.#dir, `source-${go}.parquet`)
    const behind = join(this.#dir, `behind-${go}.ndjson`)
    const hasOwnTime = stream.time?.field !== '_event_time'
    const taken = await takeSource(this.#deps, from, {
      columns: sourceColumns(),
      // Its outputs can be of any time.
      range: hasOwnTime ? allTimes : range,
      file,
      known: this.#sources,
      takeBehind: async () => {
        await takeBehind(this.#deps.log, from, place, behind)
        return behind
      },
    })
    if (taken.gone > 0) return false
    await this.#run(file)
    this.#sources.push(file)
    this.events += taken.count
    await this.#staging.finish()
    await this.#bury(this.#unread.splice(0))
    return true
  }

  async #run(file: string): Promise<void> {
    const { stream, signal } = this.#request
    const waiting: Promise<{ lines: Buffer; letters: DeadLetter[] }>[] = []
    const takeFirst = async (): Promise<void> => {
      const { lines, letters } = await waiting.shift()!
      await this.#staging.add(lines)
      await this.#bury(letters)
    }
    await this.#deps.database.with(async (connection) => {
      try {
        for await (const { lines, count } of sourceBatches(connection, file)) {
          signal.throwIfAborted()
          waiting.push(this.#deps.transforms.run(stream.name, lines, count, signal))
          if (waiting.length >= batchesAtOnce) await takeFirst()
        }
        while (waiting.length > 0) await takeFirst()
      } finally {
        await Promise.allSettled(waiting)
      }
    })
  }

  async #bury(letters: DeadLetter[]): Promise<void> {
    if (letters.length === 0) return
    const lines = letters.map(({ eventId }) => `${JSON.stringify({ id: eventId })}\n`)
    await appendFile(this.#failedFile, lines.join(''))
    await this.#request.onLetters(letters)
  }

  get #failedFile(): string {
    return join(this.#dir, failedName)
  }

  async #beginAnew(): Promise<void> {
    await makeEmpty(this.#dir)
    this.#staging = this.#newStaging()
    this.#sources = []
    this.events = 0
  }

  #newStaging(): Staging {
    const { stream, table, unreadable, recordBytesMax } = this.#request
    return new Staging({
      stream,
      connection: this.#connection,
      dir: this.#dir,
      known: knownColumns(table),
      hidden: hiddenNames(table),
      recordBytesMax,
      unreadable,
      onUnreadable: (line, reason) => this.#unread.push(this.#letter(line, reason)),
    })
  }

  /** An output that cannot be loaded: its own line is all that is left to say of it. */
  #letter(line: string, message: string): DeadLetter {
    const { name, transform } = this.#request.stream
    const output = JSON.parse(line) as Record<`_${'event_id' | 'event_time' | 'received_at'}`, string> & {
      _source?: string
      _tenant?: string
    }
    return {
      stream: name,
      stage: 'transform',
      consumer: `transform:${name}`,
      code: 'unreadable',
      message,
      event: line,
      eventId: output._event_id,
      version: transform.version,
      failedAtMs: this.#deps.clock.nowMs(),
      eventTime: output._event_time,
      receivedAt: output._received_at,
      ...(output._source !== undefined && { source: output._source }),
      ...(output._tenant !== undefined && { tenant: output._tenant }),
    }
  }
}

/** A query reads the ids of failed events also where there are none. */
async function makeEmpty(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { recursive: true })
  await writeFile(join(dir, failedName), '')
}

/** A condition for the dead letters of events that have outputs by now. */
export function settledLetters(stream: string, passed: string): string {
  const keys = `SELECT concat(time, ' ', id) FROM (${passed})`
  return (
    `coalesce(stage = 'transform' AND consumer = ${literal(`transform:${stream}`)} ` +
    `AND concat(epoch_us(${identifier('_event_time')}), ' ', event_id) IN (${keys}), false)`
  )
}
