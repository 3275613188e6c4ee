import { usageError } from '../exit-codes.ts'
import { checksumOf } from './checksum.ts'
import { eventTimeMs, type EventTimeOptions } from './event-times.ts'
import type { InputFiles, InputRow } from './input-rows.ts'
import { siteOfRow, type Site } from './sites.ts'
import { eventId, type ProveEvent, type Workload } from './workload.ts'

export interface InputWorkloadOptions extends EventTimeOptions {
  run: string
  sites: readonly Site[]
  files: InputFiles
  /** Rows to read at most. */
  rowsMax: number
}

/** Rows that wait for their site; the reading rests while one site has more than this. */
const waitingMax = 20_000

/**
 * Events made of the rows of files: each row with an id, a time and a site of its own. Rows may be equal without being the same,
 * so that the id comes from the row's place. Memory holds the rows that wait for their sites.
 */
export class InputWorkload implements Workload {
  readonly counts: readonly number[]
  readonly #options: InputWorkloadOptions
  readonly #waiting: ProveEvent[][]
  readonly #made: number[]
  readonly #rows: AsyncIterator<InputRow[]>
  #row = 0
  #reading: Promise<void> | undefined
  #ended = false

  /** Reads the files once, to count. @throws FreshetError `invalid_usage` when there is no row, or a field has a name of ours */
  static async open(options: InputWorkloadOptions): Promise<InputWorkload> {
    const counts = options.sites.map(() => 0)
    let row = 0
    for await (const rows of options.files.rows()) {
      for (let at = 0; at < rows.length && row < options.rowsMax; at++, row++)
        counts[siteOfRow(options.seed, row, options.sites)]!++
      if (row >= options.rowsMax) break
    }
    if (row === 0) throw usageError('The input holds no row that can be read.')
    return new InputWorkload(options, counts)
  }

  private constructor(options: InputWorkloadOptions, counts: number[]) {
    this.#options = options
    this.counts = counts
    this.#waiting = options.sites.map(() => [])
    this.#made = options.sites.map(() => 0)
    this.#rows = options.files.rows()
  }

  async next(site: number, most: number): Promise<ProveEvent[]> {
    while (this.#waiting[site]!.length === 0 && !this.#ended) await (this.#reading ??= this.#read())
    return this.#waiting[site]!.splice(0, most)
  }

  close(): void {
    this.#ended = true
    void this.#rows.return?.()
  }

  /** Reads until every site that waits has something, or one has too much: then the sites that wait do so for that one. */
  async #read(): Promise<void> {
    try {
      const fullest = this.#waiting.reduce((most, { length }) => Math.max(most, length), 0)
      if (fullest > waitingMax) await new Promise((resolve) => setTimeout(resolve, 5))
      else {
        const next = await this.#rows.next()
        if (next.done === true) this.#ended = true
        else for (const row of next.value) this.#take(row)
      }
    } finally {
      this.#reading = undefined
    }
  }

  #take(row: InputRow): void {
    const { seed, sites, rowsMax } = this.#options
    if (this.#row >= rowsMax) {
      this.#ended = true
      return
    }
    const site = sites[siteOfRow(seed, this.#row++, sites)]!
    this.#waiting[site.index]!.push(this.#make(site, this.#made[site.index]!++, row))
  }

  #make(site: Site, n: number, { file, line, json }: InputRow): ProveEvent {
    const id = eventId(this.#options.run, site.name, n)
    const at = new Date(eventTimeMs(site, n, this.counts[site.index]!, this.#options)).toISOString()
    const row = parseRow(json, file, line)
    const text = json.toString()
    const own = `"prove_id":"${id}","prove_at":"${at}","prove_site":"${site.name}","prove_n":${n},"prove_file":${JSON.stringify(file)},"prove_line":${line}`
    const rest = text.slice(text.indexOf('{') + 1)
    const event = {
      ...row,
      prove_id: id,
      prove_at: at,
      prove_site: site.name,
      prove_n: n,
      prove_file: file,
      prove_line: line,
    }
    return { n, id, line: `{${own}${Object.keys(row).length === 0 ? '' : ','}${rest}`, checksum: checksumOf(event) }
  }
}

/** @throws FreshetError `invalid_usage` for what is no object, or has a field with a name of ours */
function parseRow(json: Buffer, file: string, line: number): Record<string, unknown> {
  let row: unknown
  try {
    row = JSON.parse(json.toString())
  } catch {
    throw usageError(`${file}:${line} is no JSON.`, 'Mend or remove the line: prove has to know what it sends.')
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row))
    throw usageError(`${file}:${line} is no JSON object.`)
  const taken = Object.keys(row).find((name) => name.toLowerCase().startsWith('prove_'))
  if (taken !== undefined)
    throw usageError(`${file}:${line} has a field "${taken}"; names that begin with prove_ are prove's own.`)
  return row as Record<string, unknown>
}
