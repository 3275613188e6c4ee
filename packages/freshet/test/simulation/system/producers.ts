/**
 * Simulated producers and the network between them and the gateway: requests are delayed, overtaken and delivered twice, answers are
 * lost. A producer sends a batch again until it is acknowledged, as clients should; what it sends again is the same, byte for byte.
 */
import type { StreamPlan } from '../../../src/config/plan.ts'
import type { GatewayHost, Reply, Request } from './gateway-host.ts'
import type { StreamModel } from './model.ts'
import { epochMs, Violation, type Owner, type World } from './world.ts'

/** How a batch is known again. */
type Marks = 'sequence' | 'key' | 'none'

export interface Network {
  world: World
  /** The gateway that listens now. */
  gateway: () => GatewayHost | undefined
  /** Of a thousand messages, how many are lost or delivered twice. */
  lossPerThousand: number
  twicePerThousand: number
  delayMsMax: number
  count: (what: string) => void
  /** Of a thousand events, how many are of one of these. */
  people: readonly string[]
  personPerThousand: number
}

const outside: Owner = { name: 'client', ended: false }
const dayMs = 24 * 3600 * 1000
/** A client gives up waiting for an answer after this long. */
const patienceMs = 400

interface SimulatedEvent {
  n: number
  text: string
}

export class Producer {
  readonly #network: Network
  readonly #stream: StreamPlan
  readonly #model: StreamModel
  readonly #name: string
  readonly #marks: Marks
  readonly #serial: () => number
  /** Events with ids that any producer of the stream may send again. */
  readonly #shared: SimulatedEvent[]
  #sequence = 0

  constructor(
    network: Network,
    options: {
      stream: StreamPlan
      model: StreamModel
      name: string
      marks: Marks
      serial: () => number
      shared: SimulatedEvent[]
    },
  ) {
    this.#network = network
    this.#stream = options.stream
    this.#model = options.model
    this.#name = options.name
    this.#marks = options.marks
    this.#serial = options.serial
    this.#shared = options.shared
  }

  /** Sends `batches` batches, a few at a time, and resolves when each is acknowledged (or given up, where it must not be sent again). */
  async run(batches: number): Promise<void> {
    const { world } = this.#network
    for (let left = batches; left > 0;) {
      const window = Math.min(left, 1 + world.random.integer(3))
      left -= window
      await Promise.all(Array.from({ length: window }, () => this.#send()))
      if (world.chance(100)) await this.#sayNothingMore()
      await world.sleep(outside, `pause of ${this.#name}`, world.random.integer(120))
    }
  }

  async #send(): Promise<void> {
    const { world, count } = this.#network
    const events = this.#events()
    const request: Request = {
      stream: this.#stream.name,
      to: 'events',
      headers: { 'content-type': 'application/x-ndjson', ...this.#headers() },
      body: events.map(({ text }) => `${text}\n`).join(''),
    }
    for (let attempt = 0; ; attempt++) {
      const reply = await this.#deliver(request)
      if (reply?.status === 202) {
        for (const { n } of events) this.#model.acknowledged.add(n)
        count('acknowledged')
        return
      }
      if (reply !== undefined && reply.status < 500)
        throw new Violation('I10', `${this.#name} was refused: ${reply.status} ${JSON.stringify(reply.body)}`)
      // Without a mark and without ids nobody could tell the second from the first.
      if (this.#marks === 'none' && this.#stream.id === null) return
      count('retries')
      await world.sleep(outside, `backoff of ${this.#name}`, 20 + world.random.integer(150))
    }
  }

  /** A heartbeat: a batch without events. It need not arrive. */
  async #sayNothingMore(): Promise<void> {
    this.#network.count('heartbeats')
    const until = new Date(epochMs + this.#network.world.elapsedMs).toISOString()
    const headers = { 'content-type': 'application/json', 'freshet-source': this.#name }
    await this.#deliver({ stream: this.#stream.name, to: 'heartbeats', headers, body: JSON.stringify({ until }) })
  }

  /** One try; undefined when no answer comes. */
  async #deliver(request: Request): Promise<Reply> {
    const { world, lossPerThousand, twicePerThousand, delayMsMax, count, gateway } = this.#network
    const delay = (): Promise<void> =>
      world.sleep(outside, `message of ${this.#name}`, world.random.integer(delayMsMax))
    const once = async (): Promise<Reply> => {
      await delay()
      if (world.chance(lossPerThousand)) return undefined
      const reply = await gateway()?.post(request)
      await delay()
      if (reply === undefined || !world.chance(lossPerThousand)) return reply
      count('lostAnswers')
      return undefined
    }
    const replies = [once()]
    const unmarked = this.#marks === 'none' && this.#stream.id === null
    if (!unmarked && world.chance(twicePerThousand)) {
      count('deliveredTwice')
      replies.push(once())
    }
    const reply = await Promise.race(replies)
    if (reply === undefined) await world.sleep(outside, `patience of ${this.#name}`, world.random.integer(patienceMs))
    return reply
  }

  #headers(): Record<string, string> {
    const number = this.#sequence++
    if (this.#marks === 'sequence') return { 'freshet-producer': this.#name, 'freshet-sequence': String(number) }
    return this.#marks === 'key' ? { 'idempotency-key': `${this.#name}-${number}` } : {}
  }

  #events(): SimulatedEvent[] {
    const { world, count } = this.#network
    return Array.from({ length: 1 + world.random.integer(5) }, () => {
      if (this.#stream.id !== null && this.#shared.length > 0 && world.chance(200)) {
        count('repeatedIds')
        return world.pick(this.#shared)
      }
      const event = this.#newEvent()
      this.#shared.push(event)
      return event
    })
  }

  #newEvent(): SimulatedEvent {
    const { world, count } = this.#network
    const n = this.#serial()
    if (world.chance(20)) {
      // The door takes it, and DuckDB does not: it becomes a dead letter.
      count('deadLetters')
      this.#model.dying.add(n)
      return { n, text: `{"id":"e${n}","at":"${new Date(epochMs + world.elapsedMs).toISOString()}","n":${n},"n":${n}}` }
    }
    const lateMs = world.chance(200) ? world.random.integer(3) * dayMs : 0
    // Of a stream that keeps less than two days, its partition is past.
    if (this.#stream.retainMs !== undefined && lateMs === 2 * dayMs) this.#model.mayGo.add(n)
    const at = new Date(epochMs + world.elapsedMs - lateMs).toISOString()
    // New columns, and values that do not fit the type of earlier ones.
    const extra = `,"extra${world.random.integer(4)}":${world.pick(['7', '7', '7.5', '"seven"'])}`
    const { people, personPerThousand } = this.#network
    const who = world.chance(personPerThousand) ? `,"who":"${world.pick(people)}"` : ''
    // It may be asked for at any time that those be erased.
    if (who !== '') this.#model.mayGo.add(n)
    const grown = this.#stream.open && world.chance(40) ? extra : ''
    return { n, text: `{"id":"e${n}","at":"${at}","n":${n}${who}${grown}}` }
  }
}
