/**
 * Writes manifests, and rows of the manifest list about them. Entries of existing manifests are carried over as the file's own Avro
 * schema has them: whatever another engine wrote there and we do not know stays as it is (Iceberg spec, Manifests).
 */
import { FreshetError } from '../runtime/errors.ts'
import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { AvroSchema } from './avro.ts'
import { encodeInt, encodeLong } from './bounds.ts'
import type { LoadedTable } from './catalog.ts'
import {
  encodeRawManifest,
  entryStatus,
  manifestFormat,
  rawEntry,
  readRawManifest,
  type ManifestEntry,
  type ManifestFile,
  type ManifestFormat,
  type PartitionSummary,
  type RawEntry,
} from './manifest.ts'
import { currentSchema, uuid, type TableMetadata } from './metadata.ts'
import type { PartitionSpec } from './partition.ts'
import { leavesOf } from './schema.ts'
import { keyOf, pathOf } from './table-paths.ts'

/** What the manifests that one commit writes have in common. */
export interface ManifestWriter {
  store: ObjectStore
  random: Random
  table: Pick<LoadedTable, 'name' | 'metadata'>
  snapshotId: bigint
  /** Keys of everything written, for removal should the commit fail for good. */
  written: string[]
}

/** A manifest that was read to be written again. */
export interface OpenManifest extends ManifestFormat {
  row: ManifestFile
  entries: readonly RawEntry[]
}

/** Writes a manifest of data files and returns its row for the manifest list. */
export async function writeManifest(
  writer: ManifestWriter,
  spec: PartitionSpec,
  entries: readonly ManifestEntry[],
  sequenceNumber: number,
): Promise<ManifestFile> {
  const format = manifestFormat(spec, currentSchema(writer.table.metadata))
  const row = { specId: spec['spec-id'], content: 0, partitions: null }
  return writeEntries(writer, format, row, entries.map(rawEntry), sequenceNumber)
}

/** Reads a manifest so that it can be written again. @throws FreshetError `corrupt_table` */
export async function openManifest(
  { store, table }: Pick<ManifestWriter, 'store' | 'table'>,
  row: ManifestFile,
): Promise<OpenManifest> {
  return { row, ...(await readRawManifest(store, keyOf(table, row.path), row)) }
}

/**
 * Writes the entries of manifests again, in one manifest for those of one format: live ones stay, without their place in `removed` they
 * become existing ones; those in `removed` (paths) become deleted ones. What an earlier snapshot deleted is left out. All belong to
 * one partition spec and content; several only where partitions are integers.
 */
export async function carryManifests(
  writer: ManifestWriter,
  manifests: readonly OpenManifest[],
  removed: ReadonlySet<string>,
  sequenceNumber: number,
): Promise<ManifestFile[]> {
  const written: ManifestFile[] = []
  for (const [first, ...others] of byFormat(manifests)) {
    const members = [first, ...others]
    const entries = members.flatMap((manifest) => carriedEntries(writer, manifest, removed))
    const row = { ...first.row, partitions: others.length === 0 ? first.row.partitions : null }
    written.push(await writeEntries(writer, withSequenceNumbers(first), row, entries, sequenceNumber))
  }
  return written
}

/** Manifests that one format can hold, together. */
export function byFormat(manifests: readonly OpenManifest[]): [OpenManifest, ...OpenManifest[]][] {
  const groups = new Map<string, [OpenManifest, ...OpenManifest[]]>()
  for (const manifest of manifests) {
    const key = JSON.stringify([manifest.row.specId, manifest.row.content, manifest.schema])
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [manifest])
    else group.push(manifest)
  }
  return [...groups.values()]
}

/** A manifest's entries as the next manifest of `writer`'s snapshot has them; sequence numbers that they inherited are written out. */
export function carriedEntries(
  { snapshotId }: Pick<ManifestWriter, 'snapshotId'>,
  { row, entries }: Pick<OpenManifest, 'row' | 'entries'>,
  removed: ReadonlySet<string> = new Set(),
): RawEntry[] {
  const isOwn = row.addedSnapshotId === snapshotId
  return entries.flatMap((entry): RawEntry[] => {
    if (entry.status === entryStatus.deleted) return isOwn ? [entry] : []
    const isAdded = entry.status === entryStatus.added
    const isRemoved = removed.has(entry.data_file.file_path)
    // Files that this very snapshot adds stay added, and go on inheriting the sequence number that its commit will get.
    if (isOwn && isAdded && !isRemoved) return [entry]
    return [
      {
        ...entry,
        ...(isRemoved && { data_file: withoutBounds(entry.data_file) }),
        status: isRemoved ? entryStatus.deleted : entryStatus.existing,
        snapshot_id: isRemoved ? snapshotId : (entry.snapshot_id ?? row.addedSnapshotId),
        sequence_number: entry.sequence_number ?? (isAdded ? row.sequenceNumber : 0),
        file_sequence_number: entry.file_sequence_number ?? (isAdded ? row.sequenceNumber : null),
      },
    ]
  })
}

/** A removed file's bounds are values of its rows, which may have been erased: nobody needs them, so nobody keeps them. */
function withoutBounds(file: RawEntry['data_file']): RawEntry['data_file'] {
  return {
    ...file,
    ...('lower_bounds' in file && { lower_bounds: null }),
    ...('upper_bounds' in file && { upper_bounds: null }),
  }
}

/** Writes entries of one partition spec and content. @throws FreshetError `unsupported_table` when they cannot be written as they are. */
export async function writeEntries(
  writer: ManifestWriter,
  format: ManifestFormat,
  like: Pick<ManifestFile, 'specId' | 'content' | 'partitions'>,
  entries: readonly RawEntry[],
  sequenceNumber: number,
): Promise<ManifestFile> {
  const { table } = writer
  const path = pathOf(table, `metadata/${uuid(writer.random)}-m0.avro`)
  const bytes = encoded(table, format, entries)
  const key = keyOf(table, path)
  writer.written.push(key)
  await writer.store.put(key, bytes)
  const of = (status: number): RawEntry[] => entries.filter((entry) => entry.status === status)
  const added = of(entryStatus.added)
  const existing = of(entryStatus.existing)
  const deleted = of(entryStatus.deleted)
  const inherited = (entry: RawEntry): number => Number(entry.sequence_number ?? sequenceNumber)
  return {
    path,
    bytes: bytes.length,
    specId: like.specId,
    content: like.content,
    sequenceNumber,
    minSequenceNumber: [...added, ...existing].reduce(
      (least, entry) => Math.min(least, inherited(entry)),
      sequenceNumber,
    ),
    addedSnapshotId: writer.snapshotId,
    addedFiles: added.length,
    existingFiles: existing.length,
    deletedFiles: deleted.length,
    addedRows: rowsOf(added),
    existingRows: rowsOf(existing),
    deletedRows: rowsOf(deleted),
    partitions: summarise(table.metadata, like.specId, format.schema, entries) ?? like.partitions,
    keyMetadata: null,
  }
}

function encoded(table: ManifestWriter['table'], format: ManifestFormat, entries: readonly RawEntry[]): Buffer {
  try {
    return encodeRawManifest(format, entries)
  } catch (error) {
    throw new FreshetError('unsupported_table', `A manifest of the table ${table.name} cannot be written again.`, {
      hint: 'Another engine wrote it: have that engine rewrite the manifests, or make this change there.',
      cause: error,
    })
  }
}

function rowsOf(entries: readonly RawEntry[]): number {
  return entries.reduce((sum, entry) => sum + Number(entry.data_file.record_count), 0)
}

/** Whether all partition values of a spec are integers, which we can order, and write in one manifest whoever wrote them. */
export function isIntegerSpec(spec: PartitionSpec): boolean {
  return spec.fields.every((field) => /^(hour|day|month|year|bucket\[\d+\])$/.test(field.transform))
}

export function specById(metadata: TableMetadata, specId: number): PartitionSpec | undefined {
  return metadata['partition-specs'].find((spec) => spec['spec-id'] === specId)
}

interface RecordSchema {
  fields: { name: string; type: unknown; 'field-id'?: number }[]
}

/** Names of an entry's partition values by field id: a format may write them in another way than the table has them. */
export function fieldNames(schema: AvroSchema): Map<number, string> {
  const dataFile = (schema as unknown as RecordSchema).fields.find(({ name }) => name === 'data_file')
  const partition = (dataFile?.type as RecordSchema | undefined)?.fields.find(({ name }) => name === 'partition')
  const fields = (partition?.type as RecordSchema | undefined)?.fields ?? []
  return new Map(fields.map((field) => [field['field-id'] ?? -1, field.name]))
}

/**
 * Partition bounds, by which readers skip whole manifests; undefined where they are of a type that we do not order, or of a spec that
 * we do not know.
 */
function summarise(
  metadata: TableMetadata,
  specId: number,
  schema: AvroSchema,
  entries: readonly RawEntry[],
): PartitionSummary[] | undefined {
  const spec = specById(metadata, specId)
  if (spec === undefined) return undefined
  const names = fieldNames(schema)
  const summaries: PartitionSummary[] = []
  for (const field of spec.fields) {
    const name = names.get(field['field-id']) ?? field.name
    const known: number[] = []
    for (const entry of entries) {
      const value = entry.data_file.partition[name] ?? null
      if (value !== null && !Number.isInteger(value)) return undefined
      if (value !== null) known.push(value as number)
    }
    const encode = isWide(metadata, field) ? (value: number) => encodeLong(BigInt(value)) : encodeInt
    const bound = (pick: (a: number, b: number) => number): Buffer | null =>
      known.length === 0 ? null : (encode(known.reduce((a, b) => pick(a, b))) ?? null)
    summaries.push({
      containsNull: known.length < entries.length,
      containsNan: false,
      lower: bound(Math.min),
      upper: bound(Math.max),
    })
  }
  return summaries
}

/** Whether a field's values are longs: those of identity and truncate are of their column's type, all other integers are ints. */
function isWide(metadata: TableMetadata, field: PartitionSpec['fields'][number]): boolean {
  if (field.transform !== 'identity' && !field.transform.startsWith('truncate[')) return false
  return leavesOf(currentSchema(metadata)).find(({ id }) => id === field['source-id'])?.type !== 'int'
}

/** A format whose entries have sequence numbers, which those of tables of version 1 lack (Iceberg spec, Version 2). */
export function withSequenceNumbers({ schema, header }: ManifestFormat): ManifestFormat {
  const record = schema as unknown as RecordSchema & { type: string }
  const has = (name: string): boolean => record.fields.some((field) => field.name === name)
  const long = (name: string, id: number): RecordSchema['fields'] =>
    has(name) ? [] : [{ name, type: ['null', 'long'], 'field-id': id }]
  const fields = [...record.fields, ...long('sequence_number', 3), ...long('file_sequence_number', 4)]
  if (fields.length === record.fields.length) return { schema, header }
  return { schema: { ...record, fields }, header: { ...header, 'format-version': '2' } }
}
