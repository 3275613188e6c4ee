/** Asks with some of the receipts of a run where their batches are now. */
import { FreshetError } from '../../runtime/errors.ts'
import type { Door } from './door.ts'
import type { Check } from './facts.ts'
import { Seeded } from './seeded.ts'

const sampleSize = 50
const name = 'Receipts say where their batches are'

/** A sample of all receipts, each as likely as any other to be in it. */
export class ReceiptSample {
  readonly #random: Seeded
  readonly #sample: { receipt: string; events: number }[] = []
  #seen = 0

  constructor(seed: number) {
    this.#random = new Seeded(seed, 14)
  }

  /** @param events how many of the batch's events were taken */
  add(receipt: string, events: number): void {
    const at = this.#seen < sampleSize ? this.#seen : this.#random.integer(this.#seen + 1)
    this.#seen++
    if (at < sampleSize) this.#sample[at] = { receipt, events }
  }

  get all(): readonly { receipt: string; events: number }[] {
    return this.#sample
  }
}

/** Everything is committed when this is asked. */
export async function checkReceipts(door: Door, sample: ReceiptSample): Promise<Check> {
  if (sample.all.length === 0) return { name, ok: null, detail: 'The server gives no receipts.' }
  const faults: string[] = []
  for (const { receipt, events } of sample.all) {
    try {
      const fault = faultOf(await door.get(`/v1/receipts/${encodeURIComponent(receipt)}`), events)
      if (fault !== undefined) faults.push(`${receipt} ${fault}`)
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error
      faults.push(`${receipt}: ${error.message}`)
    }
  }
  if (faults.length === 0) return { name, ok: true, detail: `${sample.all.length} receipts looked up.` }
  return {
    name,
    ok: false,
    detail: `${faults.length} of ${sample.all.length}: ${faults.slice(0, 3).join('; ')}.`,
    advice: 'Ask with one of them by `freshet receipt ID` on the server, if its folder was kept.',
  }
}

interface ReceiptAnswer {
  state?: string
  count?: number
  events?: Record<string, number | null> | null
}

/** What is wrong with an answer; undefined when nothing is. */
function faultOf(answer: unknown, events: number): string | undefined {
  const { state, count, events: became } = answer as ReceiptAnswer
  if (count !== events) return `tells of ${count} events; there were ${events}`
  if (state !== 'committed') return `is ${state}; all is committed`
  const numbers = Object.values(became ?? {})
  if ((became?.['missing'] ?? 0) > 0) return `tells of ${became?.['missing']} events that are missing`
  if (numbers.length === 0 || numbers.includes(null)) return undefined
  const sum = numbers.reduce<number>((total, number) => total + number!, 0)
  return sum === events ? undefined : `says what became of ${sum} events; there were ${events}`
}
