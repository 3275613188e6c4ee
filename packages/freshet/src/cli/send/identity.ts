import { createHash } from 'node:crypto'
import type { CsvOptions } from './csv.ts'
import type { InputShape, Source } from './input.ts'

/** Everything beside the input that decides which events are sent, and in which batches. */
export interface SendIdentity {
  stream: string
  source: string | null
  batchEvents: number
  batchBytes: number
  shape: InputShape
  csv: Omit<CsvOptions, 'delimiter'>
}

/** Text that is equal exactly when the same input gives the same batches. The number is that of the batching rules. */
function seedOf(identity: SendIdentity): string {
  const { stream, source, batchEvents, batchBytes, shape, csv } = identity
  const columnTypes = Object.entries(csv.columnTypes).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const reading = [shape.format, shape.packing, shape.delimiter, csv.header, csv.types, columnTypes, csv.nullText]
  return JSON.stringify(['freshet-send', 1, stream, source, batchEvents, batchBytes, ...reading])
}

/**
 * The producer id of a file: the same file sent to the same stream in the same way has the same id, so the server recognises
 * every batch of it by its sequence. The file is read once from end to end.
 */
export async function fileProducer(identity: SendIdentity, source: Source, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256').update(`${seedOf(identity)}\n`)
  for await (const chunk of source.open()) {
    signal.throwIfAborted()
    hash.update(chunk as Buffer)
  }
  return `send-${hash.digest('hex').slice(0, 32)}`
}

/**
 * Idempotency keys of a pipe, which cannot be read twice: each is a hash over all batches so far, so a batch is recognised when
 * it and everything before it were sent before.
 */
export class PipeKeys {
  #key: string

  constructor(identity: SendIdentity) {
    this.#key = createHash('sha256').update(seedOf(identity)).digest('hex')
  }

  next(body: Buffer): string {
    this.#key = createHash('sha256').update(this.#key).update(body).digest('hex')
    return `send-${this.#key}`
  }
}
