/** The request headers that say who sent a batch and how its repeats are recognised. */
import type { IncomingHttpHeaders } from 'node:http'
import { FreshetError } from '../runtime/errors.ts'

export interface BatchHeaders {
  producer: { id: string; sequence: number } | undefined
  /** Ignored when there is a producer. */
  idempotencyKey: string | undefined
  /** Value of `_source`: Freshet-Source, else the producer. */
  source: string | undefined
}

const printable = /^[\x20-\x7e]+$/

/** @throws FreshetError `invalid_header` */
export function readBatchHeaders(headers: IncomingHttpHeaders): BatchHeaders {
  const producerId = text(headers, 'Freshet-Producer', 128)
  const sequenceText = headers['freshet-sequence']
  if ((producerId === undefined) !== (sequenceText === undefined)) {
    throw new FreshetError(
      'invalid_header',
      'Freshet-Producer and Freshet-Sequence must be sent together, or neither.',
      {
        hint: 'The producer names the sender, the sequence numbers its batches 0, 1, 2, ...',
      },
    )
  }
  const producer =
    producerId === undefined ? undefined : { id: producerId, sequence: sequenceNumber(String(sequenceText)) }
  return {
    producer,
    idempotencyKey: text(headers, 'Idempotency-Key', 255),
    source: text(headers, 'Freshet-Source', 128) ?? producerId,
  }
}

function sequenceNumber(value: string): number {
  const sequence = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN
  if (Number.isSafeInteger(sequence)) return sequence
  throw new FreshetError(
    'invalid_header',
    `Freshet-Sequence must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}.`,
    {
      hint: `It was ${JSON.stringify(value.slice(0, 40))}.`,
    },
  )
}

function text(headers: IncomingHttpHeaders, name: string, lengthMax: number): string | undefined {
  const value = headers[name.toLowerCase()]
  if (value === undefined) return undefined
  if (typeof value === 'string' && value.length <= lengthMax && printable.test(value)) return value
  throw new FreshetError('invalid_header', `${name} must be 1 to ${lengthMax} printable ASCII characters.`)
}
