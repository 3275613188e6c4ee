/**
 * Objects in a bucket of S3, or of a server that talks like it.
 *
 * **Retries.** The SDK's own are off. A request that failed by what may pass (no connection, no answer, 5xx, 429, 409) is sent again some
 * times, after waits that double and are drawn at random below their limit.
 *
 * **Lost answers.** `putIfAbsent` is a PUT with `If-None-Match: *`, which a taken key answers with 412. But a PUT may have stored the object though its
 * answer was lost, and then 412 is the answer to the second try. So each such PUT carries a mark, as metadata of the object: where a
 * former try may have got through, 412 is followed by a HEAD, and the mark says whose object it is. `putOnce` has its mark from the
 * caller, who can ask again in another process. 409 says that another request for the key is under way: it is tried again.
 * When all tries fail, it is not known whether the object is stored: that is an error, and never false.
 */
import { readFile, rm } from 'node:fs/promises'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { FreshetError } from '../../runtime/errors.ts'
import type { Random } from '../../runtime/random.ts'
import type { Timers } from '../../runtime/timers.ts'
import type { BucketSettings, ObjectBody, RemoteObjectStore, StoredObject } from '../object-store.ts'
import { problemOf, s3Error } from './s3-problem.ts'

export interface S3ObjectStoreOptions extends BucketSettings {
  timers: Timers
  random: Random
  /** How long a connection may take, and how long one may lie idle. Default 5 s and 30 s. */
  connectMsMax?: number
  idleMsMax?: number
  /** How often a request is sent at most. Default 4. */
  triesMax?: number
}

/** First and longest wait between two tries. */
const waitMs = 200
const waitMsMax = 5000
/** Requests that one call has under way at once. */
const parallelMax = 8
const markName = 'freshet-mark'

/** A request that can only be judged by sending it again. */
class Unsettled extends Error {
  readonly $metadata = { httpStatusCode: 409 }
}

export class S3ObjectStore implements RemoteObjectStore {
  readonly #options: S3ObjectStoreOptions
  readonly #client: S3Client
  readonly #closing = new AbortController()
  /** In front of all keys. */
  readonly #root: string
  /** Where it is, for messages. */
  readonly #at: string

  constructor(options: S3ObjectStoreOptions) {
    const { endpoint, region, accessKeyId, secretAccessKey, pathStyle, prefix } = options
    const { connectMsMax = 5000, idleMsMax = 30_000 } = options
    this.#options = options
    this.#root = prefix === undefined || prefix === '' ? '' : `${prefix}/`
    this.#at = endpoint === undefined ? 'S3' : new URL(endpoint).origin
    // Servers other than Amazon's take any region, and few of them know buckets by host names.
    const usedRegion = region ?? (endpoint === undefined ? undefined : 'us-east-1')
    this.#client = new S3Client({
      ...(endpoint !== undefined && { endpoint }),
      ...(usedRegion !== undefined && { region: usedRegion }),
      ...(accessKeyId !== undefined && { credentials: { accessKeyId, secretAccessKey: secretAccessKey ?? '' } }),
      forcePathStyle: pathStyle ?? endpoint !== undefined,
      maxAttempts: 1,
      // Others than Amazon's do not know the checksums that the SDK would add.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: { connectionTimeout: connectMsMax, socketTimeout: idleMsMax },
    })
  }

  async get(key: string, range?: { start: number; end: number }): Promise<Buffer | undefined> {
    const Key = this.#keyOf(key)
    if (range !== undefined && range.start >= range.end) {
      return (await this.#head(key)) === undefined ? undefined : Buffer.alloc(0)
    }
    const Range = range === undefined ? undefined : `bytes=${range.start}-${range.end - 1}`
    return this.#again(`get ${key}`, async (abortSignal) => {
      try {
        const command = new GetObjectCommand({ Bucket: this.#options.bucket, Key, Range })
        const { Body, ContentLength } = await this.#client.send(command, { abortSignal })
        const bytes = Buffer.from((await Body?.transformToByteArray()) ?? [])
        if (ContentLength !== undefined && bytes.length !== ContentLength) throw new Unsettled('a part is missing')
        return bytes
      } catch (error) {
        // A range behind the end, or any range of an empty object.
        if (statusOf(error) === 416) return Buffer.alloc(0)
        if (isMissing(error)) return undefined
        throw error
      }
    })
  }

  async put(key: string, body: ObjectBody): Promise<void> {
    const Key = this.#keyOf(key)
    const Body = 'file' in body ? await readFile(body.file) : body
    await this.#again(`put ${key}`, (abortSignal) =>
      this.#client.send(new PutObjectCommand({ Bucket: this.#options.bucket, Key, Body }), { abortSignal }),
    )
    if ('file' in body) await rm(body.file)
  }

  putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    return this.#putNew(key, body, { mark: this.#options.random.hex(16), unsure: false })
  }

  putOnce(key: string, body: Uint8Array, mark: string): Promise<boolean> {
    return this.#putNew(key, body, { mark, unsure: true })
  }

  /** @param unsure whether an object with this mark may be there already */
  async #putNew(key: string, body: Uint8Array, { mark, unsure }: { mark: string; unsure: boolean }): Promise<boolean> {
    const object = { Bucket: this.#options.bucket, Key: this.#keyOf(key), Body: body, Metadata: { [markName]: mark } }
    let maybeStored = unsure
    return this.#again(`put ${key}`, async (abortSignal) => {
      try {
        await this.#client.send(new PutObjectCommand({ ...object, IfNoneMatch: '*' }), { abortSignal })
        return true
      } catch (error) {
        if (statusOf(error) !== 412) {
          maybeStored = true
          throw error
        }
      }
      if (!maybeStored) return false
      const found = await this.#head(key)
      if (found === undefined) throw new Unsettled('the key was taken, and is free again')
      return found.mark === mark
    })
  }

  async #head(key: string): Promise<{ mark: string | undefined } | undefined> {
    const command = new HeadObjectCommand({ Bucket: this.#options.bucket, Key: this.#keyOf(key) })
    return this.#again(`read ${key}`, async (abortSignal) => {
      try {
        const { Metadata } = await this.#client.send(command, { abortSignal })
        return { mark: Metadata?.[markName] }
      } catch (error) {
        if (isMissing(error)) return undefined
        throw error
      }
    })
  }

  async list(prefix: string): Promise<StoredObject[]> {
    const found: StoredObject[] = []
    let next: string | undefined
    do {
      const page = await this.#page(`${this.#root}${prefix}`, { next })
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        // Other programs mark folders by empty objects.
        if (Key === undefined || Key.endsWith('/')) continue
        found.push({ key: Key.slice(this.#root.length), bytes: Size ?? 0, modifiedMs: LastModified?.getTime() ?? 0 })
      }
      next = page.IsTruncated === true ? page.NextContinuationToken : undefined
    } while (next !== undefined)
    return found.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  }

  #page(prefix: string, { next, keysMax }: { next?: string | undefined; keysMax?: number }) {
    const command = new ListObjectsV2Command({
      Bucket: this.#options.bucket,
      Prefix: prefix,
      ContinuationToken: next,
      MaxKeys: keysMax,
    })
    return this.#again('list objects', (abortSignal) => this.#client.send(command, { abortSignal }))
  }

  async delete(keys: readonly string[]): Promise<void> {
    const rest = keys.map((key) => this.#keyOf(key))
    const deleteOne = async (Key: string): Promise<void> => {
      await this.#again(`delete ${Key}`, async (abortSignal) => {
        try {
          await this.#client.send(new DeleteObjectCommand({ Bucket: this.#options.bucket, Key }), { abortSignal })
        } catch (error) {
          if (!isMissing(error)) throw error
        }
      })
    }
    while (rest.length > 0) await Promise.all(rest.splice(0, parallelMax).map(deleteOne))
  }

  async check(): Promise<void> {
    await this.#page(this.#root, { keysMax: 1 })
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#client.destroy()
  }

  /** Sends a request until it succeeds, or fails for good. @throws FreshetError `object_store_unusable` */
  async #again<Result>(what: string, send: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const { timers, random, triesMax = 4, bucket } = this.#options
    const { signal } = this.#closing
    for (let tries = 1; ; tries++) {
      try {
        signal.throwIfAborted()
        return await send(signal)
      } catch (error) {
        if (error instanceof FreshetError) throw error
        const problem = problemOf(error)
        if (!problem.passing || tries >= triesMax || signal.aborted)
          throw s3Error(problem, { what, bucket, at: this.#at })
      }
      const longestMs = Math.min(waitMsMax, waitMs * 2 ** (tries - 1))
      await timers.sleep(longestMs / 2 + random.integer(longestMs / 2 + 1), signal)
    }
  }

  #keyOf(key: string): string {
    const wrong = key.split('/').find((part) => part === '' || part === '.' || part === '..')
    if (wrong === undefined) return `${this.#root}${key}`
    throw new FreshetError(
      'internal',
      `The object key ${JSON.stringify(key)} has the part ${JSON.stringify(wrong)}, which keys must not have.`,
    )
  }
}

function statusOf(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode
}

/** Whether there is no such object. Servers answer 404 for missing buckets and users as well; an answer to HEAD has no more than its status. */
function isMissing(error: unknown): boolean {
  return statusOf(error) === 404 && ['NoSuchKey', 'NotFound'].includes((error as Error).name)
}
