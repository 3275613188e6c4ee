/**
 * A checksum of what an event holds, not of how it is written: what SQL gives back has its fields in another order, nulls for
 * fields that were left out, and a wider type where a column's values were mixed. It is small, since one is kept for every event,
 * and quick, since it is made of every event twice.
 */

/** The field that holds the event's time, which is compared as a moment. */
const timeField = 'prove_at'
const underscore = 95

/**
 * 32 bits over all fields of an event, in whatever order they come. Freshet's own columns, which begin with `_`, are left out;
 * fields that are null or empty count as left out too.
 */
export function checksumOf(event: Readonly<Record<string, unknown>>): number {
  let sum = 0
  for (const name in event) {
    if (name.charCodeAt(0) === underscore) continue
    const value = event[name]
    const hash = name === timeField ? hashNumber(momentOf(String(value))) : hashOf(value)
    if (hash !== nothing) sum = (sum + finish(step(hashText(name), hash))) | 0
  }
  return sum >>> 0
}

/** Milliseconds since 1970 of a time as it is sent, or as SQL writes one in UTC. */
function momentOf(text: string): number {
  return Date.parse(text.endsWith('+00') ? `${text.slice(0, 10)}T${text.slice(11, -3)}Z` : text)
}

/** The hash of what counts as left out. */
const nothing = 0

/** A hash of a value, the same for every way in which SQL may give it back. */
function hashOf(value: unknown): number {
  switch (typeof value) {
    case 'string':
      return hashString(value)
    case 'number':
      return hashNumber(value)
    case 'boolean':
      return hashText(String(value))
    case 'object':
      return value === null ? nothing : hashStructure(value)
    default:
      return nothing
  }
}

const plainNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/
/** So many characters hold no more digits than a double keeps. */
const exactCharacters = 16

/** A number that became text, and a structure that became JSON text, are the same as before. */
function hashString(text: string): number {
  if (text === '') return nothing
  const first = text.charCodeAt(0)
  if ((first === 45 || (first >= 48 && first <= 57)) && text.length <= exactCharacters && plainNumber.test(text))
    return hashNumber(Number(text))
  if (first === 123 || first === 91) {
    try {
      return hashOf(JSON.parse(text))
    } catch {
      return hashText(text)
    }
  }
  return hashText(text)
}

function hashStructure(value: object): number {
  let hash = 0
  if (Array.isArray(value)) {
    for (const element of value) hash = step(hash, hashOf(element))
    return value.length === 0 ? nothing : finish(step(hash, value.length))
  }
  for (const name in value) {
    const member = hashOf((value as Record<string, unknown>)[name])
    if (member !== nothing) hash = (hash + finish(step(hashText(name), member))) | 0
  }
  return hash
}

const double = new Float64Array(1)
const halves = new Int32Array(double.buffer)

function hashNumber(value: number): number {
  // -0 and 0 are one number.
  double[0] = value + 0
  return finish(step(step(0x6e75, halves[0]!), halves[1]!))
}

/** FNV-1a over UTF-16 code units. */
function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash
}

function step(hash: number, word: number): number {
  return (Math.imul((hash << 13) | (hash >>> 19), 5) + (word ^ 0x6546b64)) | 0
}

function finish(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}
