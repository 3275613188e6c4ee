/** What the worker tells of its consumers, for the status and for Prometheus. */
import { Counter, Gauge, Registry } from 'prom-client'
import type { EngineClient } from './engine-client.ts'

/** How a consumer gets on. Unknown members pass through. */
export interface ConsumerReport {
  /** `transform:<stream>` or `sink:<name>`. */
  name: string
  /** The stream that it reads. */
  from: string
  /** Bytes of the log before it. */
  lagBytes: number
  /** Events that it took since its process began. */
  events: number
  /** Why it does not get on; null while it does. */
  problem: string | null
  [member: string]: unknown
}

const waitMs = 2000

/** Asks the worker; undefined while it does not answer, or where there is none. */
export async function askConsumers(worker: EngineClient | undefined): Promise<ConsumerReport[] | undefined> {
  const answer = await worker?.ask('/v1/consumers', waitMs)
  return answer === undefined ? undefined : (JSON.parse(answer) as ConsumerReport[])
}

/** Prometheus text, empty without consumers. */
export async function consumerMetrics(consumers: readonly ConsumerReport[]): Promise<string> {
  if (consumers.length === 0) return ''
  const registry = new Registry()
  const shared = { labelNames: ['consumer', 'from'], registers: [registry] }
  const lag = new Gauge({ name: 'freshet_consumer_lag_bytes', help: 'Bytes of the log before the consumer', ...shared })
  const stuck = new Gauge({ name: 'freshet_consumer_stuck', help: '1 while the consumer does not get on', ...shared })
  const events = new Counter({
    name: 'freshet_consumer_events_total',
    help: 'Events that the consumer took since the worker started',
    ...shared,
  })
  for (const { name, from, lagBytes, problem, events: taken } of consumers) {
    const labels = { consumer: name, from }
    lag.set(labels, lagBytes)
    stuck.set(labels, problem === null ? 0 : 1)
    events.inc(labels, taken)
  }
  return registry.metrics()
}
