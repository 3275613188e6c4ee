/**
 * How other processes append to a log that has one writer: over a unix socket of the writer's process, which only this user can open. A batch's
 * lines are the body of a request, as they are; all else is in the header `freshet-batch`. Nothing is parsed or judged here: who
 * appends has done that. The answer comes after the append, never before (I1), so a caller that gets none sends the batch again, with the same
 * marks, and is told that it was a repeat.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { FreshetError } from '../../runtime/errors.ts'
import type { Logger } from '../../runtime/logging.ts'
import { drained, listenOnSocket } from '../../runtime/socket-server.ts'
import { toWire } from '../../runtime/supervision-messages.ts'
import type { Appended, AppendBatch, BatchPlace } from '../log.ts'
import type { FileLog } from './file-log.ts'

export const batchHeader = 'freshet-batch'
export const appendPath = '/append/'
/** Several batches at once: a line of their heads, each with the bytes of its lines, and then all lines. */
export const appendAllPath = '/append-all/'
export const rollPath = '/roll/'

export interface AppendDoorOptions {
  /** Path of the unix socket. */
  socket: string
  log: Pick<FileLog, 'append' | 'roll'>
  /** Most bytes of lines in one batch. */
  bodyBytesMax: number
  logger: Logger
}

/** Everything of a batch but its lines. */
export type BatchHead = Omit<AppendBatch, 'lines'>

/** Listens; resolves when the door is open. */
export async function openAppendDoor(options: AppendDoorOptions): Promise<{ close: () => Promise<void> }> {
  const server = await listenOnSocket(options.socket, (request, response) => {
    void serve(options, request, response).catch((error: unknown) => refuse(options, response, error))
  })
  // Appends under way are finished and answered.
  return { close: () => drained(server) }
}

async function serve(
  { log, bodyBytesMax }: AppendDoorOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = request.url ?? ''
  const head = request.headers[batchHeader]
  if (request.method === 'POST' && path.startsWith(rollPath)) {
    request.resume()
    const positions = await log.roll(decodeURIComponent(path.slice(rollPath.length)))
    return answer(response, 200, JSON.stringify([...positions].map(([part, at]) => [part, String(at)])))
  }
  if (request.method === 'POST' && path.startsWith(appendAllPath)) {
    const stream = decodeURIComponent(path.slice(appendAllPath.length))
    const batches = readBatches(await readLines(request, bodyBytesMax))
    // Called one after the other without a pause: in this order they are written, and share a sync.
    const appended = await Promise.all(batches.map((batch) => log.append(stream, batch)))
    return answer(response, 200, `[${appended.map(appendedText).join(',')}]`)
  }
  if (request.method !== 'POST' || !path.startsWith(appendPath) || typeof head !== 'string') {
    throw new FreshetError('not_found', `There is no ${request.method} ${path} at the log's door.`)
  }
  const lines = await readLines(request, bodyBytesMax)
  const batch = JSON.parse(decodeURIComponent(head)) as BatchHead
  const appended = await log.append(decodeURIComponent(path.slice(appendPath.length)), { ...batch, lines })
  answer(response, 200, appendedText(appended))
}

type SizedHead = BatchHead & { bytes: number }

/** The body for several batches. */
export function writeBatches(batches: readonly AppendBatch[]): Uint8Array[] {
  const heads = batches.map(({ lines, ...head }): SizedHead => {
    return { ...head, bytes: lines.reduce((sum, piece) => sum + piece.byteLength, 0) }
  })
  return [Buffer.from(`${JSON.stringify(heads)}\n`), ...batches.flatMap(({ lines }) => lines)]
}

function readBatches(body: readonly Buffer[]): AppendBatch[] {
  const rest = new Pieces(body)
  const heads = JSON.parse(Buffer.concat(rest.takeLine()).toString()) as SizedHead[]
  return heads.map(({ bytes, ...head }) => ({ ...head, lines: rest.take(bytes) }))
}

/** A body as it came, taken from its start on without a copy. */
class Pieces {
  readonly #pieces: readonly Buffer[]
  /** The piece that is next, and what is taken of it. */
  #next = 0
  #taken = 0

  constructor(pieces: readonly Buffer[]) {
    this.#pieces = pieces
  }

  take(bytes: number): Buffer[] {
    const taken: Buffer[] = []
    for (let left = bytes; left > 0 && this.#next < this.#pieces.length;) {
      const piece = this.#pieces[this.#next]!.subarray(this.#taken, this.#taken + left)
      taken.push(piece)
      left -= piece.length
      this.#taken += piece.length
      if (this.#taken < this.#pieces[this.#next]!.length) continue
      this.#next++
      this.#taken = 0
    }
    return taken
  }

  /** The first line, which is at the start. */
  takeLine(): Buffer[] {
    let bytes = 0
    for (const piece of this.#pieces) {
      const end = piece.indexOf('\n')
      if (end >= 0) return this.take(bytes + end + 1)
      bytes += piece.length
    }
    return this.take(bytes)
  }
}

async function readLines(request: IncomingMessage, bytesMax: number): Promise<Buffer[]> {
  const lines: Buffer[] = []
  let bytes = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (bytes > bytesMax) {
      throw new FreshetError('body_too_large', `A batch for the log may have at most ${bytesMax} bytes.`)
    }
    lines.push(piece)
  }
  const promised = Number(request.headers['content-length'])
  // A caller that died has sent a part: half a batch is none.
  if (bytes !== promised) throw new FreshetError('invalid_request', `Of ${promised} bytes of a batch, ${bytes} came.`)
  return lines
}

function refuse({ logger }: AppendDoorOptions, response: ServerResponse, error: unknown): void {
  if (!(error instanceof FreshetError)) logger.error({ error }, 'a batch of another process could not be appended')
  const known =
    error instanceof FreshetError ? error : new FreshetError('internal', 'The log could not append a batch.')
  answer(response, known.status, JSON.stringify(toWire(known)))
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

/** Positions as texts: they can exceed 2^53. */
function appendedText({ from, position, duplicate, place }: Appended): string {
  return JSON.stringify({
    from: String(from),
    position: String(position),
    duplicate,
    ...(place && { place: placeTexts(place) }),
  })
}

function placeTexts({ from, to, sameArrivalFrom, ...place }: BatchPlace): object {
  return {
    ...place,
    from: String(from),
    to: String(to),
    ...(sameArrivalFrom !== undefined && { sameArrivalFrom: String(sameArrivalFrom) }),
  }
}

/** What `appendedText` has written. */
export function readAppended(text: string): Appended {
  const { from, position, duplicate, place } = JSON.parse(text) as {
    from: string
    position: string
    duplicate: boolean
    place?: { from: string; to: string; sameArrivalFrom?: string } & Omit<BatchPlace, 'from' | 'to' | 'sameArrivalFrom'>
  }
  return {
    from: BigInt(from),
    position: BigInt(position),
    duplicate,
    ...(place && {
      place: {
        ...place,
        from: BigInt(place.from),
        to: BigInt(place.to),
        sameArrivalFrom: place.sameArrivalFrom === undefined ? undefined : BigInt(place.sameArrivalFrom),
      },
    }),
  }
}
