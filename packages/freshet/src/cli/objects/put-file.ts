/**
 * Sends one file, so that it can be done again at any time: what the server has already is not sent. A large file goes by parts; an upload that
 * was interrupted is found again by the hash of the whole file, and goes on with the parts that have not arrived.
 */
import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { FreshetError } from '../../runtime/errors.ts'
import { problemError, type Client } from '../client.ts'
import { typeOf, type LocalFile } from './local-files.ts'
import { bucketPath, objectPath } from './object-paths.ts'

const MiB = 2 ** 20
/** Smaller files are sent whole. */
export const partBytesMin = 8 * MiB
const partsMax = 10_000
const partsAtATime = 2

export interface PutWishes {
  bucket: string
  type?: string | undefined
  metadata: Readonly<Record<string, string>>
  source?: string | undefined
  /** Only when the key is free. */
  onlyNew: boolean
  /** Called with the bytes that the server has got, or had. */
  onBytes: (bytes: number) => void
  /** Runs a request, again when that may help. */
  retry: <T>(work: () => Promise<T>) => Promise<T>
}

export interface PutOutcome {
  key: string
  outcome: 'put' | 'unchanged'
  sha256: string
  size: number
  version: number
}

interface ObjectAnswer {
  sha256: string
  size: number
  version: number
}

interface UploadAnswer {
  upload: string
  sha256: string | null
  contentType: string
  metadata: Record<string, string>
  parts?: { part: number; sha256: string }[]
}

/** @throws FreshetError what the server refuses, or `checksum_mismatch` for a file that is changed while it is sent */
export async function putFile(client: Client, file: LocalFile, wishes: PutWishes): Promise<PutOutcome> {
  const handle = await open(file.path, 'r')
  try {
    return await new FileSender(client, file, handle, wishes).send()
  } finally {
    await handle.close()
  }
}

class FileSender {
  readonly #client: Client
  readonly #file: LocalFile
  readonly #handle: FileHandle
  readonly #wishes: PutWishes
  readonly #partBytes: number

  constructor(client: Client, file: LocalFile, handle: FileHandle, wishes: PutWishes) {
    this.#client = client
    this.#file = file
    this.#handle = handle
    this.#wishes = wishes
    this.#partBytes = Math.max(partBytesMin, Math.ceil(file.bytes / partsMax / MiB) * MiB)
  }

  async send(): Promise<PutOutcome> {
    const { key, bytes } = this.#file
    const { bucket, retry, onBytes } = this.#wishes
    const sha256 = await this.#hash()
    const there = await retry(() => this.#head())
    if (there?.sha256 === sha256 && !this.#saysMore) {
      onBytes(bytes)
      return { key, outcome: 'unchanged', ...there }
    }
    if (bytes >= partBytesMin) return this.#outcome(await this.#sendParts(sha256))
    const body = await this.#read(0, bytes)
    const path = objectPath(bucket, key)
    const object = await retry(() => this.#request<ObjectAnswer>('PUT', path, this.#headers(sha256), body))
    onBytes(bytes)
    return this.#outcome(object)
  }

  #outcome({ sha256, size, version }: ObjectAnswer): PutOutcome {
    return { key: this.#file.key, outcome: 'put', sha256, size, version }
  }

  /** Whether more is said of the object than its bytes. */
  get #saysMore(): boolean {
    const { type, metadata, onlyNew } = this.#wishes
    return type !== undefined || onlyNew || Object.keys(metadata).length > 0
  }

  /** Only the bytes that the file had when it was found are sent: a log may grow meanwhile. */
  async #hash(): Promise<string> {
    const hash = createHash('sha256')
    for (let at = 0; at < this.#file.bytes; at += MiB) hash.update(await this.#read(at, MiB))
    return hash.digest('hex')
  }

  async #read(from: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(Math.min(length, this.#file.bytes - from))
    for (let filled = 0; filled < buffer.length;) {
      const { bytesRead } = await this.#handle.read(buffer, filled, buffer.length - filled, from + filled)
      if (bytesRead === 0)
        throw new FreshetError('checksum_mismatch', `${this.#file.path} became shorter while it was read.`)
      filled += bytesRead
    }
    return buffer
  }

  async #head(): Promise<{ sha256: string; size: number; version: number } | undefined> {
    const path = objectPath(this.#wishes.bucket, this.#file.key)
    const response = await this.#client.send({ method: 'HEAD', path })
    await this.#client.readText(response)
    if (response.status !== 200) return undefined
    const { headers } = response
    return {
      sha256: String(headers['x-freshet-sha256']),
      size: Number(headers['content-length']),
      version: Number(headers['x-freshet-version']),
    }
  }

  #headers(sha256: string): Record<string, string> {
    const { type, metadata, source, onlyNew } = this.#wishes
    return {
      'content-type': type ?? typeOf(this.#file.path),
      'x-freshet-sha256': sha256,
      ...Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`x-freshet-meta-${name}`, value])),
      ...(source !== undefined && { 'freshet-source': source }),
      ...(onlyNew && { 'if-none-match': '*' }),
    }
  }

  async #sendParts(sha256: string): Promise<ObjectAnswer> {
    const { bucket, retry } = this.#wishes
    const { key } = this.#file
    const { upload, arrived } = await retry(() => this.#upload(sha256))
    const hashes: string[] = []
    const count = Math.ceil(this.#file.bytes / this.#partBytes)
    let next = 0
    const work = async (): Promise<void> => {
      while (next < count) {
        const index = next++
        hashes[index] = await this.#sendPart(upload, index, arrived.get(index + 1))
      }
    }
    await Promise.all(Array.from({ length: partsAtATime }, work))
    const parts = hashes.map((hash, index) => ({ part: index + 1, sha256: hash }))
    const path = objectPath(bucket, key, { upload })
    const type = { 'content-type': 'application/json' }
    return retry(() => this.#request<ObjectAnswer>('POST', path, type, JSON.stringify({ parts }), 0))
  }

  async #sendPart(upload: string, index: number, arrived: string | undefined): Promise<string> {
    const { bucket, retry, onBytes } = this.#wishes
    const body = await this.#read(index * this.#partBytes, this.#partBytes)
    const sha256 = createHash('sha256').update(body).digest('hex')
    if (arrived !== sha256) {
      const path = objectPath(bucket, this.#file.key, { upload, part: String(index + 1) })
      await retry(() => this.#request('PUT', path, { 'x-freshet-sha256': sha256 }, body))
    }
    onBytes(body.length)
    return sha256
  }

  /** An upload of the same bytes that was begun before, with the parts that have arrived; or a new one. */
  async #upload(sha256: string): Promise<{ upload: string; arrived: Map<number, string> }> {
    const { bucket } = this.#wishes
    const { key } = this.#file
    const { type, metadata, onlyNew } = this.#wishes
    const list = (await this.#client.getJson(bucketPath(bucket, { uploads: '', key }))) as { uploads: UploadAnswer[] }
    const known = list.uploads.find(
      (one) =>
        one.sha256 === sha256 &&
        one.contentType === (type ?? typeOf(this.#file.path)) &&
        sorted(one.metadata) === sorted(metadata),
    )
    if (known !== undefined && !onlyNew) {
      const { upload } = known
      const { parts = [] } = (await this.#client.getJson(objectPath(bucket, key, { upload }))) as UploadAnswer
      return { upload, arrived: new Map(parts.map((part) => [part.part, part.sha256])) }
    }
    const path = objectPath(bucket, key, { uploads: '' })
    const { upload } = await this.#request<UploadAnswer>('POST', path, this.#headers(sha256))
    return { upload, arrived: new Map() }
  }

  async #request<T>(
    method: 'PUT' | 'POST',
    path: string,
    headers: Record<string, string>,
    body?: Buffer | string,
    timeoutMs = 120_000,
  ): Promise<T> {
    const request = { method, path, headers, timeoutMs, ...(body === undefined ? {} : { body }) }
    const response = await this.#client.send(request)
    const text = await this.#client.readText(response)
    if (response.status !== 200 && response.status !== 201) throw problemError(this.#client.url, response, text)
    return JSON.parse(text) as T
  }
}

function sorted(metadata: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(metadata).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}
