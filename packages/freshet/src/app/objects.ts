/** What the gateway's process, which writes objects, and the worker's, which reads them, both need of them. */
import { isMasterKey } from '../config/buckets.ts'
import type { BucketPlan, Plan, Setting } from '../config/plan.ts'
import type { BlobForm } from '../objects/blobs.ts'
import { MasterKeys } from '../objects/master-keys.ts'
import type { ObjectReader } from '../objects/object-reader.ts'
import { openObjectReader } from '../objects/open-object-reader.ts'
import { openObjects, type Objects } from '../objects/open-objects.ts'
import { systemClock } from '../runtime/clock.ts'
import type { DataFolder } from '../runtime/data-folder.ts'
import { FreshetError } from '../runtime/errors.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import { systemRandom } from '../runtime/random.ts'
import { systemTimers } from '../runtime/timers.ts'
import { TrustedClock } from '../runtime/trusted-clock.ts'
import { LocalObjectStore } from '../storage/local/local-object-store.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Opens the objects of a data folder for writing: one process at a time may. @throws FreshetError `config_invalid` */
export function objectsFor(
  plan: Pick<Plan, 'buckets'>,
  { objectsDir }: Pick<DataFolder, 'objectsDir'>,
  logger: Logger,
): Promise<Objects> {
  return openObjects({
    plans: plan.buckets,
    forms: blobForms(plan.buckets, process.env),
    store: storeAt(objectsDir),
    dir: objectsDir,
    fileSystem: nodeFileSystem,
    clock: systemClock,
    timers: systemTimers,
    random: systemRandom,
    logger,
    trust: (seenMs) => new TrustedClock(seenMs),
  })
}

/** Reads the objects of a data folder, in any process. @throws FreshetError `config_invalid` */
export function objectReaderFor(
  plan: Pick<Plan, 'buckets'>,
  { objectsDir }: Pick<DataFolder, 'objectsDir'>,
): ObjectReader {
  return openObjectReader(storeAt(objectsDir), blobForms(plan.buckets, process.env))
}

function storeAt(root: string): LocalObjectStore {
  return new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom })
}

/** How each bucket's objects are stored, with its keys. @throws FreshetError `config_invalid` for a key that is not there */
export function blobForms(
  buckets: Readonly<Record<string, BucketPlan>>,
  environment: Environment,
): Map<string, BlobForm> {
  return new Map(
    Object.values(buckets).map(({ name, compress, encrypt }) => [
      name,
      {
        level: compress,
        keys: encrypt && new MasterKeys(encrypt.keys.map((key) => masterKey(key, name, environment))),
      },
    ]),
  )
}

/** The master keys of each bucket that are there; what is wrong with others is of no interest. */
export function keysAtHand(
  buckets: Readonly<Record<string, BucketPlan>>,
  environment: Environment = process.env,
): Map<string, MasterKeys | null> {
  const there = (setting: Setting, bucket: string): Buffer[] => {
    try {
      return [masterKey(setting, bucket, environment)]
    } catch (error) {
      if (error instanceof FreshetError) return []
      throw error
    }
  }
  return new Map(
    Object.values(buckets).map(({ name, encrypt }) => {
      const keys = (encrypt?.keys ?? []).flatMap((key) => there(key, name))
      return [name, keys.length === 0 ? null : new MasterKeys(keys)]
    }),
  )
}

function masterKey(setting: Setting, bucket: string, environment: Environment): Buffer {
  if (typeof setting === 'string') return Buffer.from(setting, 'base64')
  const text = environment[setting.env]?.trim()
  if (text !== undefined && isMasterKey(text)) return Buffer.from(text, 'base64')
  const what = text === undefined || text === '' ? 'is not set' : 'is not 32 bytes in base64'
  throw new FreshetError(
    'config_invalid',
    `The environment variable ${setting.env} ${what}: it is a key of the bucket "${bucket}".`,
    {
      hint: 'Make a key by `openssl rand -base64 32`, and keep a copy of it: without it nobody can read the objects.',
    },
  )
}
