/**
 * The checked plan: what a valid configuration means, with every default filled in. It is plain JSON, so that the supervisor
 * can hand it to the processes it starts.
 */

/** Types a column can have; the same set that Iceberg v2 tables store. */
export type ColumnType =
  | { kind: 'boolean' | 'int' | 'long' | 'float' | 'double' | 'string' }
  /** `timestamp` and `time` have no time zone. */
  | { kind: 'timestamptz' | 'timestamp' | 'date' | 'time' }
  | { kind: 'uuid' | 'binary' }
  /** `precision` digits, at most 38, `scale` of them behind the point. */
  | { kind: 'decimal'; precision: number; scale: number }
  /** Only in tables of other engines. */
  | { kind: 'fixed'; length: number }
  /** JSON text of any shape, stored as a string. */
  | { kind: 'json' }
  | { kind: 'struct'; fields: Column[] }
  | { kind: 'list'; element: ColumnType }
  /** Keys are strings; in tables of other engines they may have another type, `key`. */
  | { kind: 'map'; value: ColumnType; key?: ColumnType }

export interface Column {
  name: string
  type: ColumnType
}

/** Columns that every stream has, in front of its own. `_event_id` and `_event_time` are never null. */
export const systemColumns = [
  { name: '_event_id', type: { kind: 'string' } },
  { name: '_event_time', type: { kind: 'timestamptz' } },
  { name: '_received_at', type: { kind: 'timestamptz' } },
  { name: '_source', type: { kind: 'string' } },
  { name: '_tenant', type: { kind: 'string' } },
] as const satisfies readonly Column[]

/** Where a field is: names from the column down, `[]` for what is in a list and `*` for what is in a map. */
export type FieldPath = readonly string[]

/** A field that had other names before. */
export interface Rename {
  /** Where it is, all names as they are now. */
  path: string[]
  /** Its former names, the newest first. */
  former: string[]
}

export interface StreamPlan {
  name: string
  /** JSON Schema (draft 2020-12) that events are validated against; null: any object, columns inferred. */
  schema: Record<string, unknown> | null
  /** The stream's own columns, in schema order; null: inferred. */
  columns: Column[] | null
  /** True when fields that are not declared are taken too, and become inferred columns. Always true without a schema. */
  open: boolean
  /** Field that holds the event's id; null: the gateway gives each event one. */
  id: string | null
  /** Field that holds the event's time, and how it is written; null: event time is arrival time. */
  time: { field: string; unit: 'iso' | 's' | 'ms' | 'us' } | null
  /** Width of the table's time partitions, and which time they are cut by: of tables of rollups, it is the bucket. */
  partition: { by: 'event_time' | 'received_at' | 'bucket'; unit: 'hour' | 'day' | 'month' }
  /** Fields that had other names, under which events may still send them. Left out: none. */
  renames?: Rename[]
  /** Fields that the table is to have no longer; what events still send of them is not stored. Left out: none. */
  drops?: string[][]
  /** Partitions are dropped once all of them is older than this; left out: never. */
  retainMs?: number
  /** Column by which compaction sorts rows, before their event time. */
  sort?: string
  /** How the stream is made of another one; left out: its events are posted. */
  transform?: TransformPlan
  /** What becomes of posted events that do not fit: they are rejected unless told otherwise. */
  invalid?: 'dead-letter'
}

/** How a stream is made of another one. Functions are in the configuration file, at `streams.<name>.<kind>`. */
export interface TransformPlan {
  /** Name of the stream that it reads. */
  from: string
  /** `each` and `batch` are functions, `sql` a SELECT over the batch, which is the table `batch`. */
  kind: 'each' | 'batch' | 'sql'
  /** The statement, for the kind `sql`. */
  sql?: string
  /** Most events that it is given at once. */
  batchEventsMax: number
  /** What one call may take. */
  timeoutMs: number
  /** What its thread may hold. */
  memoryBytes: number
  /** Hash of its code, 12 hex digits. */
  version: string
}

/** A table of aggregates, a row for each bucket of time and group. */
export interface RollupPlan {
  name: string
  /** The stream or rollup that it is made of. */
  from: string
  /** Width of a bucket: fixed, or of a calendar, in UTC. */
  bucket: { ms: number } | { unit: 'month' | 'year'; count: number }
  /**
   * A SELECT that gives its rows: `bucket` first, then the groups, then the aggregates. It reads `from` by its name, and is
   * given the rows of whole buckets.
   */
  sql: string
  /** Names of the columns that tell the rows of a bucket apart. */
  by: string[]
  partition: { unit: 'hour' | 'day' | 'month' }
  /** As a stream's. */
  retainMs?: number
}

/** A secret or an address: as it stands, or the name of the environment variable that has it. */
export type Setting = string | { env: string }

/** What takes a stream's events to another system. */
export interface SinkPlan {
  name: string
  /** Folder of `sinks/`. */
  kind: string
  /** The stream that it reads. */
  from: string
  /** Whether a new sink is given what the stream has already, or only what comes. */
  start: 'all' | 'new'
  /** The kind's own settings, checked. Those that are functions are left out, and named in `functions`. */
  options: Record<string, unknown>
  functions: string[]
}

/** Where objects are put: each arrival is an event of a stream. */
export interface BucketPlan {
  name: string
  /** The stream of its arrivals. */
  stream: string
  /** Largest object. */
  objectBytesMax: number
  /** zstd level; null: stored as it came. */
  compress: number | null
  /** How long the bytes of objects that were removed or replaced stay readable for transforms. */
  keepDeletedMs: number
  /** Master keys, base64 of 32 bytes each: the first wraps new keys, the others are still read with. null: not encrypted. */
  encrypt: { keys: Setting[] } | null
}

export interface Plan {
  /** Absolute path of the data folder. */
  dataDir: string
  /** `dev` creates streams that are posted to but not declared. */
  mode: 'dev' | 'start'
  http: {
    host: string
    port: number
    /** A request that has not arrived whole after this long is answered 408. */
    requestTimeoutMs: number
  }
  limits: {
    /** Largest body, as sent and as unpacked. */
    bodyBytesMax: number
    eventBytesMax: number
    /** Levels of objects and arrays in one event; a flat event has one. */
    nestingMax: number
    batchEventsMax: number
    /** Ingest answers 503 when less than this is free on the data folder's disk. */
    diskFreeBytesMin: number
  }
  log: { segmentBytes: number }
  lake: {
    /** A hot row is committed to the table at the latest this long after it became visible. */
    flushIntervalMs: number
    /** ... or as soon as this many rows are waiting. */
    flushRows: number
    /** Which former snapshots stay: those younger than `keepMs`, and the newest `min`; but never more than `max`. */
    snapshots: { keepMs: number; min: number; max: number }
  }
  sql: {
    timeoutMs: number
    rowsMax: number
    /** Queries that run at once; more wait their turn. */
    concurrency: number
    /** After its start the engine holds queries back at most this long, until it has read the log that was there. */
    catchUpMsMax: number
  }
  engine: {
    memoryBytes: number
    /** Memory, of all streams together, for recognising events that are there already. */
    idMemoryBytes: number
    spillBytesMax: number
    threads: number
  }
  upkeep: {
    /** Whether tables are kept up by schedule. */
    enabled: boolean
    intervalMs: number
    /** Size of the data files that compaction makes. */
    targetFileBytes: number
    /** What compaction may take of the process's memory at most. */
    memoryBytes: number
    /** Files that nothing refers to are removed when they are this old. */
    orphanAgeMs: number
  }
  streams: Record<string, StreamPlan>
  rollups: Record<string, RollupPlan>
  sinks: Record<string, SinkPlan>
  buckets: Record<string, BucketPlan>
  /** Absolute path of the file with the functions; null for a configuration without one. */
  configFile: string | null
  /** Changes of tables that are made although they would be refused, by the words that their refusals name. Left out: none. */
  accept?: string[]
}

/** Names that a stream may have: what is a plain SQL identifier, a URL segment and a folder name at once. */
export const streamNamePattern = /^[a-z][a-z0-9_]{0,62}$/

/** What the names of streams of dead letters end with; no other stream may be called so. */
export const deadLettersSuffix = '_dead_letters'

/** Names that a log and its table may have: those of streams, and of their dead letters. */
export const logNamePattern = /^[a-z][a-z0-9_]{0,75}$/

/** Names that are taken. */
export const reservedStreamNames: readonly string[] = [
  'freshet',
  'main',
  'tail',
  'temp',
  'system',
  'information_schema',
  'pg_catalog',
  'dead_letters',
]

/** The plan of a stream that nobody declared: no schema, ids given by the gateway, event time is arrival time. */
export function undeclaredStream(name: string): StreamPlan {
  return {
    name,
    schema: null,
    columns: null,
    open: true,
    id: null,
    time: null,
    partition: { by: 'event_time', unit: 'day' },
  }
}
