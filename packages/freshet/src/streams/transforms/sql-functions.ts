/**
 * Runs a transform that is a SELECT, over parts of a batch. Rows say by `_event_id` which event they were made of; rows that do not, or that name
 * no event of the part, are taken to be made of its last one. Outputs have ids as those of functions have (output-lines.ts).
 *
 * Where the statement fails over a part, it is run over halves of it, until the events are found at which it fails. One that is no statement at all
 * is an error, and the consumer waits for it to be mended.
 */
import type { ErrorCode } from '../../runtime/error-codes.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { eventLines, type Line, type Run } from '../source-batch.ts'
import type { FailedEvent, Functions, MadeLines, TransformJob, TransformResult } from './functions.ts'
import type { Origin, OutputLines } from './output-lines.ts'

export interface SqlFunctionsOptions {
  /** Runs the statement over events, as lines of the log; its rows as lines of JSON. */
  run: (lines: Uint8Array) => Promise<Uint8Array>
  lines: OutputLines
  /** Most events that the statement is given at once. */
  batchEventsMax?: number
  close: () => Promise<void>
}

/** One event of a batch: its place there, and its line. */
interface Event extends Line {
  index: number
}

type Outputs = Map<number, MadeLines | Omit<FailedEvent, 'index'>>

/** What may be the events' fault. */
const codesOfEvents: ReadonlySet<ErrorCode> = new Set(['invalid_sql', 'query_timeout', 'query_memory'])
const batchEventsDefault = 5_000
const lineEnd = Buffer.from('\n')
const nothing: MadeLines = { bytes: new Uint8Array(0), count: 0 }

export class SqlFunctions implements Functions {
  readonly #options: SqlFunctionsOptions

  constructor(options: SqlFunctionsOptions) {
    this.#options = options
  }

  async run({ batch, runs }: TransformJob): Promise<TransformResult> {
    const { batchEventsMax = batchEventsDefault } = this.#options
    const outputs: Outputs = new Map()
    const events: Event[] = []
    let index = 0
    for (const line of eventLines(batch.bytes)) {
      if (index >= batch.skip) events.push({ ...line, index })
      index++
    }
    for (let from = 0; from < events.length; from += batchEventsMax) {
      await this.#part(batch.bytes, events.slice(from, from + batchEventsMax), outputs)
    }
    return resultOf(outputs, runs)
  }

  close(): Promise<void> {
    return this.#options.close()
  }

  async #part(bytes: Buffer, events: readonly Event[], outputs: Outputs): Promise<void> {
    let rows: Uint8Array
    try {
      rows = await this.#options.run(linesOf(bytes, events))
    } catch (error) {
      if (!isOfEvents(error)) throw error
      if (events.length === 1 || (await this.#failsAlike(error, bytes, events))) {
        for (const { index } of events) outputs.set(index, { code: error.code, message: error.message })
        return
      }
      const half = events.length >> 1
      await this.#part(bytes, events.slice(0, half), outputs)
      await this.#part(bytes, events.slice(half), outputs)
      return
    }
    this.#take(bytes, events, rows, outputs)
  }

  /**
   * Whether the first and the last event fail alike with names and types that do not fit: then it is the statement, and the others are
   * not tried one by one.
   */
  async #failsAlike(error: FreshetError, bytes: Buffer, events: readonly Event[]): Promise<boolean> {
    if (!isBinderError(error)) return false
    for (const event of [events[0]!, events.at(-1)!]) {
      try {
        await this.#options.run(linesOf(bytes, [event]))
        return false
      } catch (own) {
        if (!isOfEvents(own) || own.message !== error.message) return false
      }
    }
    return true
  }

  #take(bytes: Buffer, events: readonly Event[], rows: Uint8Array, outputs: Outputs): void {
    const origins = events.map(({ start, end }) => JSON.parse(bytes.toString('utf8', start, end)) as Origin)
    const places = new Map(origins.map(({ _event_id }, place) => [_event_id, place]))
    const made = new Map<number, Record<string, unknown>[]>()
    const text = Buffer.from(rows.buffer, rows.byteOffset, rows.byteLength).toString('utf8')
    for (const line of text.split('\n')) {
      if (line === '') continue
      const row = JSON.parse(line) as Record<string, unknown>
      const place = places.get(row['_event_id'] as string) ?? origins.length - 1
      const own = made.get(place)
      if (own === undefined) made.set(place, [row])
      else own.push(row)
    }
    for (const [place, own] of made) {
      const written = this.#options.lines.make(own, origins[place]!)
      const { index } = events[place]!
      if ('code' in written) {
        const { code, path, reason } = written
        outputs.set(index, { code, path, message: `the output at ${path} ${reason}` })
      } else {
        outputs.set(index, { bytes: Buffer.from(written.text), count: written.count })
      }
    }
  }
}

function linesOf(bytes: Buffer, events: readonly Event[]): Buffer {
  return Buffer.concat(events.flatMap(({ start, end }) => [bytes.subarray(start, end), lineEnd]))
}

function isOfEvents(error: unknown): error is FreshetError {
  return (
    error instanceof FreshetError && codesOfEvents.has(error.code) && !/^(Parser|Catalog) Error/.test(causeOf(error))
  )
}

function isBinderError(error: FreshetError): boolean {
  return causeOf(error).startsWith('Binder Error')
}

/** What the database itself said. */
function causeOf({ cause }: FreshetError): string {
  return cause instanceof Error ? cause.message : ''
}

function resultOf(outputs: Outputs, runs: readonly Pick<Run, 'first' | 'count'>[]): TransformResult {
  const made: MadeLines[] = []
  const failed: FailedEvent[] = []
  for (const { first, count } of runs) {
    const pieces: Uint8Array[] = []
    let lines = 0
    for (let index = first; index < first + count; index++) {
      const output = outputs.get(index) ?? nothing
      if ('code' in output) failed.push({ index, ...output })
      else {
        pieces.push(output.bytes)
        lines += output.count
      }
    }
    made.push({ bytes: Buffer.concat(pieces), count: lines })
  }
  return { made, failed }
}
