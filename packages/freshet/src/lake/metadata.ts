import type { Column, StreamPlan } from '../config/plan.ts'
import type { Position, Positions } from '../log/log.ts'
import type { Clock } from '../runtime/clock.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { Random } from '../runtime/random.ts'
import { parseJson, stringifyJson } from './json.ts'
import { createSpec, isCutBy, type PartitionSpec } from './partition.ts'
import { createSchema, evolveSchema, type Evolution, type IcebergSchema } from './schema.ts'

/**
 * Table metadata, format version 2 (Iceberg spec, Table Metadata Fields): the spec's own JSON with its own names, so that what
 * another engine wrote and we do not know passes through unchanged. Only snapshot ids are typed differently: other engines
 * draw them from 63 bits, so they are bigints.
 */
export interface TableMetadata {
  'format-version': 2
  'table-uuid': string
  /** Absolute path or URI of the table's folder, without a slash at the end. */
  location: string
  'last-sequence-number': number
  'last-updated-ms': number
  'last-column-id': number
  schemas: IcebergSchema[]
  'current-schema-id': number
  'partition-specs': PartitionSpec[]
  'default-spec-id': number
  'last-partition-id': number
  'sort-orders': { 'order-id': number; fields: unknown[] }[]
  'default-sort-order-id': number
  properties: Record<string, string>
  snapshots: Snapshot[]
  /** null while the table is empty. */
  'current-snapshot-id': bigint | null
  refs: Record<string, SnapshotRef>
  'snapshot-log': { 'snapshot-id': bigint; 'timestamp-ms': number }[]
  'metadata-log': { 'metadata-file': string; 'timestamp-ms': number }[]
}

export interface Snapshot {
  'snapshot-id': bigint
  'parent-snapshot-id'?: bigint
  'sequence-number': number
  'timestamp-ms': number
  'manifest-list': string
  summary: Record<string, string>
  'schema-id'?: number
}

interface SnapshotRef {
  'snapshot-id': bigint
  type: 'branch' | 'tag'
  [option: string]: unknown
}

/** Snapshot summary field and table property: the log positions that the table holds, `{"<partition>":"<position>"}`. */
export const positionsKey = 'freshet.positions'
const formerFieldsKey = 'freshet.former-fields'
const metadataLogMax = 100

/** The metadata of a new, empty table. The catalog sets `location`. */
export function newTableMetadata(options: {
  /** All columns, the system columns first (`tableColumns`). */
  columns: readonly Column[]
  partition: StreamPlan['partition']
  clock: Clock
  random: Random
  properties?: Record<string, string>
}): TableMetadata {
  const { schema, lastColumnId } = createSchema(options.columns)
  const spec = createSpec(options.partition, schema)
  return {
    'format-version': 2,
    'table-uuid': uuid(options.random),
    location: '',
    'last-sequence-number': 0,
    'last-updated-ms': options.clock.nowMs(),
    'last-column-id': lastColumnId,
    schemas: [schema],
    'current-schema-id': 0,
    'partition-specs': [spec],
    'default-spec-id': 0,
    'last-partition-id': 1000,
    'sort-orders': [{ 'order-id': 0, fields: [] }],
    'default-sort-order-id': 0,
    properties: { ...options.properties },
    snapshots: [],
    'current-snapshot-id': null,
    refs: {},
    'snapshot-log': [],
    'metadata-log': [],
  }
}

/** A random UUID (version 4). */
export function uuid(random: Random): string {
  const hex = random.hex(16)
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 3) | 8).toString(16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`
}

/**
 * Reads a metadata file.
 * @throws FreshetError `corrupt_table` that names `file`, or `unsupported_table` for another format version.
 */
export function parseMetadata(text: string, file: string): TableMetadata {
  let raw: Record<string, unknown>
  try {
    raw = parseJson(text) as Record<string, unknown>
  } catch (error) {
    throw corrupt(file, messageOf(error), error)
  }
  if (typeof raw !== 'object' || raw === null) throw corrupt(file, 'it is not a JSON object')
  const version = raw['format-version']
  if (typeof version === 'number' && version !== 2) {
    throw new FreshetError(
      'unsupported_table',
      `${file} has Iceberg format version ${version}; Freshet reads and writes version 2.`,
      {
        hint: 'Another engine changed the format; use that engine, or restore the table from before the change.',
      },
    )
  }
  for (const [key, valid] of Object.entries(requiredKeys)) {
    if (!valid(raw[key])) throw corrupt(file, `"${key}" is missing or not what it should be`)
  }
  const metadata = normalise(raw as unknown as RawMetadata)
  checkReferences(metadata, file)
  return metadata
}

/** The text of a metadata file. Readers of the Java library's age expect -1 for no snapshot. */
export function serializeMetadata(metadata: TableMetadata): string {
  return stringifyJson({ ...metadata, 'current-snapshot-id': metadata['current-snapshot-id'] ?? -1n })
}

const isInteger = (value: unknown): boolean => Number.isSafeInteger(value)
const isText = (value: unknown): boolean => typeof value === 'string'
const requiredKeys: Record<string, (value: unknown) => boolean> = {
  'format-version': (value) => value === 2,
  'table-uuid': isText,
  location: isText,
  'last-sequence-number': isInteger,
  'last-updated-ms': isInteger,
  'last-column-id': isInteger,
  schemas: Array.isArray,
  'current-schema-id': isInteger,
  'partition-specs': Array.isArray,
  'default-spec-id': isInteger,
  'last-partition-id': isInteger,
}

type Id = number | bigint
type RawSnapshot = Omit<Snapshot, 'snapshot-id' | 'parent-snapshot-id' | 'summary'> & {
  'snapshot-id': Id
  'parent-snapshot-id'?: Id | null
  summary?: Record<string, string>
}

/** What a metadata file may hold: ids as they were parsed, and whatever the spec lets writers leave out. */
interface RawMetadata extends Pick<
  TableMetadata,
  'format-version' | 'table-uuid' | 'location' | 'last-sequence-number'
> {
  'sort-orders'?: TableMetadata['sort-orders']
  'default-sort-order-id'?: number
  properties?: Record<string, string>
  snapshots?: RawSnapshot[] | null
  'current-snapshot-id'?: Id | null
  refs?: Record<string, Omit<SnapshotRef, 'snapshot-id'> & { 'snapshot-id': Id; type: 'branch' | 'tag' }>
  'snapshot-log'?: { 'snapshot-id': Id; 'timestamp-ms': number }[]
  'metadata-log'?: TableMetadata['metadata-log']
}

/** Fills what was left out, and makes every snapshot id a bigint. */
function normalise(raw: RawMetadata): TableMetadata {
  const current = BigInt(raw['current-snapshot-id'] ?? -1)
  const currentId = current === -1n ? null : current
  const refs: Record<string, SnapshotRef> = {}
  for (const [name, ref] of Object.entries(raw.refs ?? {})) {
    refs[name] = { ...ref, 'snapshot-id': BigInt(ref['snapshot-id']) }
  }
  if (refs['main'] === undefined && currentId !== null) refs['main'] = { 'snapshot-id': currentId, type: 'branch' }
  return {
    ...(raw as unknown as TableMetadata),
    location: raw.location.replace(/\/+$/, ''),
    'sort-orders': raw['sort-orders'] ?? [{ 'order-id': 0, fields: [] }],
    'default-sort-order-id': raw['default-sort-order-id'] ?? 0,
    properties: raw.properties ?? {},
    'current-snapshot-id': currentId,
    refs,
    snapshots: (raw.snapshots ?? []).map(({ 'parent-snapshot-id': parent, ...snapshot }) => ({
      ...snapshot,
      'snapshot-id': BigInt(snapshot['snapshot-id']),
      ...(parent === undefined || parent === null ? {} : { 'parent-snapshot-id': BigInt(parent) }),
      summary: snapshot.summary ?? {},
    })),
    'snapshot-log': (raw['snapshot-log'] ?? []).map((entry) => ({
      ...entry,
      'snapshot-id': BigInt(entry['snapshot-id']),
    })),
    'metadata-log': raw['metadata-log'] ?? [],
  }
}

function checkReferences(metadata: TableMetadata, file: string): void {
  if (!metadata.schemas.some((schema) => schema['schema-id'] === metadata['current-schema-id'])) {
    throw corrupt(file, `there is no schema ${metadata['current-schema-id']}`)
  }
  if (!metadata['partition-specs'].some((spec) => spec['spec-id'] === metadata['default-spec-id'])) {
    throw corrupt(file, `there is no partition spec ${metadata['default-spec-id']}`)
  }
  const current = metadata['current-snapshot-id']
  if (current !== null && !metadata.snapshots.some((snapshot) => snapshot['snapshot-id'] === current)) {
    throw corrupt(file, `there is no snapshot ${current}`)
  }
}

function corrupt(file: string, reason: string, cause?: unknown): FreshetError {
  return new FreshetError('corrupt_table', `The table metadata ${file} is damaged: ${reason}.`, {
    hint: 'Restore the file from a backup, or remove it to go back to the version before it.',
    cause,
  })
}

export function currentSchema(metadata: TableMetadata): IcebergSchema {
  return metadata.schemas.find((schema) => schema['schema-id'] === metadata['current-schema-id'])!
}

export function defaultSpec(metadata: TableMetadata): PartitionSpec {
  return metadata['partition-specs'].find((spec) => spec['spec-id'] === metadata['default-spec-id'])!
}

export function snapshotById(metadata: TableMetadata, id: bigint | null | undefined): Snapshot | undefined {
  return metadata.snapshots.findLast((snapshot) => snapshot['snapshot-id'] === id)
}

/** The newest state of the table; undefined while it is empty. */
export function currentSnapshot(metadata: TableMetadata): Snapshot | undefined {
  return snapshotById(metadata, metadata['current-snapshot-id'])
}

/**
 * The log positions that the table holds: those of its current snapshot or, where another engine wrote that one, of the nearest
 * snapshot before it. The table property answers when another engine expired all of ours. Empty for a table never loaded.
 */
export function tablePositions(metadata: TableMetadata): Positions {
  let snapshot = currentSnapshot(metadata)
  while (snapshot !== undefined) {
    const text = snapshot.summary[positionsKey]
    if (text !== undefined) return parsePositions(text)
    snapshot = snapshotById(metadata, snapshot['parent-snapshot-id'])
  }
  const property = metadata.properties[positionsKey]
  return property === undefined ? new Map() : parsePositions(property)
}

/** @throws FreshetError `corrupt_table` when the text is not `{"<partition>":"<position>"}`. */
export function parsePositions(text: string): Positions {
  try {
    const entries = Object.entries(JSON.parse(text) as Record<string, string>)
    return new Map(entries.map(([partition, position]): [number, Position] => [Number(partition), BigInt(position)]))
  } catch (error) {
    throw new FreshetError(
      'corrupt_table',
      `The positions ${JSON.stringify(text)} in the table's metadata cannot be read.`,
      { cause: error },
    )
  }
}

export function formatPositions(positions: Positions): string {
  const sorted = [...positions].toSorted(([a], [b]) => a - b)
  return JSON.stringify(Object.fromEntries(sorted.map(([partition, position]) => [partition, String(position)])))
}

/** Whether both name the same place in the log; a partition that is missing is at its start. */
export function samePositions(a: Positions, b: Positions): boolean {
  const partitions = new Set([...a.keys(), ...b.keys()])
  return [...partitions].every((partition) => (a.get(partition) ?? 0n) === (b.get(partition) ?? 0n))
}

/** Ids of the fields whose values a field continues, newest first: a reader coalesces the field with them, in this order. */
export function formerFields(metadata: TableMetadata): Map<number, number[]> {
  const text = metadata.properties[formerFieldsKey]
  if (text === undefined) return new Map()
  const entries = Object.entries(JSON.parse(text) as Record<string, number[]>)
  return new Map(entries.map(([id, former]) => [Number(id), former]))
}

/** What has to change for the table to take `columns` (all of them); undefined when it can already. */
export function evolveTable(metadata: TableMetadata, columns: readonly Column[]): Evolution | undefined {
  const evolution = evolveSchema(
    { schema: currentSchema(metadata), lastColumnId: metadata['last-column-id'], formerFields: formerFields(metadata) },
    columns,
  )
  if (evolution === undefined) return undefined
  const schemaId = Math.max(...metadata.schemas.map((schema) => schema['schema-id'])) + 1
  return { ...evolution, schema: { ...evolution.schema, 'schema-id': schemaId } }
}

/** The metadata with an evolved schema as its current one. */
export function withSchema(metadata: TableMetadata, evolution: Evolution): TableMetadata {
  const { [formerFieldsKey]: _, ...properties } = metadata.properties
  const former =
    evolution.formerFields.size === 0
      ? {}
      : { [formerFieldsKey]: JSON.stringify(Object.fromEntries(evolution.formerFields)) }
  return {
    ...metadata,
    schemas: [...metadata.schemas, evolution.schema],
    'current-schema-id': evolution.schema['schema-id'],
    'last-column-id': evolution.lastColumnId,
    properties: { ...properties, ...former },
  }
}

/** The metadata with new files partitioned as `partition` says; the same object when they already are. */
export function withPartition(metadata: TableMetadata, partition: StreamPlan['partition']): TableMetadata {
  const schema = currentSchema(metadata)
  const matches = (spec: PartitionSpec): boolean => isCutBy(spec, schema, partition)
  if (matches(defaultSpec(metadata))) return metadata
  const existing = metadata['partition-specs'].find(matches)
  if (existing !== undefined) return { ...metadata, 'default-spec-id': existing['spec-id'] }
  const specId = Math.max(...metadata['partition-specs'].map((spec) => spec['spec-id'])) + 1
  const fieldId = metadata['last-partition-id'] + 1
  return {
    ...metadata,
    'partition-specs': [...metadata['partition-specs'], createSpec(partition, schema, specId, fieldId)],
    'default-spec-id': specId,
    'last-partition-id': fieldId,
  }
}

/** The metadata that follows the one in `file`, with that file in its log of the last 100. */
export function withPrevious(next: TableMetadata, file: string, previous: TableMetadata): TableMetadata {
  const entry = { 'metadata-file': file, 'timestamp-ms': previous['last-updated-ms'] }
  return { ...next, 'metadata-log': [...previous['metadata-log'], entry].slice(-metadataLogMax) }
}
