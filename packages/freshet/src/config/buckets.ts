/** Buckets: where objects are put, such as log files and images. */
import { isPlainObject, kindOf, mistake, type Mistake } from './mistakes.ts'
import type { PartContext } from './part-context.ts'
import { objectStreamMistakes } from './object-events.ts'
import type { BucketPlan, Setting, StreamPlan } from './plan.ts'
import type { Reading } from './quantities.ts'
import { duration, KiB, section, secret, setting, size, TiB } from './readers.ts'
import { z } from 'zod'

const compress = setting((words): Reading<number | null> => {
  if (words === undefined || words === true) return { value: 3 }
  if (words === false) return { value: null }
  if (typeof words === 'number' && Number.isInteger(words) && words >= 1 && words <= 19) return { value: words }
  return { reason: `must be true, false, or a level of zstd from 1 to 19, not ${kindOf(words)}` }
})

const masterKey = secret('32 bytes in base64')

const keys = setting((words): Reading<Setting[]> => {
  const list = Array.isArray(words) ? words : [words]
  if (list.length === 0) return { reason: 'must have at least one key' }
  const read = list.map((one) => masterKey.safeParse(one))
  if (read.some(({ success }) => !success))
    return { reason: "must be keys of 32 bytes in base64, or env('NAME'), newest first" }
  return { value: read.map(({ data }) => data!) }
})

// Not `section`: its message would show a key that was put here.
const encrypt = z
  .custom<{ keys: unknown }>(isPlainObject, { error: "must be an object: { keys: env('NAME') }", abort: true })
  .pipe(
    z.strictObject({
      keys: keys.describe('Master keys, newest first: the first wraps new objects, the others are still read with.'),
    }),
  )

/** The keys of one bucket. */
export const bucketSettings = section({
  stream: z.unknown().describe('The stream of its arrivals, by name or as it is.'),
  maxObject: size({ min: 1 * KiB, max: 1 * TiB })
    .prefault('5 GiB')
    .describe('Largest object.'),
  compress: compress
    .optional()
    .describe('Whether objects are stored compressed with zstd, or its level. Default true.'),
  keepDeleted: duration({ min: 0, max: 1000 * 365 * 86_400_000 })
    .prefault('7 days')
    .describe('How long the bytes of objects that were removed or replaced stay readable for transforms.'),
  encrypt: encrypt.optional().describe('Left out: objects are not encrypted.'),
})

/** The plan of one bucket, or everything that is wrong with it. */
export function planBucket(
  name: string,
  words: unknown,
  key: string,
  { sources, mistakesOf, streams }: PartContext & { streams: Readonly<Record<string, StreamPlan>> },
): BucketPlan | Mistake[] {
  const read = bucketSettings.safeParse(words)
  if (!read.success) return mistakesOf(read.error, { schema: bucketSettings, under: ['buckets', name] })
  const { maxObject, compress: level = 3, keepDeleted, encrypt: encryption } = read.data
  const stream = sources.find(read.data.stream, `${key}.stream`)
  if (typeof stream !== 'string') return [stream]
  // What is wrong with the stream itself is said there.
  const plan = streams[stream]
  const mistakes = plan === undefined ? [] : objectStreamMistakes(plan, `${key}.stream`)
  for (const [index, one] of (encryption?.keys ?? []).entries()) {
    if (typeof one !== 'string' || isMasterKey(one)) continue
    mistakes.push(mistake(`${key}.encrypt.keys[${index}]`, 'is not 32 bytes in base64'))
  }
  if (mistakes.length > 0) return mistakes
  return {
    name,
    stream,
    objectBytesMax: maxObject,
    compress: level,
    keepDeletedMs: keepDeleted,
    encrypt: encryption === undefined ? null : { keys: encryption.keys },
  }
}

/** Whether a text is a master key: 32 bytes in base64. */
export function isMasterKey(text: string): boolean {
  return /^[A-Za-z0-9+/]{43}=$/.test(text)
}
