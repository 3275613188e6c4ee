/**
 * A reader that asks again and again while events come in, and finds in every answer: no event is there twice, an event that is
 * shown is also shown later. Answers without a result say nothing, except when the server refuses the query.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { mayBeAnsweredLater, type Door } from './door.ts'
import type { SiteRecord } from './record.ts'
import type { Seeded } from './seeded.ts'

/** What all readers of a run have seen. */
export interface Readings {
  queries: number
  /** Queries that were not answered, as they are while a process is away. */
  unanswered: number
  /** Answers in which an event was there twice. */
  twice: string[]
  /** Answers that lacked events which an earlier one had shown, and went on lacking them. */
  vanished: string[]
  /** The same where the answer itself said that the engine, after a kill, still read the end of the log again. */
  catchingUp: number
}

export function noReadings(): Readings {
  return { queries: 0, unanswered: 0, twice: [], vanished: [], catchingUp: 0 }
}

export interface ConsumerOptions {
  door: Pick<Door, 'eachRow'>
  sites: readonly SiteRecord[]
  streamOf: (site: SiteRecord) => string
  /** Part of `prove_id` that all events of this run begin with. */
  run: string
  random: Seeded
  readings: Readings
  nowMs: () => number
}

/** Events of one site from one number up to another, and how many of them an answer has shown. */
interface Slice {
  site: SiteRecord
  from: number
  to: number
  shown: number
}

const sliceEventsMax = 2_000
const slicesMax = 300
const pauseMs = 100
/** After each query a reader rests for so many times as long as it took: it is to watch the server, not to keep it busy. */
const restFactor = 4
const restMsMax = 3_000
const wholeSiteEvery = 20
/** An engine that says that it is still behind the log, after it was killed, may be so for this long. */
const patienceMs = 60_000
const findingsMax = 20

export class Consumer {
  readonly #options: ConsumerOptions
  readonly #slices: Slice[] = []

  constructor(options: ConsumerOptions) {
    this.#options = options
  }

  /** Reads until told to stop. @throws FreshetError when a query is refused */
  async run(stop: AbortSignal): Promise<void> {
    for (let turn = 0; !stop.aborted; turn++) {
      const slice = this.#choose(turn)
      const fromMs = this.#options.nowMs()
      if (slice !== undefined) await this.#check(slice, stop)
      const tookMs = this.#options.nowMs() - fromMs
      await delay(Math.min(restMsMax, Math.max(pauseMs, tookMs * restFactor)), undefined, { signal: stop }).catch(
        () => undefined,
      )
    }
  }

  #choose(turn: number): Slice | undefined {
    const { random, sites } = this.#options
    if (turn % 2 === 1 && this.#slices.length > 0) return this.#slices[random.integer(this.#slices.length)]
    const site = sites[random.integer(sites.length)]!
    const to = site.settledTo
    if (to === 0) return undefined
    const from = turn % wholeSiteEvery === 0 ? 0 : Math.max(0, to - 1 - random.integer(sliceEventsMax))
    const slice = { site, from, to, shown: 0 }
    if (this.#slices.length < slicesMax) this.#slices.push(slice)
    else this.#slices[random.integer(slicesMax)] = slice
    return slice
  }

  async #check(slice: Slice, stop: AbortSignal): Promise<void> {
    const { readings, nowMs } = this.#options
    const before = slice.shown
    const askedMs = nowMs()
    for (;;) {
      const answer = await this.#ask(slice, stop)
      if (answer === undefined) return
      const { events, ids, isBehind } = answer
      if (events !== ids) note(readings.twice, `${describe(slice)}: ${events} rows with ${ids} ids`)
      slice.shown = Math.max(slice.shown, ids)
      if (ids >= before) return
      if (!isBehind || nowMs() - askedMs > patienceMs) {
        note(readings.vanished, `${describe(slice)}: ${before} events were shown, and later ${ids}`)
        return
      }
      readings.catchingUp++
      await delay(pauseMs)
    }
  }

  async #ask(slice: Slice, stop: AbortSignal): Promise<{ events: number; ids: number; isBehind: boolean } | undefined> {
    const { door, readings, streamOf, run } = this.#options
    const stream = streamOf(slice.site)
    const sql = `select count(*) as events, count(distinct prove_id) as ids from ${stream}
      where prove_site = $site and prove_n >= $from and prove_n < $to and starts_with(prove_id, $run)`
    const params = { site: slice.site.site.name, from: slice.from, to: slice.to, run: `${run}-` }
    try {
      const found = { events: 0, ids: 0 }
      const headers = await door.eachRow(
        sql,
        params,
        ({ events, ids }) => Object.assign(found, { events: Number(events), ids: Number(ids) }),
        stop,
      )
      readings.queries++
      return {
        ...found,
        isBehind: String(headers['freshet-lag-bytes'] ?? '')
          .split(/[=,] ?/)
          .includes(stream),
      }
    } catch (error) {
      if (stop.aborted) return undefined
      if (!mayBeAnsweredLater(error)) throw error
      readings.unanswered++
      await delay(pauseMs)
      return undefined
    }
  }
}

function note(findings: string[], text: string): void {
  if (findings.length < findingsMax) findings.push(text)
}

function describe({ site, from, to }: Slice): string {
  return `${site.site.name}, events ${from} to ${to - 1}`
}
