/** The two calls of the HTTP API that the quickstart needs: posting a batch, and SQL. */
import { setTimeout as sleep } from 'node:timers/promises'

const attemptsMax = 50
const retryPauseMs = 200

/** The answer to a batch. */
export interface Accepted {
  accepted: number
  duplicates: number
  rejected: number
  errors: { index: number; code: string; path?: string; reason: string }[]
}

/** A producer's batch, and its number in the producer's sequence. */
export interface Batch {
  producer: string
  sequence: number
  events: readonly object[]
}

export type Row = Record<string, unknown>

/** The server answered, and the answer was no. */
export class RefusedError extends Error {
  readonly status: number

  constructor(what: string, status: number, body: string) {
    super(`${what} was answered ${status}: ${body.slice(0, 500)}`)
    this.name = 'RefusedError'
    this.status = status
  }
}

/**
 * Posts a batch as NDJSON. The producer's name and the batch's number are what makes it safe to send again.
 * @throws RefusedError when the batch as a whole was not taken; TypeError when the server cannot be reached
 */
export async function postEvents(url: string, stream: string, batch: Batch): Promise<Accepted> {
  const response = await fetch(`${url}/v1/streams/${stream}/events`, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-ndjson',
      'freshet-producer': batch.producer,
      'freshet-sequence': String(batch.sequence),
      'freshet-source': batch.producer,
    },
    body: batch.events.map((event) => `${JSON.stringify(event)}\n`).join(''),
  })
  const body = await response.text()
  if (response.status !== 202)
    throw new RefusedError(`batch ${batch.sequence} of ${batch.producer}`, response.status, body)
  return JSON.parse(body) as Accepted
}

/**
 * The rows of a query's answer. While the engine is being started again, say, the query is sent again.
 * @throws RefusedError when the query was not answered; TypeError when the server cannot be reached
 */
export async function sql(url: string, query: string): Promise<Row[]> {
  const { result } = await persistently(() => sqlOnce(url, query))
  return result
}

/** As `sql`, but a single attempt. */
export async function sqlOnce(url: string, query: string): Promise<Row[]> {
  const response = await fetch(`${url}/v1/sql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ sql: query, format: 'json' }),
  })
  const body = await response.text()
  if (response.status !== 200) throw new RefusedError(query, response.status, body)
  return (JSON.parse(body) as { rows: Row[] }).rows
}

/**
 * Tries again, for ten seconds, what failed for a reason that passes: no connection, or a server that says 503.
 * @throws the last failure, or any other at once
 */
export async function persistently<Result>(
  action: () => Promise<Result>,
): Promise<{ result: Result; attempts: number }> {
  for (let attempts = 1; ; attempts++) {
    try {
      return { result: await action(), attempts }
    } catch (error) {
      const passing = error instanceof TypeError || (error instanceof RefusedError && error.status === 503)
      if (!passing || attempts === attemptsMax) throw error
      await sleep(retryPauseMs)
    }
  }
}
