/**
 * The contract of a sink: what takes a stream's events to another system, in order, exactly once where that system allows it.
 *
 * A sink that can, keeps the checkpoint at its target, written in the transaction that writes the rows: then what was delivered and how far
 * delivery stands can never disagree. For other sinks the runner keeps it, and delivers again what a crash left unsure: those make
 * a repeat harmless, by the event's id as a document's id, an idempotency key or a file's name.
 */
import type { Column, SinkPlan } from '../config/plan.ts'
import type { Clock } from '../runtime/clock.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import type { Timers } from '../runtime/timers.ts'
import type { BucketSettings, RemoteObjectStore } from '../storage/object-store.ts'

/** One event on its way out. */
export interface SinkEvent {
  /** `_event_id`: the same each time that the event is delivered. */
  id: string
  /** `_event_time`, as stored: `YYYY-MM-DDTHH:MM:SS[.f{1,6}]Z`. */
  eventTime: string
  /** `_received_at`, likewise. */
  receivedAt: string
  /** `_source` and `_tenant`, where the event has them. */
  source: string | undefined
  tenant: string | undefined
  /** The event as JSON text, with its system columns first; digits of large numbers are all in it. */
  text: string
  /** The event's own fields, parsed: without system columns. */
  fields: Record<string, unknown>
}

export interface Sink {
  /**
   * The checkpoint that the target holds: what the last `deliver` that it took was called with as `upTo`, '' for none. undefined
   * where the target keeps none, and the runner does.
   */
  checkpoint(): Promise<string | undefined>
  /**
   * Delivers events in order; resolves when the target has them for good, with the checkpoint `upTo` where it keeps one. Called for one batch at a
   * time; the batch may be empty. A batch may have been delivered before in part or whole, if the target keeps no checkpoint.
   * @throws EventsRefused for events that the target will never take: nothing of the batch need have been delivered
   * @throws any other error for what may pass: the same batch is delivered again later
   */
  deliver(batch: readonly SinkEvent[], upTo: string): Promise<void>
  close(): Promise<void>
}

/** Some events of a batch can never be delivered: they are put aside as dead letters, and the others delivered without them. */
export class EventsRefused extends Error {
  /** Index in the batch, and why. Empty where it is not known which it was: then the runner finds out by halves. */
  readonly refused: ReadonlyMap<number, string>

  constructor(message: string, refused: ReadonlyMap<number, string> = new Map(), options?: ErrorOptions) {
    super(message, options)
    this.refused = refused
  }

  /** @param refused at least one, each by its index in the batch */
  static each(refused: ReadonlyMap<number, string>): EventsRefused {
    const [first] = refused.values()
    return new EventsRefused(`${refused.size} events were refused, the first one: ${first}`, refused)
  }
}

/** What a sink works with. */
export interface SinkDeps {
  plan: SinkPlan
  /** Columns of the stream that it reads, as declared; null for a stream whose columns are inferred. */
  columns: readonly Column[] | null
  /** Folder that relative paths in its settings start from: that of the configuration. */
  baseDir: string
  /** A folder for what the sink has to keep, in the server's data folder; it is not there before the sink makes it. */
  ownFolder: string
  /**
   * Calls a function that the configuration has among the sink's settings, in a thread of its own with a time limit.
   * @param name the setting, for example `template`
   */
  call(name: string, args: readonly unknown[]): Promise<unknown>
  /**
   * Makes a Parquet file of an NDJSON file.
   * @param ndjson path of events as lines
   * @param columns the file's columns; null: inferred
   * @param target path of a file that is not there yet; not synced when it resolves
   */
  parquet?: (ndjson: string, columns: readonly Column[] | null, target: string) => Promise<void>
  /** Reaches a bucket; nothing is asked of it yet. */
  openBucket?: (settings: BucketSettings) => Promise<RemoteObjectStore>
  fileSystem: FileSystem
  clock: Clock
  timers: Timers
  random: Random
  logger: Logger
}

/** One kind of sink. */
export interface SinkKind {
  /** Opens the target, and checks or makes what it needs there. @throws what keeps it from doing so; it is tried again later */
  open(deps: SinkDeps): Promise<Sink>
}
