/** Appends to a log whose writer is another process, through its append door. */
import { Readable } from 'node:stream'
import { Pool } from 'undici'
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import { fromWire, type WireError } from '../../runtime/supervision-messages.ts'
import type { Appended, AppendBatch, Positions } from '../log.ts'
import {
  appendAllPath,
  appendPath,
  batchHeader,
  readAppended,
  rollPath,
  type BatchHead,
  writeBatches,
} from './append-door.ts'
import type { FileLog } from './file-log.ts'

export interface AppendClient extends Pick<FileLog, 'append' | 'roll'> {
  /** Appends batches to a stream in this order; resolves once all are durable. Some may be when it fails. */
  appendAll(stream: string, batches: readonly AppendBatch[]): Promise<void>
  close(): Promise<void>
}

const connections = 8
/** An append waits for a sync at most; a writer that is silent for longer is taken for dead, and the batch sent again. */
const silenceMsMax = 60_000

/** @param socket path of the door's unix socket; nobody need listen there yet */
export function openAppendClient(socket: string): AppendClient {
  const pool = new Pool('http://log', {
    socketPath: socket,
    connections,
    pipelining: 1,
    headersTimeout: silenceMsMax,
    bodyTimeout: silenceMsMax,
  })
  return {
    append: (stream, batch) => append(pool, stream, batch),
    appendAll: async (stream, batches) => {
      await send(pool, appendAllPath + encodeURIComponent(stream), {}, writeBatches(batches))
    },
    roll: (stream) => roll(pool, stream),
    close: () => pool.destroy(),
  }
}

async function append(pool: Pool, stream: string, { lines, ...head }: AppendBatch): Promise<Appended> {
  // Header values are ASCII, and names of sources and producers need not be.
  const headers = { [batchHeader]: encodeURIComponent(JSON.stringify(head satisfies BatchHead)) }
  return readAppended(await send(pool, appendPath + encodeURIComponent(stream), headers, lines))
}

async function roll(pool: Pool, stream: string): Promise<Positions> {
  const text = await send(pool, rollPath + encodeURIComponent(stream), {}, [])
  return new Map((JSON.parse(text) as [number, string][]).map(([partition, end]) => [partition, BigInt(end)]))
}

type Body = readonly Uint8Array[]

/** Piece by piece, as they are: to copy megabytes together would make as much garbage. */
function sent(body: Body): Readable | null {
  const pieces = body.filter(({ byteLength }) => byteLength > 0)
  return pieces.length === 0 ? null : Readable.from(pieces)
}

/** The text of the door's answer. @throws FreshetError the one that the door answers with, or `log_unwritable` */
async function send(pool: Pool, path: string, headers: Record<string, string>, body: Body): Promise<string> {
  const { status, text } = await ask(pool, path, headers, body)
  if (status === 200) return text
  throw fromWire(JSON.parse(text) as WireError)
}

async function ask(
  pool: Pool,
  path: string,
  headers: Record<string, string>,
  body: Body,
): Promise<{ status: number; text: string }> {
  try {
    const length = { 'content-length': String(body.reduce((sum, piece) => sum + piece.byteLength, 0)) }
    const answer = await pool.request({ method: 'POST', path, headers: { ...headers, ...length }, body: sent(body) })
    return { status: answer.statusCode, text: await answer.body.text() }
  } catch (error) {
    throw new FreshetError('log_unwritable', `The log's writer does not answer (${messageOf(error)}).`, {
      hint: 'It is the gateway, which is started again by itself; whether the batch was appended is not known.',
      cause: error,
    })
  }
}
