/** Names of objects, and the ids of the events that tell of them. */
import { createHash } from 'node:crypto'

/** Longest key, in bytes of UTF-8. */
const keyBytesMax = 1024
/** Longest id that an event can have, in bytes of UTF-8. */
const idBytesMax = 512

/** Why a text cannot be the key of an object; undefined when it can. */
export function keyFault(key: string): string | undefined {
  if (key === '') return 'it is empty'
  if (!key.isWellFormed()) return 'it has half of a surrogate pair'
  if (Buffer.byteLength(key) > keyBytesMax) return `it is longer than ${keyBytesMax} bytes`
  if (/\p{Cc}/u.test(key)) return 'it has a control character'
  for (const part of key.split('/')) {
    if (part === '') return 'nothing stands before, behind or between two of its slashes'
    if (part === '.' || part === '..') return 'it has the part "." or "..", which has a meaning of its own in addresses'
  }
  return undefined
}

/**
 * The id of the event of a change: `<bucket>/<key>@<version>`. Keys can be longer than ids may be; then the hash of the key
 * stands in its place, behind two slashes, which no key begins with.
 */
export function eventIdOf(bucket: string, key: string, version: number): string {
  const id = `${bucket}/${key}@${version}`
  if (Buffer.byteLength(id) <= idBytesMax) return id
  return `${bucket}//${createHash('sha256').update(key).digest('hex')}@${version}`
}
