import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { isPlainObject, kindOf } from './mistakes.ts'
import type { Reading } from './quantities.ts'
import {
  choice,
  code,
  duration,
  flag,
  GiB,
  KiB,
  MiB,
  readChoice,
  section,
  setting,
  size,
  text,
  TiB,
  timerMsMax,
  whole,
} from './readers.ts'

/** The keys of a configuration with their defaults, ranges and meanings. */

const host = setting((words): Reading<string> => {
  if (typeof words !== 'string' || words === '')
    return { reason: `must be a host name or address, not ${kindOf(words)}` }
  if (isLoopback(words)) return { value: words.replace(/^\[(.*)\]$/, '$1') }
  return {
    reason:
      `${kindOf(words)} is not a loopback address: Freshet has no authentication yet, so anybody who reaches it could read and ` +
      'write everything. Leave it at 127.0.0.1 and put a proxy that authenticates in front',
    suggestion: '127.0.0.1',
  }
})

function isLoopback(name: string): boolean {
  if (name.toLowerCase() === 'localhost' || name === '::1' || name === '[::1]') return true
  const parts = name.split('.')
  return (
    parts.length === 4 && parts[0] === '127' && parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) <= 255)
  )
}

const partitionUnits = ['hour', 'day', 'month'] as const

/** The long form of `partition`. */
export const partitionSettings = section({
  by: choice(['event_time', 'received_at']).prefault('event_time').describe('The time that partitions are cut by.'),
  unit: choice(partitionUnits).prefault('day').describe('Width of a partition.'),
})

/** `'hour'`, or the long form. */
const partition = z.unknown().transform((words, context): z.output<typeof partitionSettings> => {
  const long = isPlainObject(words) ? partitionSettings.safeParse(words) : undefined
  if (long?.success === true) return long.data
  if (long !== undefined) {
    for (const issue of long.error.issues) context.issues.push({ ...issue, input: words } as z.core.$ZodRawIssue)
    return z.NEVER
  }
  const unit = readChoice(words, partitionUnits)
  if ('value' in unit) return { by: 'event_time', unit: unit.value }
  const { reason: message, ...params } = unit
  context.issues.push({ code: 'custom', message, input: words, params })
  return z.NEVER
})

/** Former paths by present ones, a list each. */
const renames = setting((words): Reading<Record<string, string[]>> => {
  if (!isPlainObject(words))
    return { reason: `must be an object of former paths by present ones, not ${kindOf(words)}` }
  const read: Record<string, string[]> = Object.create(null) as Record<string, string[]>
  for (const [path, former] of Object.entries(words)) {
    const list = Array.isArray(former) ? former : [former]
    const faulty = list.find((one) => typeof one !== 'string' || one.trim() === '')
    if (list.length === 0 || faulty !== undefined)
      return { reason: `${kindOf(path)} must have its former path, or a list of them, not ${kindOf(faulty ?? former)}` }
    read[path] = list as string[]
  }
  return { value: read }
})

const drop = setting((words): Reading<string[]> => {
  const faulty = Array.isArray(words) ? words.find((one) => typeof one !== 'string' || one.trim() === '') : words
  if (!Array.isArray(words) || faulty !== undefined)
    return { reason: `must be a list of paths of fields, such as ["fax"], not ${kindOf(faulty)}` }
  return { value: words as string[] }
})

/** The keys of one stream; what a schema says about them is checked elsewhere. */
export const streamSettings = section({
  schema: z
    .unknown()
    .optional()
    .describe('A zod 4 type or a JSON Schema. Left out: any JSON object is accepted and columns are inferred.'),
  id: text('the name of a field')
    .optional()
    .describe(
      "Field that holds the event's id, a required string or integer. An id is stored once, however often it is sent. Left out: every event gets an id of its own.",
    ),
  time: text('the name of a field')
    .optional()
    .describe(
      'Field that holds the time of the event, a required date-time string or, with `timeUnit`, a number. Left out: the time of arrival.',
    ),
  types: z
    .record(z.string(), z.unknown(), { error: 'must be an object of column types by field' })
    .optional()
    .describe(
      'Column types that JSON Schema has no word for, by the path of the field: `price`, `order.price`, `legs[].price`, `rates.*` (docs/types.md).',
    ),
  timeUnit: choice(['iso', 's', 'ms', 'us'])
    .optional()
    .describe(
      'How `time` is written: `iso` (date-time with time zone), or seconds, milliseconds or microseconds since 1970. `iso` for strings; numbers need it.',
    ),
  partition: partition
    .prefault('day')
    .describe(
      "Width of the table's partitions: `hour`, `day` or `month` of the event's time; or an object, to cut by the time of arrival.",
    ),
  renames: renames
    .optional()
    .describe(
      'Fields that had other names before, by their present paths: the former path, or a list of them, newest first. Columns keep their values, and events may still use a former name.',
    ),
  drop: drop
    .optional()
    .describe('Fields to remove from the table, a list of paths. What events still send of them is not stored.'),
  retain: duration({ min: 3_600_000, max: 1000 * 365 * 86_400_000 })
    .optional()
    .describe('How long events are kept: a partition goes when all of it is older. At least 1 h. Left out: for ever.'),
  from: z
    .unknown()
    .optional()
    .describe('The stream that this one is made of, by name or as it is; `each`, `batch` or `sql` says how.'),
  each: code()
    .optional()
    .describe('Function of one event of `from`: returns an event, several, or none (null); may be async.'),
  batch: code().optional().describe('Function of a list of events of `from`: returns a list of lists, one for each.'),
  sql: text('a SELECT over the table `batch`')
    .optional()
    .describe('SELECT over the events of `from`, given as the table `batch`, many at a time.'),
  timeout: duration({ min: 1, max: 3_600_000 })
    .optional()
    .describe('What one call of `each`, `batch` or `sql` may take. Default 10 s.'),
  memory: size({ min: 16 * MiB, max: 64 * GiB })
    .optional()
    .describe('What the thread that runs the function may hold. Default 256 MiB.'),
  invalid: choice(['reject', 'dead-letter'])
    .optional()
    .describe(
      'What becomes of posted events that do not fit: `reject` tells the sender, `dead-letter` keeps them as dead letters and accepts the rest. Default `reject`.',
    ),
  sort: text('the name of a field')
    .optional()
    .describe(
      'Field by which compaction sorts the rows of a file, before their event time, so that queries for one value read less.',
    ),
})

/** All keys of a configuration. `streams` is read stream by stream. */
export const settings = section({
  dataDir: text('the path of a folder')
    .prefault('.freshet')
    .describe('Folder that holds all data, relative to the configuration file.'),
  http: section({
    host: host
      .prefault('127.0.0.1')
      .describe('Address to listen on; loopback only, as there is no authentication yet.'),
    port: whole({ min: 0, max: 65_535 }).prefault(7070).describe('Port to listen on; 0 takes any free one.'),
    requestTimeout: duration({ min: 100, max: timerMsMax })
      .prefault('30 s')
      .describe('A request that has not arrived whole after this long is answered 408.'),
  }).prefault({}),
  limits: section({
    body: size({ min: 1 * KiB, max: 256 * MiB })
      .prefault('16 MiB')
      .describe('Largest request body, as sent and as unpacked.'),
    event: size({ min: 64, max: 256 * MiB })
      .prefault('1 MiB')
      .describe('Largest single event; never more than `limits.body`.'),
    nesting: whole({ min: 1, max: 256 })
      .prefault(32)
      .describe('Levels of objects and arrays in one event; a flat event has one.'),
    batch: whole({ min: 1, max: 10_000_000 }).prefault(50_000).describe('Most events in one request.'),
    diskFree: size({ min: 0, max: 1024 * TiB })
      .prefault('256 MiB')
      .describe('Ingest answers 503 while less than this is free on the disk.'),
  }).prefault({}),
  log: section({
    segment: size({ min: 4 * KiB, max: 16 * GiB })
      .prefault('64 MiB')
      .describe('Size at which a new log segment is begun.'),
  }).prefault({}),
  lake: section({
    flushInterval: duration({ min: 100, max: 86_400_000 })
      .prefault('60 s')
      .describe('An event is committed to its table at the latest this long after it became visible in SQL.'),
    flushRows: whole({ min: 1, max: 100_000_000 })
      .prefault(1_000_000)
      .describe('The commit happens sooner when this many rows are waiting.'),
    snapshots: section({
      keep: duration({ min: 0, max: 1000 * 365 * 86_400_000 })
        .prefault('3 days')
        .describe(
          'How long former snapshots of a table stay readable, if they are among the newest `lake.snapshots.max`.',
        ),
      min: whole({ min: 1, max: 200 })
        .prefault(10)
        .describe('The newest snapshots stay, however old they are: so many, with the current one.'),
      max: whole({ min: 1, max: 10_000 })
        .prefault(200)
        .describe(
          'Snapshots of a table at most, besides those with a tag: the oldest go first. Every commit writes the list of them.',
        ),
    }).prefault({}),
  }).prefault({}),
  sql: section({
    timeout: duration({ min: 10, max: timerMsMax }).prefault('60 s').describe('A query that runs longer is stopped.'),
    rows: whole({ min: 1, max: 1_000_000_000 }).prefault(1_000_000).describe('Most rows in one result.'),
    concurrency: whole({ min: 1, max: 256 }).prefault(4).describe('Queries that run at once; more wait their turn.'),
    catchUp: duration({ min: 0, max: 3_600_000 })
      .prefault('3 s')
      .describe('After a start, queries wait at most this long for the log that was there to be read to its end.'),
  }).prefault({}),
  engine: section({
    memory: size({ min: 64 * MiB, max: 64 * TiB })
      .prefault('512 MiB')
      .describe('Memory for tables and queries.'),
    idMemory: size({ min: 32 * MiB, max: 64 * TiB })
      .prefault('256 MiB')
      .describe('Memory for recognising events that are there already, beside `engine.memory`.'),
    spill: size({ min: 0, max: 1024 * TiB })
      .prefault('4 GiB')
      .describe('Disk space that queries may use when memory runs out.'),
    threads: whole({ min: 1, max: 1024 })
      .prefault(() => availableParallelism())
      .describe('Threads for queries and commits; by default the number of cores.'),
  }).prefault({}),
  upkeep: section({
    enabled: flag()
      .prefault(true)
      .describe('Whether tables are kept up by schedule; `freshet maintain` works without it too.'),
    interval: duration({ min: 1000, max: timerMsMax })
      .prefault('5 min')
      .describe('How often all tables are looked through for work.'),
    targetFile: size({ min: 1 * MiB, max: 16 * GiB })
      .prefault('128 MiB')
      .describe('Size of the data files that compaction makes.'),
    memory: size({ min: 640 * MiB, max: 64 * TiB })
      .prefault('768 MiB')
      .describe(
        'Memory that compaction may take, beside `engine.memory`; what does not fit is sorted on disk. At least 640 MiB.',
      ),
    orphanAge: duration({ min: 3_600_000, max: 365 * 86_400_000 })
      .prefault('1 day')
      .describe("Files in a table's folder that nothing refers to are removed when they are this old. At least 1 h."),
  }).prefault({}),
  streams: z.unknown().optional().describe('The streams that are declared, by name.'),
  rollups: z.unknown().optional().describe('Tables of aggregates that keep themselves up, by name.'),
  sinks: z.unknown().optional().describe('Other systems that take events of streams, by name.'),
  buckets: z.unknown().optional().describe('Where objects are put, by name.'),
})

/** What `settings` makes of the user's words. */
export type Settings = z.output<typeof settings>

/** The keys that `schema` has at `path`, empty for a value that is no section. */
export function knownKeys(schema: z.core.$ZodType, path: readonly PropertyKey[] = []): string[] {
  let shape = shapeOf(schema)
  for (const part of path) shape = shape?.[String(part)] === undefined ? undefined : shapeOf(shape[String(part)]!)
  return Object.keys(shape ?? {})
}

/** The fields of a section, through its wrappers; undefined for any other schema. */
export function shapeOf(schema: z.core.$ZodType): Record<string, z.core.$ZodType> | undefined {
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) return shapeOf(schema.def.innerType)
  if (schema === partition) return shapeOf(partitionSettings)
  if (schema instanceof z.ZodPipe) return shapeOf(schema.def.out)
  return schema instanceof z.ZodObject ? schema.def.shape : undefined
}
