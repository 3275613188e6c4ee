/** Puts the parts of the object storage together, for the one process that writes it. */
import { join } from 'node:path'
import type { BucketPlan } from '../config/plan.ts'
import type { Clock } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import type { Timers } from '../runtime/timers.ts'
import type { TrustedClock } from '../runtime/trusted-clock.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { Announcer, type Announce } from './announcer.ts'
import { Blobs, type BlobForm } from './blobs.ts'
import { IndexFile } from './index-file.ts'
import { ObjectBuckets } from './object-buckets.ts'
import { ObjectIndex, type BucketTotals } from './object-index.ts'
import { rotate, type Rotation } from './rotate.ts'
import { sweep, type Swept } from './sweep.ts'
import { Uploads } from './uploads.ts'

const sweepEveryMs = 60 * 60 * 1000

export interface ObjectsOptions {
  plans: Readonly<Record<string, BucketPlan>>
  /** How each bucket's objects are stored. */
  forms: ReadonlyMap<string, BlobForm>
  store: ObjectStore
  /** Folder of the index, on the disk of the store. */
  dir: string
  fileSystem: FileSystem
  clock: Clock
  timers: Timers
  random: Random
  logger: Logger
  /** @param seenMs what the one before it had seen */
  trust: (seenMs: number | undefined) => Pick<TrustedClock, 'seenMs' | 'look'>
}

export interface Objects {
  buckets: ObjectBuckets
  uploads: Uploads
  blobs: Blobs
  /** Says how events reach the log; what is left of an earlier process is sent then. */
  start(announce: Announce): void
  rotate(bucket: string): Promise<Rotation>
  /** @throws FreshetError `objects_unavailable` */
  totals(bucket: string): Promise<BucketTotals>
  sweep(): Promise<Swept>
  stop(): Promise<void>
}

/** Opens the object storage; the index is opened when it is first needed, so that a damaged one is in nobody else's way. */
export async function openObjects(options: ObjectsOptions): Promise<Objects> {
  const { plans, forms, store, dir, fileSystem, clock, timers, random, logger } = options
  const file = new IndexFile(join(dir, 'index.db'), fileSystem)
  const index = new ObjectIndex(file, random)
  const blobs = new Blobs({ store, fileSystem, random, incomingDir: join(dir, 'incoming'), forms })
  const announcer = new Announcer({ index, timers, logger })
  const buckets = new ObjectBuckets({ plans, blobs, file, index, clock, announcer })
  const uploads = new Uploads({ blobs, file, buckets, clock, random })
  await blobs.prepare()

  let time: ReturnType<ObjectsOptions['trust']> | undefined
  const trusted = async (): ReturnType<Parameters<typeof sweep>[0]['trusted']> => {
    time ??= options.trust(await index.noted('seen_ms'))
    const look = time.look(clock.nowMs(), timers.monotonicMs(), undefined)
    if (time.seenMs !== undefined) await index.note('seen_ms', Math.floor(time.seenMs))
    return look
  }
  const runSweep = (): Promise<Swept> =>
    sweep({ plans: Object.values(plans), store, blobs, index, uploads, trusted, logger })
  let sweeping: Promise<void> = Promise.resolve()
  let endSweeps: (() => void) | undefined

  return {
    buckets,
    uploads,
    blobs,
    start(announce) {
      announcer.start(announce)
      endSweeps = timers.every(sweepEveryMs, () => {
        sweeping = runSweep().then(
          (swept) => logger.debug(swept, 'looked for objects to remove'),
          (error: unknown) => logger.warn({ reason: messageOf(error) }, 'objects that are to be removed could not be'),
        )
      })
    },
    rotate: (bucket) => rotate(bucket, { blobs, index, uploads }),
    totals: (bucket) => index.totals(bucket),
    sweep: runSweep,
    async stop() {
      endSweeps?.()
      await announcer.stop()
      await sweeping
      await file.close()
    },
  }
}
