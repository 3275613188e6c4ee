import type { $ZodType, input } from 'zod/v4/core'
import type { ColumnTypeWord } from './column-types.ts'
import type { Duration, Size } from './quantities.ts'

/**
 * What a user writes. Everything is plain data: `defineConfig` and `stream` only give it types, and a configuration written
 * without them means the same.
 */

/** A JSON Schema (draft 2020-12), as an object. */
export interface JsonSchema {
  readonly [keyword: string]: unknown
}

/** How a stream's table is cut: by hour, day or month of the event's time, or of the time of arrival. */
export type Partition = PartitionUnit | { by?: 'event_time' | 'received_at'; unit?: PartitionUnit }
export type PartitionUnit = 'hour' | 'day' | 'month'

/** `iso`: a date-time string with a time zone; otherwise seconds, milliseconds or microseconds since 1970. */
export type TimeUnit = 'iso' | 's' | 'ms' | 'us'

/** Required fields of `T` whose values are of type `Value`. */
type RequiredFields<T, Value> = keyof {
  [Key in keyof T as string extends Key ? never : T[Key] extends Value ? Key : never]: true
} &
  string

type Composed = { allOf: unknown } | { anyOf: unknown } | { oneOf: unknown } | { $ref: unknown }

/** Names that `id` and `time` may have under a schema: for zod the fitting fields, for a plain JSON Schema its properties. */
type FieldOf<Schema, Value> = Schema extends $ZodType
  ? RequiredFields<input<Schema>, Value>
  : Schema extends Composed
    ? string
    : Schema extends { properties: infer Properties }
      ? keyof Properties & string
      : string

/** Field that can hold an event's id. */
export type IdField<Schema> = FieldOf<Schema, string | number>
/** Field that can hold an event's time. */
export type TimeField<Schema> = FieldOf<Schema, string | number>

/** One stream, as a user writes it; `Schema` is the type of its schema. */
export interface StreamOptions<Schema> {
  /** A zod 4 type or a JSON Schema. Left out: any JSON object is accepted, and columns are inferred. */
  schema?: Schema
  /** Field that holds the event's id: an id is stored once, however often it is sent. Left out: every event gets its own. */
  id?: NoInfer<IdField<Schema>>
  /** Field that holds the time of the event. Left out: the time of arrival. */
  time?: NoInfer<TimeField<Schema>>
  /** How `time` is written; `iso` unless said, and it must be said for numbers. */
  timeUnit?: TimeUnit
  /**
   * Column types that JSON Schema has no word for, by the path of the field: `{ price: 'decimal(18, 4)' }`, `order.opened`,
   * `legs[].price` in a list, `rates.*` in a map.
   */
  types?: Readonly<Record<string, ColumnTypeWord>>
  /** Width of the table's partitions. Default `'day'`. */
  partition?: Partition
  /** Fields that had other names, by their present paths: `{ zip: 'postcode', 'address.zip': 'address.postcode' }`. */
  renames?: Readonly<Record<string, string | readonly string[]>>
  /** Fields to remove from the table, by path: `['fax', 'address.fax', 'legs[].note']`. */
  drop?: readonly string[]
  /** How long events are kept: a partition goes when all of it is older. Left out: for ever. */
  retain?: Duration
  /** Field by which compaction sorts the rows of a file, before their event time. */
  sort?: string
  /**
   * What becomes of posted events that do not fit: `reject` tells the sender, `dead-letter` keeps them as dead letters and accepts the
   * rest. Default `'reject'`.
   */
  invalid?: 'reject' | 'dead-letter'
}

/** Columns that every event has besides its own. Times are texts: `2026-11-20T20:29:00.123Z`. */
export interface SystemFields {
  readonly _event_id: string
  readonly _event_time: string
  readonly _received_at: string
  readonly _source?: string
  readonly _tenant?: string
}

/** What a transform is given besides events. */
export interface TransformContext {
  /** Aborted when the call takes longer than `timeout`. */
  readonly signal: AbortSignal
  /** The bytes of an object that has arrived: for streams that a bucket fills. */
  object(event: { bucket: string; sha256: string }): Promise<Uint8Array>
}

/** The type of a schema's events, as they are sent. */
export type EventOf<Schema> = Schema extends $ZodType ? input<Schema> : Record<string, unknown>

type Awaitable<T> = T | Promise<T>
/** One event, several, or none. */
type Made<T> = T | readonly T[] | null | undefined

/** A stream that is made of another one. */
export type DerivedOptions<Source, Schema, Result> = Omit<StreamOptions<Schema>, 'invalid'> & {
  /** The stream that it is made of: as it is, so that its type is known, or by its name. */
  from: StreamConfig<Source> | string
  /** What one call may take. Default `'10 s'`. */
  timeout?: Duration
  /** What the thread that runs the function may hold. Default `'256 MiB'`. */
  memory?: Size
} & (
    | {
        /** One event to one, several, or none. It should be pure: it may be called again. */
        each: (event: Source & SystemFields, context: TransformContext) => Awaitable<Made<Result>>
        batch?: never
        sql?: never
      }
    | {
        /** Many events at once: what it returns for each, in the same order. */
        batch: (
          events: readonly (Source & SystemFields)[],
          context: TransformContext,
        ) => Awaitable<readonly Made<Result>[]>
        each?: never
        sql?: never
      }
    | {
        /** A SELECT over the table `batch`; a column `_event_id` of it says which event a row was made of. */
        sql: string
        each?: never
        batch?: never
      }
  )

type BucketUnit = 'second' | 'minute' | 'hour' | 'day' | 'week' | 'month' | 'year'

/** A rollup: a table of aggregates, a row for each bucket of time and group, that corrects itself. */
export interface RollupConfig {
  from: StreamConfig | RollupConfig | string
  /** Width of a bucket, in UTC. */
  bucket: Duration | `${number} ${BucketUnit}` | `${number} ${BucketUnit}s`
  /** Columns that rows are grouped by, besides the bucket. */
  by?: readonly string[]
  /** Aggregates, SQL expressions by the name of their column: `{ high: 'max(price)' }`. */
  select?: Readonly<Record<string, string>>
  /** SQL condition on the rows of `from`; only with `select`. */
  where?: string
  /** In place of `select`: a SELECT over `from` that gives a column `bucket`, and those of `by`. */
  sql?: string
  partition?: PartitionUnit
  retain?: Duration
}

/** A bucket of objects: each arrival is an event of `stream`. */
export interface BucketConfig {
  stream: StreamConfig | string
  /** Largest object. Default `'5 GiB'`. */
  maxObject?: Size
  /** Whether objects are stored compressed with zstd, or its level. Default true. */
  compress?: boolean | number
  /** How long objects that were removed or replaced stay readable for transforms. Default `'7 days'`. */
  keepDeleted?: Duration
  /** Master keys, 32 bytes in base64, newest first: the first wraps new objects, the others are still read with. */
  encrypt?: { keys: SecretConfig | readonly SecretConfig[] }
}

/** A secret: as it stands, or the environment variable that has it. */
export type SecretConfig = string | { readonly env: string }

/** Any sink, as `sink.postgres(...)` and the others make it. */
export interface SinkConfig {
  readonly kind: string
  from: StreamConfig | string
  /** Whether a new sink is given what the stream has already, or only what comes. Default `'all'`. */
  start?: 'all' | 'new'
}

/** Any stream; `Event` is the type of its events, without system columns. */
export interface StreamConfig<Event = unknown> extends Omit<StreamOptions<$ZodType | JsonSchema>, 'id' | 'time'> {
  id?: string
  time?: string
  from?: StreamConfig | string
  each?: (event: never, context: TransformContext) => unknown
  batch?: (events: never, context: TransformContext) => unknown
  sql?: string
  timeout?: Duration
  memory?: Size
  /** Only for types. */
  readonly '~event'?: Event
}

/** The whole configuration, as a user writes it. Every key may be left out. */
export interface Config {
  /** Folder that holds all data, relative to the configuration file. Default `'.freshet'`. */
  dataDir?: string
  /** Streams by name: `^[a-z][a-z0-9_]{0,62}$`. */
  streams?: Record<string, StreamConfig>
  rollups?: Record<string, RollupConfig>
  sinks?: Record<string, SinkConfig>
  buckets?: Record<string, BucketConfig>
  http?: {
    /** Loopback only, as there is no authentication yet. Default `'127.0.0.1'`. */
    host?: string
    /** 0 takes any free port. Default 7070. */
    port?: number
    /** A request that has not arrived whole after this long is answered 408. Default `'30 s'`. */
    requestTimeout?: Duration
  }
  limits?: {
    /** Largest request body, as sent and as unpacked. Default `'16 MiB'`. */
    body?: Size
    /** Largest single event. Default `'1 MiB'`. */
    event?: Size
    /** Levels of objects and arrays in one event. Default 32. */
    nesting?: number
    /** Most events in one request. Default 50,000. */
    batch?: number
    /** Ingest answers 503 while less than this is free on the disk. Default `'256 MiB'`. */
    diskFree?: Size
  }
  log?: {
    /** Size at which a new log segment is begun. Default `'64 MiB'`. */
    segment?: Size
  }
  lake?: {
    /** An event is committed to its table at the latest this long after it became visible in SQL. Default `'60 s'`. */
    flushInterval?: Duration
    /** ... or when this many rows are waiting. Default 1,000,000. */
    flushRows?: number
    snapshots?: {
      /** How long former snapshots of a table stay readable. Default `'3 days'`. */
      keep?: Duration
      /** The newest snapshots that stay, however old they are. Default 10. */
      min?: number
    }
  }
  sql?: {
    /** A query that runs longer is stopped. Default `'60 s'`. */
    timeout?: Duration
    /** Most rows in one result. Default 1,000,000. */
    rows?: number
    /** Queries that run at once. Default 4. */
    concurrency?: number
    /** After a start, queries wait at most this long for the log that was there to be read to its end. Default `'3 s'`. */
    catchUp?: Duration
  }
  engine?: {
    /** Memory for tables and queries. Default `'512 MiB'`. */
    memory?: Size
    /** Memory for recognising events that are there already, beside `memory`. Default `'256 MiB'`. */
    idMemory?: Size
    /** Disk space that queries may use when memory runs out. Default `'4 GiB'`. */
    spill?: Size
    /** Default: the number of cores. */
    threads?: number
  }
  upkeep?: {
    /** Whether tables are kept up by schedule. Default true. */
    enabled?: boolean
    /** How often all tables are looked through for work. Default `'5 min'`. */
    interval?: Duration
    /** Size of the data files that compaction makes. Default `'128 MiB'`. */
    targetFile?: Size
    /** Memory for compaction, beside `engine.memory`. Default `'256 MiB'`. */
    memory?: Size
    /** Files that nothing refers to are removed when they are this old. Default `'1 day'`. */
    orphanAge?: Duration
  }
}

/** Gives a configuration its type; returns it as it is. */
export function defineConfig(config: Config): Config {
  return config
}

/** Gives a stream its type, with `id` and `time` limited to fitting fields of the schema; returns it as it is. */
export function stream<Schema extends $ZodType | JsonSchema = JsonSchema>(
  options: StreamOptions<Schema> & { from?: never },
): StreamConfig<EventOf<Schema>>
/** A stream that is made of another one: what its function is given is typed by the source, what it returns by the schema. */
// oxlint-disable-next-line typescript/no-explicit-any -- of a stream that is named, nothing is known here
export function stream<Source = any, Schema extends $ZodType | JsonSchema = JsonSchema>(
  options: DerivedOptions<Source, Schema, NoInfer<EventOf<Schema>>> & { schema: Schema },
): StreamConfig<EventOf<Schema>>
// oxlint-disable-next-line typescript/no-explicit-any -- likewise
export function stream<Source = any, Result = Record<string, unknown>>(
  options: DerivedOptions<Source, JsonSchema, Result> & { schema?: never },
): StreamConfig<Result>
export function stream(options: object): StreamConfig {
  return options
}

/** Gives a rollup its type; returns it as it is. */
export function rollup(options: RollupConfig): RollupConfig {
  return options
}

/** Gives a bucket its type; returns it as it is. */
export function bucket(options: BucketConfig): BucketConfig {
  return options
}

/** The value of an environment variable, looked up when the server starts; never written down. */
export function env(name: string): { readonly env: string } {
  return { env: name }
}
