/** Reads a request body up to a limit, never holding more than that. */
import type { IncomingMessage } from 'node:http'
import { FreshetError } from '../runtime/errors.ts'
import type { ByteBudget } from './byte-budget.ts'

export interface BodyLimits {
  bytesMax: number
  budget: ByteBudget
}

/**
 * Calls back with the whole body, whose length is then taken from the budget: whoever gets it gives it back. On an error nothing
 * stays taken, and the rest of the body is left unread.
 */
export function readBody(
  message: IncomingMessage,
  { bytesMax, budget }: BodyLimits,
  done: (error: FreshetError | null, body?: Buffer) => void,
): void {
  const announced = Number(message.headers['content-length'])
  if (announced > bytesMax) {
    done(tooLarge(bytesMax))
    return
  }
  const chunks: Buffer[] = []
  let length = 0

  const finish = (error: FreshetError | null, body?: Buffer): void => {
    message.removeListener('data', onData)
    message.removeListener('end', onEnd)
    message.removeListener('error', onGone)
    message.removeListener('close', onGone)
    if (error !== null) {
      budget.give(length)
      // A client that goes on, or goes away, must not become an unhandled 'error'.
      message.on('error', () => {})
    }
    done(error, body)
  }
  const onData = (chunk: Buffer): void => {
    if (length + chunk.length > bytesMax) finish(tooLarge(bytesMax))
    else if (!budget.take(chunk.length)) finish(overloaded())
    else {
      length += chunk.length
      chunks.push(chunk)
    }
  }
  const onEnd = (): void => finish(null, chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, length))
  const onGone = (): void =>
    finish(new FreshetError('invalid_body', 'The connection was lost before the body had arrived whole.'))

  message.on('data', onData)
  message.on('end', onEnd)
  message.on('error', onGone)
  message.on('close', onGone)
}

function tooLarge(bytesMax: number): FreshetError {
  return new FreshetError('body_too_large', `A request body may have at most ${bytesMax} bytes.`, {
    hint: 'Send smaller batches.',
  })
}

/** The answer when requests in progress hold all the memory they may. */
export function overloaded(): FreshetError {
  return new FreshetError('overloaded', 'Too many bytes are waiting to be written.', {
    hint: 'Send the same request again in a moment.',
  })
}
