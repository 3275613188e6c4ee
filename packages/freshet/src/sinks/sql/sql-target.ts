/** What a database has to offer so that events can be delivered to it exactly once. */
import type { ColumnType } from '../../config/plan.ts'
import type { SinkDeps } from '../sink.ts'
import type { SqlOptions, TableName } from './settings.ts'

/** How values of a column are written as text. */
export type ValueForm =
  | 'text'
  | 'number'
  | 'boolean'
  | 'json'
  | 'binary'
  | 'uuid'
  | 'timestamptz'
  | 'timestamp'
  | 'date'
  | 'time'

/** A column that is written, as the settings and the stream's columns say. */
export interface WantedColumn {
  /** The field, a path. */
  field: string
  name: string
  /** The stream's type of the field; undefined where it is not declared. */
  declared: ColumnType | undefined
  /** The type that the user says. */
  type: string | undefined
  key: boolean
}

/** A column that is written, with what is known of it in the table. */
export interface SqlColumn {
  field: string
  name: string
  /** Its type as SQL has it. */
  type: string
  form: ValueForm
  key: boolean
  /** Whether an event changes it in a row that is there. */
  changes: boolean
}

/** What is to be written to, settled once the table is known. */
export interface SqlTable {
  name: TableName
  columns: readonly SqlColumn[]
  /** Index in `columns` of the field by which older events change nothing; undefined: none. */
  newest: number | undefined
  /** `append`: each event is a row; `upsert`; `update`: only rows that are there are changed. */
  mode: 'append' | 'upsert' | 'update'
  /** Whether keys are equal to the database only where their texts are equal. */
  exactKeys: boolean
}

/** One event's values, by column; null is NULL. `index` is the event's in the batch. */
export interface SqlRow {
  index: number
  values: readonly (string | null)[]
}

export interface WriteOrder {
  /** Whether rows of one key may be among them: then they count in the order they have. */
  repeats: boolean
  /** Whether to find out which rows changed nothing because there is no row of their key. */
  findMissing: boolean
}

/** One connection, used for one transaction at a time. Statements throw what `SqlDialect.fault` understands. */
export interface SqlSession {
  /** False once the connection is lost. */
  readonly usable: boolean
  /** Makes or checks the sink's table and that of checkpoints. @throws FreshetError `sink_target_unusable` for a table that does not fit */
  prepare(wanted: readonly WantedColumn[], consumer: string): Promise<SqlTable>
  /** The checkpoint as committed; undefined for none. */
  checkpoint(consumer: string): Promise<string | undefined>
  /** Begins a transaction and takes the checkpoint's row, which nobody else can take until it ends. */
  begin(consumer: string): Promise<string | undefined>
  remove(table: SqlTable, rows: readonly SqlRow[], order: WriteOrder): Promise<void>
  /** @returns indexes of the events that had no row, if that was asked for */
  write(table: SqlTable, rows: readonly SqlRow[], order: WriteOrder): Promise<number[]>
  keep(consumer: string, checkpoint: string): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
  close(): Promise<void>
}

/** What an error of the database means. */
export type SqlFault =
  /** The events are at fault: the same ones fail each time. */
  | 'events'
  /** The connection is of no more use. */
  | 'connection'
  /** What may pass, or somebody has to mend at the database. */
  | 'target'

export interface SqlDialect {
  connect(options: SqlOptions, deps: Pick<SinkDeps, 'baseDir' | 'fileSystem'>): Promise<SqlSession>
  fault(error: unknown): SqlFault
  /** What the reader of an error can do. */
  hint(error: unknown): string | undefined
  /** Whether text may have U+0000. */
  takesNul: boolean
}
