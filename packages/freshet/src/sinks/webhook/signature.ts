/** Signatures of webhooks: Standard Webhooks specification, "Signature scheme" (symmetric, v1). */
import { createHash, createHmac } from 'node:crypto'
import type { SinkEvent } from '../sink.ts'

const prefix = 'whsec_'

/** The specification asks for 24 to 64 random bytes. */
function keyOf(secret: string): Buffer | undefined {
  if (!secret.startsWith(prefix)) return undefined
  const words = secret.slice(prefix.length)
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(words)) return undefined
  const key = Buffer.from(words, 'base64')
  return key.length >= 24 && key.length <= 64 ? key : undefined
}

export function isSecret(secret: string): boolean {
  return keyOf(secret) !== undefined
}

/** The keys of secrets. @throws Error for one that is none; does not show it */
export function signingKeys(secrets: readonly string[]): Buffer[] {
  return secrets.map((secret, index) => {
    const key = keyOf(secret)
    if (key !== undefined) return key
    throw new Error(
      `Secret ${index + 1} of the webhook is none: it must be "whsec_" and 24 to 64 bytes in base64 behind it.`,
    )
  })
}

/** Headers of one message: signed with every key, so that a receiver may know the old secret or the next one. */
export function messageHeaders(
  message: { id: string; timestampS: number; body: string },
  keys: readonly Buffer[],
): Record<string, string> {
  const { id, timestampS, body } = message
  const headers: Record<string, string> = {
    'webhook-id': id,
    'webhook-timestamp': String(timestampS),
    'idempotency-key': id,
  }
  if (keys.length > 0) {
    const signatures = keys.map((key) =>
      createHmac('sha256', key).update(`${id}.${timestampS}.${body}`).digest('base64'),
    )
    headers['webhook-signature'] = signatures.map((signature) => `v1,${signature}`).join(' ')
  }
  return headers
}

/** What a header can say as it stands; a full stop would be taken for the end of the id in what is signed. */
const plainId = /^[\x21-\x2d\x2f-\x7e]{1,200}$/

/** The same for the same events: the event's id where a header can have it, otherwise a hash. */
export function messageId(events: readonly SinkEvent[]): string {
  if (events.length === 1 && plainId.test(events[0]!.id)) return events[0]!.id
  const hash = createHash('sha256')
  for (const { id } of events) hash.update(`${Buffer.byteLength(id)}:${id}`)
  return `${events.length === 1 ? 'event' : 'batch'}_${hash.digest('hex')}`
}
