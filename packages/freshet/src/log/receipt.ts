/**
 * Receipts: text that names one batch in the log, so that anyone who holds it can ask later where the batch is now. It says place,
 * arrival and count by itself, so nothing has to be stored for it:
 *
 *     <stream>.<partition>.<from>.<to>.<arrival>.<count>[.<since>].<check>
 *
 * Positions and counts are decimal; `arrival` is milliseconds since 1970 in base 36. `since`, in base 36, is how far before `from`
 * the first batch with the same arrival time begins; it is left out when no other batch has it. `check` is the CRC-32 of what is in
 * front of it, in base 36: a mistyped receipt is refused, and not answered for another batch. It keeps no secret: whoever makes one
 * up is told of a batch only if it names one exactly.
 */
import { crc32 } from 'node:zlib'
import { streamNamePattern } from '../config/plan.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { BatchPlace } from './log.ts'

export interface Receipt extends BatchPlace {
  stream: string
  text: string
}

/** No receipt is longer. */
export const receiptLengthMax = 200

const form =
  /^([a-z][a-z0-9_]*)\.(\d{1,5})\.(\d{1,19})\.(\d{1,19})\.([0-9a-z]{1,9})\.(\d{1,10})(?:\.([0-9a-z]{1,12}))?\.[0-9a-z]{1,7}$/
const positionMax = 2n ** 63n - 1n
/** The last day that a Date holds. */
const timeMaxMs = 8.64e15

/** The receipt of a batch. */
export function receiptText(stream: string, place: BatchPlace): string {
  const { partition, from, to, count, receivedAtMs, sameArrivalFrom } = place
  const since = sameArrivalFrom === undefined ? '' : `.${(from - sameArrivalFrom).toString(36)}`
  const text = `${stream}.${partition}.${from}.${to}.${receivedAtMs.toString(36)}.${count}${since}`
  return `${text}.${crc32(text).toString(36)}`
}

/** Reads a receipt, from anyone. @throws FreshetError `unknown_receipt` when it is none that `receiptText` writes */
export function parseReceipt(text: string): Receipt {
  const match = text.length > receiptLengthMax ? null : form.exec(text)
  if (match === null) throw mistyped(text)
  const [, stream, partition, from, to, arrival, count, since] = match as unknown as string[]
  const receipt: Receipt = {
    text,
    stream: stream!,
    partition: Number(partition),
    from: BigInt(from!),
    to: BigInt(to!),
    receivedAtMs: Number.parseInt(arrival!, 36),
    count: Number(count),
    sameArrivalFrom: since === undefined ? undefined : BigInt(from!) - BigInt(Number.parseInt(since, 36)),
  }
  if (!isPossible(receipt) || receiptText(receipt.stream, receipt) !== text) throw mistyped(text)
  return receipt
}

function isPossible({ stream, from, to, count, receivedAtMs, sameArrivalFrom = 0n }: Receipt): boolean {
  return (
    streamNamePattern.test(stream) &&
    from < to &&
    to <= positionMax &&
    count > 0 &&
    receivedAtMs <= timeMaxMs &&
    sameArrivalFrom >= 0n
  )
}

/** The error for a receipt that names no batch. */
export function unknownReceipt(text: string, why: string): FreshetError {
  return new FreshetError('unknown_receipt', `There is no batch with the receipt ${JSON.stringify(text)}: ${why}.`, {
    hint: 'Ask with the "receipt" of a 202 as it was given, at the server that gave it.',
  })
}

function mistyped(text: string): FreshetError {
  const shown = text.length > receiptLengthMax ? `${text.slice(0, receiptLengthMax)}…` : text
  return unknownReceipt(shown, 'it is mistyped, or no receipt at all')
}
