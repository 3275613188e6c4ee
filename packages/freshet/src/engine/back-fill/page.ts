/** The rows of one page of a back-fill, cut at its limit of bytes, with the batches that they may be taken for. */
/** A row's place among all: what they are ordered by, times as `YYYY-MM-DDTHH:MM:SS[.f{1,6}]Z`. */
export interface RowPlace {
  receivedAt: string
  eventTime: string
  id: string
}

/** Rows that arrived one after the other, from one source at one moment. */
export interface PageBatch {
  count: number
  receivedAtMs: number
  source: string | undefined
  eventTimeMaxMs: number
}

export interface Page {
  /** Without their ends. */
  lines: string[]
  batches: PageBatch[]
  /** The last row; undefined without rows. */
  last: RowPlace | undefined
}

/** A row in the order of arrival: line, id, event time, time of arrival, source, event time in microseconds since 1970. */
export type Row = readonly [string, string, string, string, string | null, bigint]

export class BackFillPage {
  readonly #bytesMax: number
  readonly #rowsMax: number
  readonly #lines: string[] = []
  readonly #batches: PageBatch[] = []
  #bytes = 0
  #last: RowPlace | undefined

  constructor(bytesMax: number, rowsMax: number) {
    this.#bytesMax = bytesMax
    this.#rowsMax = rowsMax
  }

  /**
   * Takes rows, the first of them first, as far as there is room.
   * @returns how many, and whether the page is full: then more rows would not change it
   */
  fill(rows: readonly Row[]): { taken: number; isFull: boolean } {
    let taken = 0
    for (const [line, id, eventTime, receivedAt, source, micros] of rows) {
      const bytes = this.#bytes + Buffer.byteLength(line) + 1
      if (this.#lines.length > 0 && (bytes > this.#bytesMax || this.#lines.length === this.#rowsMax)) {
        return { taken, isFull: true }
      }
      this.#bytes = bytes
      this.#lines.push(line)
      this.#last = { receivedAt, eventTime, id }
      this.#note(receivedAt, source ?? undefined, floorMs(micros))
      taken++
    }
    return { taken, isFull: this.#lines.length === this.#rowsMax }
  }

  #note(receivedAt: string, source: string | undefined, eventTimeMs: number): void {
    const receivedAtMs = Date.parse(`${receivedAt.slice(0, 23)}Z`)
    const open = this.#batches.at(-1)
    if (open?.receivedAtMs === receivedAtMs && open.source === source) {
      open.count++
      open.eventTimeMaxMs = Math.max(open.eventTimeMaxMs, eventTimeMs)
    } else {
      this.#batches.push({ count: 1, receivedAtMs, source, eventTimeMaxMs: eventTimeMs })
    }
  }

  finish(): Page {
    return { lines: this.#lines, batches: this.#batches, last: this.#last }
  }
}

function floorMs(micros: bigint): number {
  return Number(micros / 1000n - (micros % 1000n < 0n ? 1n : 0n))
}
