/**
 * Reads everything back through SQL and compares it with the record: what is missing, there twice, changed, or never sent. It
 * knows nothing of how the server stores events.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { deadLettersOf } from '../../events/dead-letter.ts'
import { checksumOf } from './checksum.ts'
import { mayBeAnsweredLater, type Door, type Row } from './door.ts'
import { eventStates, type RunRecord, type SiteRecord } from './record.ts'
import { parseEventId } from './workload.ts'

export interface AuditResult {
  /** Rows that were read. */
  rows: number
  /** Acknowledged events that are not there. */
  missing: number
  /** Rows that are there besides the first of their event. */
  twice: number
  /** Events that hold something else than what was sent. */
  changed: number
  /** Rows of this run that were never sent, or were refused. */
  unexpected: number
  /** Events that are dead letters. */
  deadLettered: number
  /** Some of each kind, to look into. */
  examples: { missing: string[]; twice: string[]; changed: string[]; unexpected: string[] }
}

/** The part of the door that the audit needs. */
interface AuditDoor {
  rows: Door['rows']
  eachRow(...args: Parameters<Door['eachRow']>): Promise<unknown>
}

export interface AuditOptions {
  door: AuditDoor
  record: RunRecord
  run: string
  /** The streams, and which of them keeps the events' own ids. */
  streams: readonly { name: string; hasIds: boolean }[]
  stop: AbortSignal
  onProgress: (rows: number) => void
}

const pageRows = 100_000
const examplesMax = 10
const patienceMs = 180_000
const pauseMs = 200

/** @throws FreshetError when the server refuses a query or stays away */
export async function audit(options: AuditOptions): Promise<AuditResult> {
  return new Audit(options).run()
}

/** A row in a page that is not counted before the page is whole. */
interface Seen {
  site: SiteRecord
  n: number
  checksum: number
}

class Audit {
  readonly #options: AuditOptions
  readonly #found = new Map<SiteRecord, Uint8Array>()
  readonly #result: AuditResult = {
    rows: 0,
    missing: 0,
    twice: 0,
    changed: 0,
    unexpected: 0,
    deadLettered: 0,
    examples: { missing: [], twice: [], changed: [], unexpected: [] },
  }

  constructor(options: AuditOptions) {
    this.#options = options
    for (const site of options.record.sites) this.#found.set(site, new Uint8Array(site.events))
  }

  async run(): Promise<AuditResult> {
    for (const stream of this.#options.streams) await this.#readStream(stream)
    await this.#readDeadLetters()
    this.#findMissing()
    return this.#result
  }

  /** In pages by a hash of the id: together they hold every row of the run there is, whatever it says it is. */
  async #readStream({ name, hasIds }: { name: string; hasIds: boolean }): Promise<void> {
    const { run } = this.#options
    const params = { run: `${run}-` }
    const ours = `from ${name} where starts_with(prove_id, $run)`
    const [counted] = await this.#patiently(() => this.#options.door.rows(`select count(*) as total ${ours}`, params))
    const pages = Math.max(1, Math.ceil(Number(counted!['total']) / pageRows))
    for (let page = 0; page < pages; page++) {
      await this.#patiently(() =>
        this.#readPage(
          `select to_json(e) as event from (select * exclude (_event_time, _received_at, _tenant) ${ours}
             and hash(prove_id) % ${pages} = ${page}) e`,
          params,
          hasIds,
        ),
      )
      this.#options.onProgress(this.#result.rows)
    }
  }

  async #readPage(sql: string, params: Record<string, unknown>, hasIds: boolean): Promise<void> {
    const { door, stop } = this.#options
    const seen: Seen[] = []
    const strange: string[] = []
    await door.eachRow(
      sql,
      params,
      (row) => {
        const one = this.#see(row['event'] as Row, hasIds)
        if (typeof one === 'string') strange.push(one)
        else seen.push(one)
      },
      stop,
    )
    for (const one of seen) this.#count(one)
    for (const text of strange) this.#note('unexpected', text)
    this.#result.rows += seen.length + strange.length
  }

  /** What a row is; text when it is nothing that this run has sent. */
  #see(row: Row, hasIds: boolean): Seen | string {
    const { run, record } = this.#options
    const id = String(row['prove_id'])
    const named = parseEventId(run, id)
    const site = named === undefined ? undefined : record.find(named.site)
    if (named === undefined || site === undefined || named.n >= site.events) return `${id}: there is no such event`
    const state = site.stateOf(named.n)
    if (state === eventStates.ahead) return `${id}: it was not sent`
    if (state === eventStates.refused) return `${id}: it was refused`
    if (hasIds && row['_event_id'] !== id) return `${id}: its _event_id is ${JSON.stringify(row['_event_id'])}`
    if (row['_source'] !== `prove-${run}-${named.site}`)
      return `${id}: its _source is ${JSON.stringify(row['_source'])}`
    return { site, n: named.n, checksum: checksumOf(row) }
  }

  #count({ site, n, checksum }: Seen): void {
    const found = this.#found.get(site)!
    const id = `${this.#options.run}-${site.site.name}-${n}`
    if (found[n]! > 0) this.#note('twice', id)
    else if (checksum !== site.checksumOf(n)) this.#note('changed', id)
    found[n] = Math.min(255, found[n]! + 1)
  }

  async #readDeadLetters(): Promise<void> {
    const { streams, run } = this.#options
    const params = { run: `"prove_id":"${run}-` }
    // There is no such table before there is a first dead letter.
    const known = await this.#patiently(() => this.#options.door.rows('select name from freshet.streams', {}))
    const names = streams.map(({ name }) => deadLettersOf(name)).filter((own) => known.some(({ name }) => name === own))
    const rows: Row[] = []
    for (const name of names) {
      const sql = `select event from ${name} where stage = 'load' and contains(event, $run)`
      rows.push(...(await this.#patiently(() => this.#options.door.rows(sql, params))))
    }
    for (const { event } of rows) {
      const id = /"prove_id":"([^"]*)"/.exec(String(event))?.[1] ?? ''
      const named = parseEventId(run, id)
      const site = named === undefined ? undefined : this.#options.record.find(named.site)
      if (named === undefined || site === undefined) continue
      this.#result.deadLettered++
      const found = this.#found.get(site)!
      found[named.n] = Math.max(1, found[named.n] ?? 0)
    }
  }

  #findMissing(): void {
    for (const site of this.#options.record.sites) {
      const found = this.#found.get(site)!
      for (let n = 0; n < site.events; n++) {
        if (found[n] === 0 && site.stateOf(n) === eventStates.acknowledged)
          this.#note('missing', `${this.#options.run}-${site.site.name}-${n}`)
      }
    }
  }

  #note(kind: keyof AuditResult['examples'], text: string): void {
    this.#result[kind]++
    if (this.#result.examples[kind].length < examplesMax) this.#result.examples[kind].push(text)
  }

  /** Asks again while the server is away for a moment. A page that broke off was not counted. */
  async #patiently<T>(ask: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + patienceMs
    for (;;) {
      try {
        return await ask()
      } catch (error) {
        this.#options.stop.throwIfAborted()
        if (!mayBeAnsweredLater(error) || performance.now() > deadline) throw error
        await delay(pauseMs)
      }
    }
  }
}
