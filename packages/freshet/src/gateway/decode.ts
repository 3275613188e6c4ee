/** From the body as sent to text: content type, content encoding, UTF-8. */
import { isAscii, isUtf8 } from 'node:buffer'
import { promisify } from 'node:util'
import { constants, gunzip, gunzipSync, zstdDecompress, zstdDecompressSync } from 'node:zlib'
import { FreshetError, systemCodeOf } from '../runtime/errors.ts'
import type { BodyForm } from './events.ts'

export type Encoding = 'identity' | 'gzip' | 'zstd'

const forms: Readonly<Record<string, BodyForm>> = {
  'application/json': 'json',
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  'application/jsonl': 'ndjson',
  'application/x-jsonlines': 'ndjson',
}
const charsets = new Set(['utf-8', 'utf8', 'us-ascii'])

/** @throws FreshetError `unsupported_media_type` */
export function bodyForm(contentType: string | undefined): BodyForm {
  const known = forms[contentType ?? '']
  if (known !== undefined) return known
  const [type = '', ...parameters] = (contentType ?? '').toLowerCase().split(';')
  const form = forms[type.trim()]
  const hint = "Use 'application/json' for one object or an array, 'application/x-ndjson' for one object a line."
  if (form === undefined) {
    const said =
      contentType === undefined
        ? 'The request has no Content-Type.'
        : `Content-Type "${contentType}" is not supported here.`
    throw new FreshetError('unsupported_media_type', said, { hint })
  }
  for (const parameter of parameters) {
    const [name, value = ''] = parameter.trim().split('=')
    if (name === 'charset' && !charsets.has(value.replaceAll('"', ''))) {
      throw new FreshetError('unsupported_media_type', `Character set "${value}" is not supported: JSON is UTF-8.`, {
        hint,
      })
    }
  }
  return form
}

/** @throws FreshetError `unsupported_encoding` */
export function bodyEncoding(header: string | undefined): Encoding {
  if (header === undefined) return 'identity'
  const name = header.trim().toLowerCase()
  if (name === '' || name === 'identity') return 'identity'
  if (name === 'gzip' || name === 'x-gzip') return 'gzip'
  if (name === 'zstd') return 'zstd'
  throw new FreshetError('unsupported_encoding', `Content-Encoding "${header}" is not supported.`, {
    hint: 'Use gzip, zstd, or none.',
  })
}

const gunzipAsync = promisify(gunzip)
const zstdDecompressAsync = promisify(zstdDecompress)

/** Up to this many bytes are unpacked at once: a trip through the thread pool would take longer. */
const syncBytesMax = 16 * 1024
/** RFC 9659: no zstd window on the web is larger than 8 MB. */
const zstdWindowLogMax = 23

/**
 * @param bytesMax the most that may come out
 * @throws FreshetError `body_too_large`, `invalid_body`
 */
export async function unpack(body: Buffer, encoding: 'gzip' | 'zstd', bytesMax: number): Promise<Buffer> {
  const options = {
    maxOutputLength: bytesMax,
    chunkSize: 64 * 1024,
    ...(encoding === 'zstd' && { params: { [constants.ZSTD_d_windowLogMax]: zstdWindowLogMax } }),
  }
  try {
    if (body.length <= syncBytesMax)
      return encoding === 'gzip' ? gunzipSync(body, options) : zstdDecompressSync(body, options)
    return encoding === 'gzip' ? await gunzipAsync(body, options) : await zstdDecompressAsync(body, options)
  } catch (error) {
    if (systemCodeOf(error) === 'ERR_BUFFER_TOO_LARGE') {
      throw new FreshetError('body_too_large', `The body unpacks to more than ${bytesMax} bytes.`, {
        hint: 'Send smaller batches.',
      })
    }
    throw new FreshetError('invalid_body', `The body is not valid ${encoding} data.`, {
      hint: 'It may be cut short, or not be compressed at all.',
      cause: error,
    })
  }
}

export interface BodyText {
  text: string
  /** True when every character is one byte. */
  ascii: boolean
}

/** The body as text; a byte order mark at its start is dropped. @throws FreshetError `invalid_body` naming the offset */
export function toText(body: Buffer): BodyText {
  if (isAscii(body)) return { text: body.toString('latin1'), ascii: true }
  if (!isUtf8(body)) {
    const offset = firstInvalidUtf8(body)
    throw new FreshetError(
      'invalid_body',
      `The body is not UTF-8 text: byte ${offset} (0x${body[offset]!.toString(16)}) fits nowhere.`,
      {
        extra: { offset },
      },
    )
  }
  const marked = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf
  return { text: body.toString('utf8', marked ? 3 : 0), ascii: false }
}

/** Offset of the first byte that no valid UTF-8 sequence covers (Unicode, table 3-7). */
function firstInvalidUtf8(body: Buffer): number {
  let at = 0
  while (at < body.length) {
    const lead = body[at]!
    const length =
      lead < 0x80
        ? 1
        : lead >= 0xc2 && lead <= 0xdf
          ? 2
          : lead >= 0xe0 && lead <= 0xef
            ? 3
            : lead >= 0xf0 && lead <= 0xf4
              ? 4
              : 0
    if (length === 0) return at
    if (length > 1 && !isUtf8(body.subarray(at, Math.min(at + length, body.length)))) return at
    at += length
  }
  return body.length - 1
}
