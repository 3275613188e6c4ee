/**
 * What is remembered of each consumer: `consumers/<name>.json` in the data folder, one file each, changed as a whole.
 *
 * - `place` is how far it is: all before it is dealt with, and what came of it is durable.
 * - `intent`, where there is one, is the batch that is being dealt with, from `place` on. It is written before anything is done with the batch, so after
 *   a crash the batch is made of the same events again, and gets the same sequence number: what was done already is recognised
 *   (the log knows producer and sequence; a file has its name by it). With other code the number is not used again, see runner.ts.
 * - The log is trimmed only below the places of all consumers (I7), so the engine reads these files too; it believes only whole ones.
 *
 * A change writes a new file beside, syncs it, renames it over the old one and syncs the folder. A crash leaves the old record or the new one, and
 * perhaps a file beside it that is written over next time. A record that cannot be read stops its consumer, and holds the log.
 */
import { join } from 'node:path'
import type { Position } from '../log/log.ts'
import { FreshetError, messageOf, systemCodeOf } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import { floorOf, formatPlace, parsePlace, type Place } from './place.ts'

export interface ConsumerRecord {
  /** The stream that it reads: another one has other places. */
  from: string
  place: Place
  /** Number of the next batch that it appends. */
  sequence: number
  intent: Intent | undefined
  /** Places of the log in front of `place`, from which its newest events can be read again (recent-events.ts); none hold the log. */
  recent?: readonly Position[]
}

export interface Intent {
  to: Place
  /** How many batches of the log it is. */
  batches: number
  /** The consumer's code when it was begun. */
  version: string
  /** Events of it that are left out, by index (recent-events.ts); none where there is nothing. */
  repeats?: readonly number[]
}

const format = 1

export class ConsumerRecords {
  readonly #dir: string
  readonly #fileSystem: FileSystem
  /** Whether the folder is known to be there. */
  #isThere = false

  /** @param dir folder of the records */
  constructor(dir: string, fileSystem: FileSystem) {
    this.#dir = dir
    this.#fileSystem = fileSystem
  }

  /** @throws FreshetError `corrupt_checkpoint` */
  async read(consumer: string): Promise<ConsumerRecord | undefined> {
    const path = this.#path(consumer)
    let bytes: Buffer
    try {
      bytes = await this.#fileSystem.readFile(path)
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return undefined
      throw error
    }
    try {
      return parseRecord(bytes.toString('utf8'))
    } catch (error) {
      throw new FreshetError('corrupt_checkpoint', `The checkpoint ${path} cannot be read: ${messageOf(error)}.`, {
        hint: 'Restore it from a backup. Without the file the consumer begins anew, which its target must bear.',
        cause: error,
      })
    }
  }

  /** Durable when it resolves. */
  async write(consumer: string, record: ConsumerRecord): Promise<void> {
    const path = this.#path(consumer)
    if (!this.#isThere) await this.#fileSystem.makeDir(this.#dir)
    this.#isThere = true
    const file = await this.#fileSystem.open(`${path}.new`, 'create')
    try {
      const text = Buffer.from(formatRecord(consumer, record))
      await file.write([text], 0)
      await file.truncate(text.length)
      await file.sync()
    } finally {
      await file.close()
    }
    await this.#fileSystem.rename(`${path}.new`, path)
    await this.#fileSystem.syncDir(this.#dir)
  }

  /**
   * The log position below which none of these consumers of a stream needs anything; undefined without consumers. One that has no record yet, or
   * that reads another stream by its record, needs everything.
   */
  async floor(stream: string, consumers: readonly string[]): Promise<Position | undefined> {
    let floor: Position | undefined
    for (const consumer of consumers) {
      const record = await this.read(consumer)
      const own = record?.from === stream ? floorOf(record.place) : 0n
      if (floor === undefined || own < floor) floor = own
    }
    // A record can be seen before its name would survive a power cut, which would bring the former one back.
    if (floor !== undefined && floor > 0n) await this.#fileSystem.syncDir(this.#dir)
    return floor
  }

  #path(consumer: string): string {
    return join(this.#dir, `${consumer.replace(':', '.')}.json`)
  }
}

function formatRecord(consumer: string, { from, place, sequence, intent, recent = [] }: ConsumerRecord): string {
  const stored = {
    format,
    consumer,
    from,
    place: formatPlace(place),
    sequence,
    ...(intent && { intent: { ...intent, to: formatPlace(intent.to) } }),
    ...(recent.length > 0 && { recent: recent.map(String) }),
  }
  return `${JSON.stringify(stored)}\n`
}

/** @throws Error for text that is no record */
function parseRecord(text: string): ConsumerRecord {
  const stored = JSON.parse(text) as {
    format: number
    from: string
    place: string
    sequence: number
    intent?: { to: string; batches: number; version: string; repeats?: number[] }
    recent?: string[]
  }
  if (stored.format !== format) throw new Error(`its format is ${stored.format}, not ${format}`)
  const { from, sequence, intent, recent = [] } = stored
  if (typeof from !== 'string' || !Number.isSafeInteger(sequence)) throw new Error('it is not whole')
  return {
    from,
    place: parsePlace(stored.place),
    sequence,
    intent: intent && { ...intent, to: parsePlace(intent.to) },
    recent: recent.map(BigInt),
  }
}
