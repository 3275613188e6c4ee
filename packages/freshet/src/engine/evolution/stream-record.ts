/**
 * What a table remembers of the stream it belongs to (`freshet.stream`): how events get their ids and times, which decides what is a
 * repeat of what (I5), and which narrower types of the configuration were agreed to. The configuration can change; this tells from what.
 */
import { undeclaredStream, type Rename, type StreamPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { defaultSpec, currentSchema, type TableMetadata } from '../../lake/metadata.ts'
import { partitionOf, timePartitionOf } from '../../lake/partition.ts'

const streamRecordKey = 'freshet.stream'

export interface StreamRecord {
  /** Whether the configuration declared the stream. */
  declared: boolean
  id: StreamPlan['id']
  time: StreamPlan['time']
  /** Declared types, in words, by the path of columns that hold a wider one and keep it. */
  narrow?: Readonly<Record<string, string>>
}

/** What is recorded of a stream. */
export function recordOf({ id, time }: StreamPlan, narrow: Readonly<Record<string, string>> = {}): StreamRecord {
  return { declared: true, id, time, ...(Object.keys(narrow).length === 0 ? {} : { narrow }) }
}

/** The properties of a new table of the stream. @param declared whether the configuration has the stream */
export function streamProperties(stream: StreamPlan, declared: boolean): Record<string, string> {
  return { [streamRecordKey]: JSON.stringify({ ...recordOf(stream), declared }) }
}

/** The record of a table; undefined where there is none, or none that can be read. */
export function streamRecord({ properties }: TableMetadata): StreamRecord | undefined {
  try {
    const record = JSON.parse(properties[streamRecordKey] ?? 'null') as StreamRecord | null
    return typeof record?.declared === 'boolean' ? record : undefined
  } catch {
    return undefined
  }
}

export function withRecord(metadata: TableMetadata, record: StreamRecord): TableMetadata {
  const text = JSON.stringify(record)
  if (metadata.properties[streamRecordKey] === text) return metadata
  return { ...metadata, properties: { ...metadata.properties, [streamRecordKey]: text } }
}

/** A recorded field by the name that it has by now. */
export function presentName(field: string, renames: readonly Rename[] = []): string {
  return renames.find(({ path, former }) => path.length === 1 && former.includes(field))?.path[0] ?? field
}

/**
 * The plan of a stream that the configuration does not have. Where it has a table, that tells how its events got their ids and times:
 * a repeat that is still in the log has to be recognised.
 */
export function planWithoutConfig(name: string, table: LoadedTable | undefined): StreamPlan {
  const plain = undeclaredStream(name)
  if (table === undefined) return plain
  const { metadata } = table
  const record = streamRecord(metadata)
  const time = timePartitionOf(defaultSpec(metadata), currentSchema(metadata))
  return {
    ...plain,
    id: record?.id ?? null,
    time: record?.time ?? null,
    partition: time === undefined ? plain.partition : partitionOf(time),
  }
}
