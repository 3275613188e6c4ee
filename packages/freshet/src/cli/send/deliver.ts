import { gzip, zstdCompress } from 'node:zlib'
import { promisify } from 'node:util'
import { FreshetError } from '../../runtime/errors.ts'
import type { Client } from '../client.ts'
import { readAnswer, type Outcome } from './answer.ts'
import type { Batch } from './batches.ts'

export type Compression = 'gzip' | 'zstd' | 'none'

export interface Delivery {
  client: Client
  stream: string
  source: string | null
  compression: Compression
  /** How long a batch is tried again; null: 2 minutes, but 5 seconds while the server has never answered. */
  retryForMs: number | null
  nowMs: () => number
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>
  /** From 0 up to 1; spreads retries of several senders. */
  jitter: () => number
  /** Told before each wait. */
  onRetry: (error: FreshetError, waitMs: number) => void
}

const backoffMsFirst = 100
const backoffMsMax = 5_000

/** Sends batches so that each takes effect once, however often the connection breaks. */
export class Deliverer {
  readonly #delivery: Delivery
  #everAnswered = false

  constructor(delivery: Delivery) {
    this.#delivery = delivery
  }

  /**
   * Sends one batch until the server has taken or refused it. Every attempt has the same bytes and the same `identity` headers
   * (producer and sequence, or idempotency key): the server recognises an attempt whose answer got lost.
   * `stop` ends the waiting between attempts, `cut` also the attempt under way.
   * @throws FreshetError the last failure, when the time for retries is over; an AbortError when stopped
   */
  async deliver(
    batch: Batch,
    identity: Readonly<Record<string, string>>,
    stop: AbortSignal,
    cut: AbortSignal,
  ): Promise<Extract<Outcome, { kind: 'done' }>> {
    const { nowMs, sleep } = this.#delivery
    const body = await compress(batch.body, this.#delivery.compression)
    const startedMs = nowMs()
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.#attempt(batch, body, identity, cut)
      if (outcome.kind === 'done') return outcome
      if (outcome.kind === 'refused') throw outcome.error
      const waitMs = outcome.afterMs ?? backoffMs(attempt, this.#delivery.jitter())
      const retryForMs = this.#delivery.retryForMs ?? (this.#everAnswered ? 120_000 : 5_000)
      if (nowMs() + waitMs - startedMs > retryForMs) throw gaveUp(outcome.error, attempt + 1, nowMs() - startedMs)
      this.#delivery.onRetry(outcome.error, waitMs)
      await sleep(waitMs, stop)
    }
  }

  async #attempt(
    batch: Batch,
    body: Buffer,
    identity: Readonly<Record<string, string>>,
    cut: AbortSignal,
  ): Promise<Outcome> {
    const { client, stream, source, compression } = this.#delivery
    const headers: Record<string, string> = {
      'content-type': 'application/x-ndjson',
      accept: 'application/json',
      ...identity,
    }
    if (compression !== 'none') headers['content-encoding'] = compression
    if (source !== null) headers['freshet-source'] = source
    try {
      const path = `/v1/streams/${encodeURIComponent(stream)}/events`
      const response = await client.send({ method: 'POST', path, headers, body, signal: cut })
      const text = await client.readText(response, cut)
      this.#everAnswered = true
      return readAnswer(client.url, response, text, batch, this.#delivery.nowMs())
    } catch (error) {
      if (error instanceof FreshetError && error.code === 'server_unreachable')
        return { kind: 'retry', error, afterMs: null }
      throw error
    }
  }
}

/** 100 ms, doubling up to 5 s, the last half of it random. */
function backoffMs(attempt: number, jitter: number): number {
  const full = Math.min(backoffMsMax, backoffMsFirst * 2 ** Math.min(attempt, 10))
  return Math.round(full / 2 + (full / 2) * jitter)
}

function gaveUp(error: FreshetError, attempts: number, ms: number): FreshetError {
  const seconds = Math.round(ms / 1000)
  const tried = attempts === 1 ? '' : ` Gave up after ${attempts} attempts in ${seconds} s.`
  return new FreshetError('server_unreachable', `${error.message}${tried}`, {
    hint: `${error.hint ?? 'See what the server logs.'} Then run the same command again: what was already accepted is recognised.`,
    cause: error,
  })
}

function compress(body: Buffer, compression: Compression): Promise<Buffer> {
  switch (compression) {
    case 'none':
      return Promise.resolve(body)
    case 'gzip':
      return promisify(gzip)(body)
    case 'zstd':
      return promisify(zstdCompress)(body)
  }
}
