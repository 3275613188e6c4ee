import type { ObjectStore } from '../storage/object-store.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import { decodeAvro, encodeAvro, type AvroFile, type AvroSchema } from './avro.ts'
import type { DataFile } from './data-file.ts'
import { stringifyJson } from './json.ts'
import { manifestListSchema, manifestSchema } from './manifest-schema.ts'
import type { PartitionSpec } from './partition.ts'
import type { IcebergSchema } from './schema.ts'

/**
 * Manifests (which data files were added or carried over) and manifest lists (which manifests a snapshot has), as in the
 * Iceberg spec, Manifests and Manifest Lists. Files of other engines are read by the schema they carry; fields that we do not
 * know are passed over.
 */
export const entryStatus = { existing: 0, added: 1, deleted: 2 } as const

export interface ManifestEntry {
  status: number
  /** null: inherited from the manifest list, as are the sequence numbers (Iceberg spec, Sequence Number Inheritance). */
  snapshotId: bigint | null
  sequenceNumber: number | null
  fileSequenceNumber: number | null
  /** 0 data, 1 position deletes, 2 equality deletes. */
  content: number
  format: string
  file: DataFile
  splitOffsets: number[] | null
  sortOrderId: number | null
  keyMetadata: Buffer | null
  /** Of deletes: the only data file that they are for, where the entry names one. */
  referencedDataFile?: string
}

/** One row of a manifest list. */
export interface ManifestFile {
  path: string
  bytes: number
  specId: number
  /** 0 data, 1 deletes. */
  content: number
  sequenceNumber: number
  minSequenceNumber: number
  addedSnapshotId: bigint
  addedFiles: number
  existingFiles: number
  deletedFiles: number
  addedRows: number
  existingRows: number
  deletedRows: number
  partitions: PartitionSummary[] | null
  keyMetadata: Buffer | null
}

/** Bounds of one partition field over a manifest's files, in single-value serialisation. */
export interface PartitionSummary {
  containsNull: boolean
  containsNan: boolean | null
  lower: Buffer | null
  upper: Buffer | null
}

type Long = number | bigint
type Pairs<T> = { key: number; value: T }[] | null | undefined

/** An entry as its manifest's own Avro schema has it, with all fields that it has there. */
export interface RawEntry {
  status: number
  snapshot_id?: Long | null
  sequence_number?: Long | null
  file_sequence_number?: Long | null
  data_file: {
    content?: number
    file_path: string
    file_format: string
    partition: Record<string, unknown>
    record_count: Long
    file_size_in_bytes: Long
    column_sizes?: Pairs<Long>
    value_counts?: Pairs<Long>
    null_value_counts?: Pairs<Long>
    nan_value_counts?: Pairs<Long>
    lower_bounds?: Pairs<Buffer>
    upper_bounds?: Pairs<Buffer>
    key_metadata?: Buffer | null
    split_offsets?: Long[] | null
    sort_order_id?: number | null
    referenced_data_file?: string | null
  }
}

interface RawManifestFile {
  manifest_path: string
  manifest_length: Long
  partition_spec_id: number
  content?: number
  sequence_number?: Long
  min_sequence_number?: Long
  added_snapshot_id: Long
  added_files_count?: number | null
  existing_files_count?: number | null
  deleted_files_count?: number | null
  added_rows_count?: Long | null
  existing_rows_count?: Long | null
  deleted_rows_count?: Long | null
  partitions?:
    | {
        contains_null: boolean
        contains_nan?: boolean | null
        lower_bound?: Buffer | null
        upper_bound?: Buffer | null
      }[]
    | null
  key_metadata?: Buffer | null
}

/** The bytes of a manifest of data files. All entries belong to `spec`. */
export function encodeManifest(spec: PartitionSpec, schema: IcebergSchema, entries: readonly ManifestEntry[]): Buffer {
  return encodeRawManifest(manifestFormat(spec, schema), entries.map(rawEntry))
}

/** How the entries of a manifest are written, and what its header says. */
export interface ManifestFormat {
  schema: AvroSchema
  header: Record<string, string>
}

/** Our own format for data files of a partition spec. */
export function manifestFormat(spec: PartitionSpec, schema: IcebergSchema): ManifestFormat {
  const avroSchema = manifestSchema(spec, schema)
  if (avroSchema === undefined)
    throw new Error(`Partition spec ${spec['spec-id']} has a transform that cannot be written`)
  const header = {
    schema: stringifyJson(schema),
    'schema-id': String(schema['schema-id']),
    'partition-spec': stringifyJson(spec.fields),
    'partition-spec-id': String(spec['spec-id']),
    'format-version': '2',
    content: 'data',
  }
  return { schema: avroSchema, header }
}

export function encodeRawManifest({ schema, header }: ManifestFormat, entries: readonly RawEntry[]): Buffer {
  return encodeAvro(schema, header, entries)
}

/** A manifest's entries and format as they are in the file. @throws FreshetError `corrupt_table` */
export async function readRawManifest(
  store: ObjectStore,
  key: string,
  manifest: ManifestFile,
): Promise<ManifestFormat & { entries: RawEntry[] }> {
  const { metadata, records } = await readAvro<RawEntry>(store, key, manifest.bytes)
  const header = Object.fromEntries([...metadata].filter(([name]) => !name.startsWith('avro.')))
  return { schema: JSON.parse(metadata.get('avro.schema')!) as AvroSchema, header, entries: records }
}

export function rawEntry(entry: ManifestEntry): RawEntry {
  const { file } = entry
  return {
    status: entry.status,
    snapshot_id: entry.snapshotId,
    sequence_number: entry.sequenceNumber,
    file_sequence_number: entry.fileSequenceNumber,
    data_file: {
      content: entry.content,
      file_path: file.path,
      file_format: entry.format,
      partition: file.partition,
      record_count: file.recordCount,
      file_size_in_bytes: file.bytes,
      column_sizes: pairs(file.columnSizes),
      value_counts: pairs(file.valueCounts),
      null_value_counts: pairs(file.nullValueCounts),
      nan_value_counts: pairs(file.nanValueCounts),
      lower_bounds: pairs(file.lowerBounds),
      upper_bounds: pairs(file.upperBounds),
      key_metadata: entry.keyMetadata,
      split_offsets: entry.splitOffsets,
      sort_order_id: entry.sortOrderId,
    },
  }
}

/** The bytes of a snapshot's manifest list. */
export function encodeManifestList(
  snapshot: { id: bigint; parentId: bigint | undefined; sequenceNumber: number },
  manifests: readonly ManifestFile[],
): Buffer {
  const metadata = {
    'snapshot-id': String(snapshot.id),
    ...(snapshot.parentId === undefined ? {} : { 'parent-snapshot-id': String(snapshot.parentId) }),
    'sequence-number': String(snapshot.sequenceNumber),
    'format-version': '2',
  }
  return encodeAvro(manifestListSchema, metadata, manifests.map(rawManifestFile))
}

function rawManifestFile(manifest: ManifestFile): RawManifestFile {
  return {
    manifest_path: manifest.path,
    manifest_length: manifest.bytes,
    partition_spec_id: manifest.specId,
    content: manifest.content,
    sequence_number: manifest.sequenceNumber,
    min_sequence_number: manifest.minSequenceNumber,
    added_snapshot_id: manifest.addedSnapshotId,
    added_files_count: manifest.addedFiles,
    existing_files_count: manifest.existingFiles,
    deleted_files_count: manifest.deletedFiles,
    added_rows_count: manifest.addedRows,
    existing_rows_count: manifest.existingRows,
    deleted_rows_count: manifest.deletedRows,
    partitions:
      manifest.partitions?.map((summary) => ({
        contains_null: summary.containsNull,
        contains_nan: summary.containsNan,
        lower_bound: summary.lower,
        upper_bound: summary.upper,
      })) ?? null,
    key_metadata: manifest.keyMetadata,
  }
}

/**
 * Reads a manifest list.
 * @throws FreshetError `corrupt_table` when it is missing or damaged.
 */
export async function readManifestList(store: ObjectStore, key: string): Promise<ManifestFile[]> {
  const { records } = await readAvro<RawManifestFile>(store, key)
  return records.map((raw) => ({
    path: raw.manifest_path,
    bytes: Number(raw.manifest_length),
    specId: raw.partition_spec_id,
    content: raw.content ?? 0,
    sequenceNumber: Number(raw.sequence_number ?? 0),
    minSequenceNumber: Number(raw.min_sequence_number ?? 0),
    addedSnapshotId: BigInt(raw.added_snapshot_id),
    addedFiles: raw.added_files_count ?? 0,
    existingFiles: raw.existing_files_count ?? 0,
    deletedFiles: raw.deleted_files_count ?? 0,
    addedRows: Number(raw.added_rows_count ?? 0),
    existingRows: Number(raw.existing_rows_count ?? 0),
    deletedRows: Number(raw.deleted_rows_count ?? 0),
    partitions:
      raw.partitions?.map((summary) => ({
        containsNull: summary.contains_null,
        containsNan: summary.contains_nan ?? null,
        lower: summary.lower_bound ?? null,
        upper: summary.upper_bound ?? null,
      })) ?? null,
    keyMetadata: raw.key_metadata ?? null,
  }))
}

/**
 * Reads a manifest's entries; what an entry inherits is filled in from `manifest`, its row of the manifest list.
 * @throws FreshetError `corrupt_table` when it is missing, damaged or shorter than the list says.
 */
export async function readManifest(store: ObjectStore, key: string, manifest: ManifestFile): Promise<ManifestEntry[]> {
  const { records } = await readAvro<RawEntry>(store, key, manifest.bytes)
  return records.map((raw): ManifestEntry => {
    const inherits = raw.status === entryStatus.added
    return {
      status: raw.status,
      snapshotId:
        raw.snapshot_id === null || raw.snapshot_id === undefined ? manifest.addedSnapshotId : BigInt(raw.snapshot_id),
      sequenceNumber: longOr(raw.sequence_number, inherits ? manifest.sequenceNumber : 0),
      fileSequenceNumber: longOr(raw.file_sequence_number, inherits ? manifest.sequenceNumber : 0),
      content: raw.data_file.content ?? 0,
      format: raw.data_file.file_format,
      file: {
        path: raw.data_file.file_path,
        partition: raw.data_file.partition,
        recordCount: Number(raw.data_file.record_count),
        bytes: Number(raw.data_file.file_size_in_bytes),
        columnSizes: longMap(raw.data_file.column_sizes),
        valueCounts: longMap(raw.data_file.value_counts),
        nullValueCounts: longMap(raw.data_file.null_value_counts),
        nanValueCounts: longMap(raw.data_file.nan_value_counts),
        lowerBounds: new Map(raw.data_file.lower_bounds?.map(({ key: id, value }) => [id, value])),
        upperBounds: new Map(raw.data_file.upper_bounds?.map(({ key: id, value }) => [id, value])),
      },
      splitOffsets: raw.data_file.split_offsets?.map(Number) ?? null,
      sortOrderId: raw.data_file.sort_order_id ?? null,
      keyMetadata: raw.data_file.key_metadata ?? null,
      ...(typeof raw.data_file.referenced_data_file === 'string' && {
        referencedDataFile: raw.data_file.referenced_data_file,
      }),
    }
  })
}

async function readAvro<T>(store: ObjectStore, key: string, bytesExpected = 0): Promise<AvroFile<T>> {
  const bytes = await store.get(key)
  const hint = 'Restore the file from a backup, or roll the table back to a snapshot that does not need it.'
  if (bytes === undefined) throw new FreshetError('corrupt_table', `The table's file ${key} is missing.`, { hint })
  try {
    if (bytes.length < bytesExpected) throw new Error(`it has ${bytes.length} bytes and should have ${bytesExpected}`)
    return decodeAvro<T>(bytes)
  } catch (error) {
    throw new FreshetError('corrupt_table', `The table's file ${key} is damaged: ${messageOf(error)}.`, {
      hint,
      cause: error,
    })
  }
}

function longOr(value: Long | null | undefined, otherwise: number): number {
  return value === null || value === undefined ? otherwise : Number(value)
}

function longMap(values: Pairs<Long>): Map<number, number> {
  return new Map(values?.map(({ key, value }) => [key, Number(value)]))
}

function pairs<T>(values: ReadonlyMap<number, T>): Pairs<T> {
  return values.size === 0 ? null : [...values].toSorted(([a], [b]) => a - b).map(([key, value]) => ({ key, value }))
}
