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
  /** Width of the table's time partitions, and which time they are cut by. */
  partition: { by: 'event_time' | 'received_at'; unit: 'hour' | 'day' | 'month' }
  /** Fields that had other names, under which events may still send them. Left out: none. */
  renames?: Rename[]
  /** Fields that the table is to have no longer; what events still send of them is not stored. Left out: none. */
  drops?: string[][]
  /** Partitions are dropped once all of them is older than this; left out: never. */
  retainMs?: number
  /** Column by which compaction sorts rows, before their event time. */
  sort?: string
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
  /** Changes of tables that are made although they would be refused, by the words that their refusals name. Left out: none. */
  accept?: string[]
}

/** Names that a stream may have: what is a plain SQL identifier, a URL segment and a folder name at once. */
export const streamNamePattern = /^[a-z][a-z0-9_]{0,62}$/

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
