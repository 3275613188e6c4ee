/**
 * Envelope encryption: every stored object has a data key of its own, which is kept beside it wrapped (encrypted) by a master key of the
 * bucket. A rotation wraps data keys anew and leaves the objects as they are.
 *
 * A data key of 32 random bytes is wrapped by AES-256-GCM under a random nonce of 96 bits; by NIST SP 800-38D (8.3) one master key
 * may so wrap 2^32 data keys. What the key belongs to is authenticated with it, so that it cannot be put beside another object.
 *
 * A master key is known by its id, the start of a hash: it says which key is missing and nothing about it.
 */
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto'
import { FreshetError } from '../runtime/errors.ts'
import type { Random } from '../runtime/random.ts'

export const keyBytes = 32
const nonceBytes = 12
const tagBytes = 16

/** A data key as it is stored. */
export interface WrappedKey {
  /** Of the master key. */
  id: string
  /** Base64: nonce, ciphertext, tag. */
  text: string
}

export class MasterKeys {
  readonly #byId: ReadonlyMap<string, Buffer>
  /** Id of the key that new data keys are wrapped by. */
  readonly newest: string

  /** @param keys 32 bytes each, newest first, at least one */
  constructor(keys: readonly Buffer[]) {
    this.#byId = new Map(keys.map((key) => [idOf(key), key]))
    this.newest = idOf(keys[0]!)
  }

  has(id: string): boolean {
    return this.#byId.has(id)
  }

  /** @param binding what the key belongs to */
  wrap(dataKey: Buffer, binding: string, random: Random): WrappedKey {
    const nonce = Buffer.from(random.hex(nonceBytes), 'hex')
    const cipher = createCipheriv('aes-256-gcm', this.#byId.get(this.newest)!, nonce)
    cipher.setAAD(Buffer.from(binding))
    const text = Buffer.concat([nonce, cipher.update(dataKey), cipher.final(), cipher.getAuthTag()])
    return { id: this.newest, text: text.toString('base64') }
  }

  /**
   * @param place what is being read, for messages
   * @throws FreshetError `object_unreadable` when the master key is not there, `corrupt_object` when the wrapped key was changed
   */
  unwrap({ id, text }: WrappedKey, binding: string, place: string): Buffer {
    const masterKey = this.#byId.get(id)
    if (masterKey === undefined) throw missingKey(place, id)
    const bytes = Buffer.from(text, 'base64')
    try {
      const decipher = createDecipheriv('aes-256-gcm', masterKey, bytes.subarray(0, nonceBytes), {
        authTagLength: tagBytes,
      })
      decipher.setAAD(Buffer.from(binding))
      decipher.setAuthTag(bytes.subarray(-tagBytes))
      return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()])
    } catch (cause) {
      throw new FreshetError(
        'corrupt_object',
        `The wrapped key of ${place} is damaged, or was made for another object.`,
        {
          hint: 'Restore the file from a copy, or put the object again.',
          cause,
        },
      )
    }
  }
}

/** The error for an object whose master key is not configured. */
export function missingKey(place: string, id: string): FreshetError {
  return new FreshetError(
    'object_unreadable',
    `${place} is encrypted under the master key ${id}, which the configuration of its bucket does not have.`,
    { hint: 'Put that key back into `encrypt.keys` of the bucket, behind the newest one.' },
  )
}

function idOf(key: Buffer): string {
  return createHash('sha256').update('freshet master key').update(key).digest('hex').slice(0, 16)
}
