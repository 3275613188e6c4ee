/** What the headers and the query of requests about objects say. */
import type { IncomingHttpHeaders } from 'node:http'
import { nearest } from '../config/spelling.ts'
import { FreshetError } from '../runtime/errors.ts'

const metaPrefix = 'x-freshet-meta-'
/** Bytes of all names and values together. */
const metadataBytesMax = 4096
const metaName = /^[a-z0-9][a-z0-9._-]{0,127}$/
const printable = /^[\x20-\x7e]*$/
const defaultType = 'application/octet-stream'
const mediaType = /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}(?:\s*;[\x20-\x7e]*)?$/
const sha256Hex = /^[0-9a-f]{64}$/

/** The Content-Type, as it will be given back. @throws FreshetError `unsupported_media_type` */
export function typeOf(headers: IncomingHttpHeaders): string {
  const type = headers['content-type'] ?? defaultType
  if (type.length <= 255 && mediaType.test(type)) return type
  throw new FreshetError('unsupported_media_type', 'The Content-Type header cannot be read.', {
    hint: `Write it like text/plain; charset=utf-8, or leave it out for ${defaultType}.`,
  })
}

/** The metadata, by name, in the order of names. @throws FreshetError `invalid_header` */
export function metadataOf(headers: IncomingHttpHeaders): Record<string, string> {
  const metadata: Record<string, string> = {}
  let bytes = 0
  for (const header of Object.keys(headers).toSorted()) {
    if (!header.startsWith(metaPrefix)) continue
    const name = header.slice(metaPrefix.length)
    const value = headers[header]
    if (!metaName.test(name) || typeof value !== 'string' || !printable.test(value)) {
      throw new FreshetError('invalid_header', `${header.slice(0, 150)} is no metadata.`, {
        hint: 'Names have letters, digits, ".", "_" and "-"; values are printable ASCII: percent-encode others.',
      })
    }
    metadata[name] = value
    bytes += name.length + value.length
  }
  if (bytes <= metadataBytesMax) return metadata
  throw new FreshetError('invalid_header', `Metadata may have at most ${metadataBytesMax} bytes, names included.`)
}

/** Metadata as headers. */
export function metadataHeaders(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [metaPrefix + name, value]))
}

/** The Freshet-Source header. @throws FreshetError `invalid_header` */
export function sourceOf(headers: IncomingHttpHeaders): string | null {
  const source = headers['freshet-source']
  if (source === undefined) return null
  if (typeof source === 'string' && source !== '' && source.length <= 128 && printable.test(source)) return source
  throw new FreshetError('invalid_header', 'Freshet-Source must be 1 to 128 printable ASCII characters.')
}

/**
 * The SHA-256 that the bytes are said to have, in hex: x-freshet-sha256, or sha-256 of Content-Digest (RFC 9530).
 * @throws FreshetError `invalid_header`
 */
export function announcedSha256(headers: IncomingHttpHeaders): string | undefined {
  const plain = headers['x-freshet-sha256']
  const digest = headers['content-digest']
  const found = new Set<string>()
  if (plain !== undefined) found.add(String(plain).toLowerCase())
  const coded = digest === undefined ? undefined : /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):/.exec(String(digest))?.[1]
  if (coded !== undefined) found.add(Buffer.from(coded, 'base64').toString('hex'))
  else if (digest !== undefined) throw badDigest('Content-Digest must have a sha-256.')
  if (found.size > 1) throw badDigest('x-freshet-sha256 and Content-Digest differ.')
  const [sha256] = found
  if (sha256 !== undefined && !sha256Hex.test(sha256))
    throw badDigest('x-freshet-sha256 must be 64 hexadecimal digits.')
  return sha256
}

function badDigest(message: string): FreshetError {
  return new FreshetError('invalid_header', message, {
    hint: 'Send x-freshet-sha256: <hex>, or Content-Digest: sha-256=:<base64>:.',
  })
}

/** Objects are kept as they are sent. @throws FreshetError `unsupported_encoding` */
export function refuseEncoding(headers: IncomingHttpHeaders): void {
  const encoding = headers['content-encoding']
  if (encoding === undefined || encoding.toLowerCase() === 'identity') return
  throw new FreshetError('unsupported_encoding', 'Objects are kept as they are sent, without Content-Encoding.', {
    hint: 'Leave the header out; a compressed file is put as it is.',
  })
}

/** Whether the object may only be new: `If-None-Match: *`. @throws FreshetError `invalid_header` */
export function onlyNew(headers: IncomingHttpHeaders): boolean {
  const condition = headers['if-none-match']
  if (condition === undefined) return false
  if (condition.trim() === '*') return true
  throw new FreshetError('invalid_header', 'If-None-Match of a PUT or POST can only be *.')
}

/** Whether a list of ETags names this one. */
export function namesTag(list: string | undefined, tag: string): boolean {
  if (list === undefined) return false
  return list.split(',').some((one) => one.trim() === '*' || one.trim().replace(/^W\//, '') === tag)
}

/**
 * The range that is asked for: `end` is exclusive. undefined for the whole: there is no range, several, or none that can be read
 * (RFC 9110, 14.2).
 * @throws FreshetError `range_not_satisfiable`
 */
export function rangeOf(header: string | undefined, bytes: number): { start: number; end: number } | undefined {
  const match = header === undefined ? null : /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim())
  if (match === null || (match[1] === '' && match[2] === '')) return undefined
  const [, first, last] = match as unknown as [string, string, string]
  if (first === '') {
    const start = Math.max(0, bytes - Number(last))
    if (Number(last) === 0 || bytes === 0) throw outside(bytes)
    return { start, end: bytes }
  }
  if (last !== '' && Number(last) < Number(first)) return undefined
  if (Number(first) >= bytes) throw outside(bytes)
  return { start: Number(first), end: last === '' ? bytes : Math.min(bytes, Number(last) + 1) }
}

function outside(bytes: number): FreshetError {
  return new FreshetError('range_not_satisfiable', `The object has ${bytes} bytes; the range begins behind them.`, {
    extra: { size: bytes },
  })
}

/** The query's parameters, each at most once. @throws FreshetError `invalid_request` for one that is not known */
export function readQuery<Name extends string>(query: unknown, known: readonly Name[]): Partial<Record<Name, string>> {
  const found: Partial<Record<Name, string>> = {}
  for (const [name, value] of Object.entries(query as Record<string, string | string[]>)) {
    if (!(known as readonly string[]).includes(name)) {
      const near = nearest(name.slice(0, 100), known)
      throw new FreshetError('invalid_request', `Unknown query parameter ${JSON.stringify(name.slice(0, 100))}.`, {
        hint: near === undefined ? `There are: ${known.join(', ')}.` : `Did you mean "${near}"?`,
      })
    }
    if (typeof value !== 'string') throw new FreshetError('invalid_request', `${name} must come once.`)
    found[name as Name] = value
  }
  return found
}

/** A whole number in a query. @throws FreshetError `invalid_request` */
export function wholeOf(name: string, text: string, min: number, max: number): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new FreshetError('invalid_request', `${name} must be a whole number from ${min} to ${max}.`)
}
