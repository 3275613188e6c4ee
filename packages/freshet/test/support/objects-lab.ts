/** What the tests of objects share: a storage on a folder, whose steps can be made to fail, and the events that it sends. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import type { BucketPlan } from '../../src/config/plan.ts'
import type { BlobForm } from '../../src/objects/blobs.ts'
import { MasterKeys } from '../../src/objects/master-keys.ts'
import type { EventMark, ObjectVersion } from '../../src/objects/object-event.ts'
import type { ObjectFields, PutResult } from '../../src/objects/object-buckets.ts'
import { openObjects, type Objects, type ObjectsOptions } from '../../src/objects/open-objects.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { systemTimers } from '../../src/runtime/timers.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'

export const dayMs = 86_400_000

export function bucketPlan(name: string, changes: Partial<BucketPlan> = {}): BucketPlan {
  return {
    name,
    stream: `${name}_files`,
    objectBytesMax: 64 * 2 ** 20,
    compress: 3,
    keepDeletedMs: 7 * dayMs,
    encrypt: null,
    ...changes,
  }
}

export const masterKey = (): Buffer => randomBytes(32)

interface SentEvent {
  object: ObjectVersion
  mark: EventMark
}

/** A log that remembers marks, as the real one does. */
class EventSink {
  readonly events: SentEvent[] = []
  /** Sends of an event that was there. */
  repeats = 0
  /** Called before an event is taken, and after. */
  interrupt: ((when: 'before' | 'after') => void) | undefined

  check(): void {}

  async send(object: ObjectVersion, mark: EventMark): Promise<void> {
    this.interrupt?.('before')
    const isThere = this.events.some((sent) => sent.mark.id === mark.id && sent.mark.sequence === mark.sequence)
    if (isThere) this.repeats++
    else this.events.push({ object, mark })
    this.interrupt?.('after')
    return Promise.resolve()
  }

  /** `key@sha256 prefix`, or `-key`, in order. */
  told(): string[] {
    return this.events.map(({ object }) => `${object.deleted ? '-' : ''}${object.key} ${object.sha256.slice(0, 8)}`)
  }
}

export class ObjectsLab {
  readonly dir = mkdtempSync(join(tmpdir(), 'freshet-objects-'))
  readonly log = new EventSink()
  readonly plans: Record<string, BucketPlan>
  forms: Map<string, BlobForm>
  nowMs = 1_764_115_200_000
  objects!: Objects
  trust: ObjectsOptions['trust'] = (seenMs) => ({ seenMs, look: (nowMs) => ({ nowMs }) })
  store: ObjectStore = new LocalObjectStore({ root: this.dir, fileSystem: nodeFileSystem, random: systemRandom })

  private constructor(forms: Record<string, BlobForm>) {
    this.forms = new Map(Object.entries(forms))
    this.plans = Object.fromEntries(Object.keys(forms).map((name) => [name, bucketPlan(name)]))
  }

  static async open(forms: Record<string, BlobForm> = { logs: { level: 3, keys: null } }): Promise<ObjectsLab> {
    const lab = new ObjectsLab(forms)
    await lab.start()
    return lab
  }

  /** Starts the storage on what is in the folder. */
  async start(): Promise<void> {
    this.objects = await openObjects({
      plans: this.plans,
      forms: this.forms,
      store: this.store,
      dir: this.dir,
      fileSystem: nodeFileSystem,
      clock: { nowMs: () => this.nowMs },
      timers: systemTimers,
      random: systemRandom,
      logger: silentLogger,
      trust: this.trust,
    })
    this.objects.start(this.log)
  }

  async restart(): Promise<void> {
    await this.objects.stop()
    await this.start()
  }

  async put(key: string, bytes: Uint8Array | string, fields: Partial<ObjectFields> = {}): Promise<PutResult> {
    const { bucket = 'logs' } = fields
    const incoming = await this.objects.blobs.receive(bucket)
    await incoming.write(Buffer.from(bytes))
    return this.objects.buckets.put(
      { bucket, key, type: 'text/plain', metadata: {}, source: null, onlyNew: false, ...fields },
      incoming,
    )
  }

  async get(key: string, bucket = 'logs'): Promise<Buffer> {
    const blob = await this.objects.buckets.open(await this.objects.buckets.find(bucket, key))
    return await buffer(blob.read())
  }

  /** The files of blobs, heads too. */
  async blobFiles(): Promise<string[]> {
    return (await this.store.list('blobs/')).map(({ key }) => key)
  }

  async close(): Promise<void> {
    await this.objects.stop()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

export function encrypted(...keys: Buffer[]): BlobForm {
  return { level: 3, keys: new MasterKeys(keys) }
}
