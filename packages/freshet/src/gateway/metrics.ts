/** What the gateway counts, for Prometheus. Labels are bound once, because binding costs more than counting. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ErrorCode } from '../runtime/error-codes.ts'
import type { EventError } from '../events/refusal.ts'

interface Bound {
  inc(value?: number): void
}

/** Counters of one stream. */
export interface StreamMetrics {
  accepted: Bound
  duplicate: Bound
  deadLettered: Bound
  bytes: Bound
  rejected(errors: readonly EventError[]): void
}

export class GatewayMetrics {
  readonly registry = new Registry()
  readonly #requests: Counter<'method' | 'route' | 'status'>
  readonly #events: Counter<'stream' | 'outcome'>
  readonly #rejected: Counter<'stream' | 'code'>
  readonly #bytes: Counter<'stream'>
  readonly #append: Histogram
  readonly #streams = new Map<string, StreamMetrics>()
  readonly #bound = new Map<string, Map<number, Bound>>()

  constructor(heldBytes: () => number) {
    const registers = [this.registry]
    this.#requests = new Counter({
      name: 'freshet_http_requests_total',
      help: 'Requests answered',
      labelNames: ['method', 'route', 'status'],
      registers,
    })
    this.#events = new Counter({
      name: 'freshet_gateway_events_total',
      help: 'Events durable in the log (accepted), recognised as a repeated batch (duplicate), or kept as dead letters (dead_lettered)',
      labelNames: ['stream', 'outcome'],
      registers,
    })
    this.#rejected = new Counter({
      name: 'freshet_gateway_events_rejected_total',
      help: 'Events refused, by reason',
      labelNames: ['stream', 'code'],
      registers,
    })
    this.#bytes = new Counter({
      name: 'freshet_gateway_log_bytes_total',
      help: 'Bytes of stored lines made durable',
      labelNames: ['stream'],
      registers,
    })
    this.#append = new Histogram({
      name: 'freshet_gateway_append_seconds',
      help: 'Time from handing a batch to the log until it is durable',
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
      registers,
    })
    this.#addGauge('freshet_gateway_held_bytes', 'Bytes of bodies and batches in progress', heldBytes)
    this.#addGauge('freshet_gateway_resident_bytes', 'Resident memory of the gateway', () => process.memoryUsage.rss())
    this.#addGauge('freshet_gateway_cpu_seconds', 'CPU time used by the gateway', () => {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1e6
    })
  }

  #addGauge(name: string, help: string, value: () => number): void {
    const gauge: Gauge = new Gauge({ name, help, registers: [], collect: () => gauge.set(value()) })
    this.registry.registerMetric(gauge)
  }

  request(method: string, route: string, status: number): void {
    const key = `${method} ${route}`
    let statuses = this.#bound.get(key)
    if (statuses === undefined) this.#bound.set(key, (statuses = new Map()))
    let counter = statuses.get(status)
    if (counter === undefined) statuses.set(status, (counter = this.#requests.labels(method, route, String(status))))
    counter.inc()
  }

  appended(seconds: number): void {
    this.#append.observe(seconds)
  }

  stream(name: string): StreamMetrics {
    let metrics = this.#streams.get(name)
    if (metrics === undefined) this.#streams.set(name, (metrics = this.#bind(name)))
    return metrics
  }

  #bind(stream: string): StreamMetrics {
    const rejected = new Map<ErrorCode, Bound>()
    return {
      accepted: this.#events.labels(stream, 'accepted'),
      duplicate: this.#events.labels(stream, 'duplicate'),
      deadLettered: this.#events.labels(stream, 'dead_lettered'),
      bytes: this.#bytes.labels(stream),
      rejected: (errors) => {
        for (const { code } of errors) {
          let counter = rejected.get(code)
          if (counter === undefined) rejected.set(code, (counter = this.#rejected.labels(stream, code)))
          counter.inc()
        }
      },
    }
  }
}

/**
 * The engine's metrics under names that cannot clash with the gateway's: each gets `freshet_engine_` in front unless it has it.
 * @param text Prometheus text format
 */
export function underEngineNames(text: string): string {
  return text.replaceAll(
    /^((?:# (?:HELP|TYPE) )?)(?!freshet_engine_)(?:freshet_)?([a-zA-Z_:][a-zA-Z0-9_:]*)/gm,
    '$1freshet_engine_$2',
  )
}
