import { checksumOf } from './checksum.ts'
import { eventTimeMs, type EventTimeOptions } from './event-times.ts'
import { fractionOf, mix } from './seeded.ts'
import { shareOut, type Site } from './sites.ts'
import { eventId, type ProveEvent, type Workload } from './workload.ts'

export interface GeneratorOptions extends EventTimeOptions {
  run: string
  sites: readonly Site[]
  events: number
}

/** JSON Schema of what the generator makes. */
export const generatedSchema = {
  type: 'object',
  properties: {
    prove_id: { type: 'string' },
    prove_at: { type: 'string', format: 'date-time' },
    prove_site: { type: 'string' },
    prove_n: { type: 'integer' },
    reading: { type: 'number' },
    amount: { type: 'integer' },
    note: { type: 'string' },
    place: {
      type: 'object',
      properties: { lat: { type: 'number' }, lon: { type: 'number' } },
      required: ['lat', 'lon'],
      additionalProperties: false,
    },
    tags: { type: 'array', items: { type: 'string' } },
    alarm: { type: 'boolean' },
  },
  required: ['prove_id', 'prove_at', 'prove_site', 'prove_n', 'reading', 'amount'],
  additionalProperties: false,
} as const

/** Texts that are easily damaged on their way: quotes, escapes, several scripts, what looks like something else. */
const notes = [
  'ok',
  'said "no"',
  'C:\\temp\\new',
  'Zürich – 東京',
  '🌊 freshet',
  'null',
  "it's; -- no comment",
  '1,234\t5\n6',
]
const words = ['north', 'south', 'spare', 'checked', 'by hand', 'ä"b']

/** Makes up events. What an event holds depends on the seed, its site and its number alone. */
export class Generator implements Workload {
  readonly counts: readonly number[]
  readonly #options: GeneratorOptions
  readonly #next: number[]

  constructor(options: GeneratorOptions) {
    this.#options = options
    this.counts = shareOut(options.events, options.sites)
    this.#next = this.counts.map(() => 0)
  }

  next(site: number, most: number): Promise<ProveEvent[]> {
    const from = this.#next[site]!
    const to = Math.min(this.counts[site]!, from + most)
    this.#next[site] = to
    const events: ProveEvent[] = []
    for (let n = from; n < to; n++) events.push(this.#make(this.#options.sites[site]!, n))
    return Promise.resolve(events)
  }

  close(): void {}

  #make(site: Site, n: number): ProveEvent {
    const { seed, run } = this.#options
    const draw = mix(seed, 5, site.index, n)
    const id = eventId(run, site.name, n)
    const event = {
      prove_id: id,
      prove_at: new Date(eventTimeMs(site, n, this.counts[site.index]!, this.#options)).toISOString(),
      prove_site: site.name,
      prove_n: n,
      reading: (draw % 2_000_000) / 1000 - 700,
      // Up to 2^53: more than a 32-bit integer or a float would keep.
      amount: draw * 2_097_151 + (n & 1023),
      note: notes[draw & 7]!,
      ...((draw & 24) !== 0 && { place: { lat: (draw % 180_000) / 1000 - 90, lon: fractionOf(draw, n) * 360 - 180 } }),
      ...((draw & 96) === 0 && { tags: [words[draw % 6]!, words[(draw >>> 8) % 6]!] }),
      ...((draw & 384) === 0 && { alarm: (draw & 512) === 0 }),
    }
    return { n, id, line: JSON.stringify(event), checksum: checksumOf(event) }
  }
}
