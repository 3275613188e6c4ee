/** Asks the worker, over its socket, to give inputs to a consumer again, and for what replays of streams need of their transforms. */
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { Pool } from 'undici'
import type { ReplayAtConsumer } from '../engine/letters/replay.ts'
import type { Pause, Rerun, TransformRunner } from '../engine/replay/transform-runner.ts'
import { errorCodes, type ErrorCode } from '../runtime/error-codes.ts'
import { FreshetError, messageOf, type Problem } from '../runtime/errors.ts'

export interface WorkerClient {
  replayAtConsumer: ReplayAtConsumer
  transforms: TransformRunner
  close: () => Promise<void>
}

interface Request {
  path: string
  body?: string | Buffer
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** How long a consumer may take over a batch of inputs; a sink may wait for its target. */
const silenceMsMax = 300_000
const lineFeed = 0x0a

/** @param socket path of the worker's unix socket; nobody need listen there yet */
export function openWorkerClient(socket: string): WorkerClient {
  const options = { socketPath: socket, pipelining: 1, headersTimeout: silenceMsMax }
  const pool = new Pool('http://worker', { ...options, connections: 4, bodyTimeout: silenceMsMax })
  // What is paused says nothing more for as long as it rests.
  const pauses = new Pool('http://worker', { ...options, connections: 4, bodyTimeout: 0 })
  return {
    replayAtConsumer: (consumer, inputs, dryRun) => replayAtConsumer(pool, consumer, inputs, dryRun),
    transforms: {
      run: (stream, lines, count, signal) => run(pool, stream, { lines, count, signal }),
      pause: (stream, signal) => pause(pauses, stream, signal),
    },
    close: async () => {
      await Promise.all([pool.destroy(), pauses.destroy()])
    },
  }
}

async function replayAtConsumer(
  pool: Pool,
  consumer: string,
  inputs: readonly string[],
  dryRun: boolean,
): ReturnType<ReplayAtConsumer> {
  const path = `/v1/consumers/${encodeURIComponent(consumer)}/replay`
  const headers = { 'content-type': 'application/json' }
  const { status, body } = await send(pool, { path, headers, body: JSON.stringify({ inputs, dryRun }) })
  const bytes = await whole(body)
  if (status === 200) return JSON.parse(bytes.toString()) as Awaited<ReturnType<ReplayAtConsumer>>
  const refused = refusalOf(bytes)
  // A consumer that the configuration does not have any more: its letters stay.
  const { code, message } = refused
  if (code === 'not_found') return inputs.map(() => ({ accepted: false, code, message }))
  throw refused
}

async function run(
  pool: Pool,
  stream: string,
  { lines, count, signal }: { lines: Buffer; count: number; signal: AbortSignal },
): Promise<Rerun> {
  const path = `/v1/transforms/${encodeURIComponent(stream)}/run`
  const { status, body } = await send(pool, { path, headers: { 'freshet-count': String(count) }, body: lines, signal })
  const bytes = await whole(body)
  if (status !== 200) throw refusalOf(bytes)
  const end = bytes.indexOf(lineFeed)
  const head = JSON.parse(bytes.toString('utf8', 0, end)) as Pick<Rerun, 'count' | 'letters'>
  return { ...head, lines: bytes.subarray(end + 1) }
}

async function pause(pool: Pool, stream: string, signal: AbortSignal): Promise<Pause> {
  const path = `/v1/transforms/${encodeURIComponent(stream)}/pause`
  const { status, body } = await send(pool, { path, signal })
  if (status !== 200) throw refusalOf(await whole(body))
  const { log, skip } = JSON.parse((await firstLine(body)).toString()) as { log: string; skip: number }
  return {
    place: { log: BigInt(log), skip },
    resume: async () => {
      body.destroy()
    },
  }
}

async function send(pool: Pool, { path, body, headers, signal }: Request): Promise<{ status: number; body: Readable }> {
  try {
    const answer = await pool.request({
      method: 'POST',
      path,
      ...(headers && { headers }),
      ...(body !== undefined && { body }),
      ...(signal && { signal }),
    })
    return { status: answer.statusCode, body: answer.body }
  } catch (error) {
    throw silent(error)
  }
}

async function whole(body: Readable): Promise<Buffer> {
  try {
    return await buffer(body)
  } catch (error) {
    throw silent(error)
  }
}

/** The body stays open. */
function firstLine(body: Readable): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let line: Buffer = Buffer.alloc(0)
    body.on('data', (piece: Buffer) => {
      line = Buffer.concat([line, piece])
      if (line.includes(lineFeed)) resolve(line.subarray(0, line.indexOf(lineFeed)))
    })
    body.once('error', (error) => reject(silent(error)))
    body.once('end', () => reject(silent(new Error('its answer ended'))))
    // One that ends later has nobody who listens; the worker has let go by itself.
    body.on('error', () => undefined)
  })
}

function silent(error: unknown): FreshetError {
  return new FreshetError('worker_unavailable', `The worker does not answer (${messageOf(error)}).`, {
    hint: 'It is started again by itself.',
    cause: error,
  })
}

function refusalOf(bytes: Buffer): FreshetError {
  const {
    code = '',
    detail = 'The worker refused.',
    hint,
  } = JSON.parse(bytes.toString()) as Partial<Problem> & { code?: string }
  const known = Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : 'internal'
  return new FreshetError(known, detail, hint === undefined ? {} : { hint })
}
