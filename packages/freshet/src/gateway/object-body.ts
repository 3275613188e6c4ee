/**
 * Takes the bytes of objects in: as a stream, never whole in memory. An upload may take as long as it needs, so the server's request
 * timeout does not mean it (`isPatient`); but of the time that is spent waiting for the client, no `requestTimeoutMs` may pass with
 * less than `progressBytes`, so that a client that has stalled does not hold a place for ever.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { FreshetError, systemCodeOf } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { IncomingBlob } from '../objects/blobs.ts'

/** Uploads that are taken in at a time: each holds some blocks of 256 KiB. */
const uploadsMax = 32
const progressBytes = 64 * 1024
/** The disk is looked at again after so many bytes. */
const lookBytes = 64 * 1024 * 1024

export interface UploadGateOptions {
  dataDir: string
  diskFreeBytesMin: number
  requestTimeoutMs: number
  fileSystem: Pick<FileSystem, 'freeBytes'>
  uploadsMax?: number
}

export class UploadGate {
  readonly #options: UploadGateOptions
  readonly #patient = new WeakSet<Socket>()
  #uploads = 0

  constructor(options: UploadGateOptions) {
    this.#options = options
  }

  /** Whether an upload is coming in by this connection. */
  isPatient(socket: Socket): boolean {
    return this.#patient.has(socket)
  }

  /**
   * Runs `work` in one of the places for uploads, with a connection that may be quiet meanwhile.
   * @throws FreshetError `overloaded`
   */
  async run<T>({ socket }: IncomingMessage, work: () => Promise<T>): Promise<T> {
    if (this.#uploads >= (this.#options.uploadsMax ?? uploadsMax)) {
      throw new FreshetError('overloaded', 'Too many objects are on their way in.', {
        hint: 'Send the same request again in a moment.',
      })
    }
    this.#uploads++
    this.#patient.add(socket)
    const idleMs = socket.timeout ?? 0
    socket.setTimeout(0)
    try {
      return await work()
    } finally {
      socket.setTimeout(idleMs)
      this.#patient.delete(socket)
      this.#uploads--
    }
  }

  /** @throws FreshetError `disk_full` when `bytes` more would leave too little */
  async checkDisk(bytes: number): Promise<void> {
    const { fileSystem, dataDir, diskFreeBytesMin } = this.#options
    const free = await fileSystem.freeBytes(dataDir)
    if (free - bytes >= diskFreeBytesMin) return
    throw new FreshetError('disk_full', `The disk has ${free} bytes free, which is too little for this object.`, {
      hint: 'Free space, then send the object again.',
    })
  }

  /**
   * Writes the body into `incoming`.
   * @param check refuses so many bytes, by throwing
   * @throws FreshetError `request_timeout`, `disk_full`, `invalid_body`
   */
  async receive(message: IncomingMessage, incoming: IncomingBlob, check: (bytes: number) => void): Promise<void> {
    // Leaving the loop must not destroy the connection: the answer has to go out by it.
    const chunks = message.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>
    let lookAt = lookBytes
    try {
      for (const stall = new Stall(this.#options.requestTimeoutMs); ;) {
        const { done, value } = await stall.wait(chunks.next())
        if (done === true) return
        stall.moved(value.length)
        check(incoming.bytes + value.length)
        await incoming.write(value)
        if (incoming.bytes < lookAt) continue
        await this.checkDisk(0)
        lookAt = incoming.bytes + lookBytes
      }
    } catch (error) {
      throw bodyError(error)
    } finally {
      // One that waits for bytes never answers to this.
      void chunks.return?.().catch(() => undefined)
    }
  }
}

/** Measures how long a client lets us wait. */
class Stall {
  readonly #waitMsMax: number
  #waitedMs = 0
  #bytes = 0

  constructor(waitMsMax: number) {
    this.#waitMsMax = waitMsMax
  }

  async wait<T>(next: Promise<T>): Promise<T> {
    const startedMs = performance.now()
    let timer: NodeJS.Timeout | undefined
    const stalled = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new FreshetError('request_timeout', 'The object did not go on arriving.')),
        this.#waitMsMax - this.#waitedMs,
      )
    })
    next.catch(() => undefined)
    try {
      return await Promise.race([next, stalled])
    } finally {
      clearTimeout(timer)
      this.#waitedMs += performance.now() - startedMs
    }
  }

  moved(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes < progressBytes) return
    this.#bytes = 0
    this.#waitedMs = 0
  }
}

function bodyError(error: unknown): unknown {
  switch (systemCodeOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new FreshetError('disk_full', 'The disk is full; nothing of the object was kept.', { cause: error })
    case 'ECONNRESET':
    case 'ERR_STREAM_PREMATURE_CLOSE':
      return new FreshetError('invalid_body', 'The connection was lost before the object had arrived whole.')
    default:
      return error
  }
}
