import type { Random } from '../runtime/random.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { encodeLong, encodeInt } from './bounds.ts'
import {
  canWriteManifest,
  encodeManifest,
  entryStatus,
  readManifest,
  type ManifestEntry,
  type ManifestFile,
  type PartitionSummary,
} from './manifest.ts'
import { currentSchema, uuid } from './metadata.ts'
import type { PartitionSpec } from './partition.ts'
import { keyOf, pathOf } from './table-paths.ts'

/**
 * Keeps a snapshot's number of manifests bounded, as Iceberg's merge append does: once there are many small ones, they are
 * merged up to a target size, one group a commit. So a commit writes one small manifest, and its manifest list does not grow with history.
 */
export interface MergePolicy {
  /** Small manifests of one partition spec that are left alone; with more, they are merged. */
  smallManifestsMax: number
  /** Size that merged manifests stay below, bytes. One of less than half of it, and of half the files, is small. */
  targetBytes: number
  /** Files in a merged manifest: what one commit may have to read and write again. */
  filesMax: number
}

export const defaultMergePolicy: MergePolicy = { smallManifestsMax: 100, targetBytes: 8 * 1024 * 1024, filesMax: 2000 }

/** What the manifests that one commit writes have in common. */
export interface ManifestWriter {
  store: ObjectStore
  random: Random
  table: Pick<LoadedTable, 'name' | 'metadata'>
  snapshotId: bigint
  /** Keys of everything written, for removal should the commit fail for good. */
  written: string[]
}

/** Writes a manifest of data files and returns its row for the manifest list. */
export async function writeManifest(
  writer: ManifestWriter,
  spec: PartitionSpec,
  entries: readonly ManifestEntry[],
  sequenceNumber: number,
): Promise<ManifestFile> {
  const { table } = writer
  const path = pathOf(table, `metadata/${uuid(writer.random)}-m0.avro`)
  const bytes = encodeManifest(spec, currentSchema(table.metadata), entries)
  const key = keyOf(table, path)
  writer.written.push(key)
  await writer.store.put(key, bytes)
  const added = entries.filter((entry) => entry.status === entryStatus.added)
  const existing = entries.filter((entry) => entry.status === entryStatus.existing)
  return {
    path,
    bytes: bytes.length,
    specId: spec['spec-id'],
    content: 0,
    sequenceNumber,
    minSequenceNumber: Math.min(sequenceNumber, ...existing.map((entry) => entry.sequenceNumber ?? sequenceNumber)),
    addedSnapshotId: writer.snapshotId,
    addedFiles: added.length,
    existingFiles: existing.length,
    deletedFiles: 0,
    addedRows: rowsOf(added),
    existingRows: rowsOf(existing),
    deletedRows: 0,
    partitions: summarise(spec, entries),
    keyMetadata: null,
  }
}

function rowsOf(entries: readonly ManifestEntry[]): number {
  return entries.reduce((sum, entry) => sum + entry.file.recordCount, 0)
}

/** Partition bounds, by which readers skip whole manifests; null where a field's values are of a type we do not order. */
function summarise(spec: PartitionSpec, entries: readonly ManifestEntry[]): PartitionSummary[] | null {
  const summaries: PartitionSummary[] = []
  for (const field of spec.fields) {
    const values = entries.map((entry) => entry.file.partition[field.name] ?? null)
    const known = values.filter((value) => value !== null)
    const lowest = known.reduce<unknown>((a, b) => (a === null || (b as number) < (a as number) ? b : a), null)
    const highest = known.reduce<unknown>((a, b) => (a === null || (b as number) > (a as number) ? b : a), null)
    if (!known.every((value) => Number.isInteger(value))) return null
    const wide = field.transform === 'identity' || field.transform.startsWith('truncate[')
    const encode = (value: unknown): Buffer | null => {
      if (value === null) return null
      return (wide ? encodeLong(BigInt(value as number)) : encodeInt(value as number)) ?? null
    }
    summaries.push({
      containsNull: known.length < values.length,
      containsNan: false,
      lower: encode(lowest),
      upper: encode(highest),
    })
  }
  return summaries
}

/**
 * The manifests of the next snapshot: `manifests` (newest first), with the small ones merged if they have become too many.
 * Snapshots that still list the merged ones keep them.
 */
export async function mergeManifests(
  writer: ManifestWriter,
  manifests: readonly ManifestFile[],
  sequenceNumber: number,
  policy: MergePolicy,
): Promise<ManifestFile[]> {
  const { metadata } = writer.table
  const merged = new Map<ManifestFile, ManifestFile | undefined>()
  for (const spec of metadata['partition-specs']) {
    if (!isMergeable(spec) || !canWriteManifest(spec, currentSchema(metadata))) continue
    const small = manifests.filter((manifest) => manifest.specId === spec['spec-id'] && isSmall(manifest, policy))
    if (small.length <= policy.smallManifestsMax) continue
    const group = pack(small, policy).reduce((largest, each) => (each.length > largest.length ? each : largest))
    const manifest = await mergeGroup(writer, spec, group, sequenceNumber)
    group.forEach((member, index) => merged.set(member, index === 0 ? manifest : undefined))
  }
  return manifests.flatMap((manifest) => (merged.has(manifest) ? (merged.get(manifest) ?? []) : manifest))
}

/** Only specs whose values survive being read and written again: integers. */
function isMergeable(spec: PartitionSpec): boolean {
  return spec.fields.every((field) => /^(hour|day|month|year|bucket\[\d+\])$/.test(field.transform))
}

function filesOf(manifest: ManifestFile): number {
  return manifest.addedFiles + manifest.existingFiles
}

/** Two small ones always fit together. */
function isSmall(manifest: ManifestFile, policy: MergePolicy): boolean {
  return manifest.content === 0 && manifest.bytes * 2 < policy.targetBytes && filesOf(manifest) * 2 < policy.filesMax
}

function pack(manifests: readonly ManifestFile[], policy: MergePolicy): ManifestFile[][] {
  const groups: ManifestFile[][] = []
  let bytes = Number.POSITIVE_INFINITY
  let files = 0
  for (const manifest of manifests) {
    bytes += manifest.bytes
    files += filesOf(manifest)
    if (bytes > policy.targetBytes || files > policy.filesMax) {
      groups.push([])
      bytes = manifest.bytes
      files = filesOf(manifest)
    }
    groups.at(-1)!.push(manifest)
  }
  return groups
}

async function mergeGroup(
  writer: ManifestWriter,
  spec: PartitionSpec,
  group: readonly ManifestFile[],
  sequenceNumber: number,
): Promise<ManifestFile> {
  const entries: ManifestEntry[] = []
  for (const manifest of group) {
    for (const entry of await readManifest(writer.store, keyOf(writer.table, manifest.path), manifest)) {
      if (entry.status === entryStatus.deleted) continue
      // Files that this very snapshot adds stay added, and go on inheriting the sequence number that its commit will get.
      if (manifest.addedSnapshotId === writer.snapshotId && entry.status === entryStatus.added) {
        entries.push({ ...entry, sequenceNumber: null, fileSequenceNumber: null })
      } else {
        entries.push({ ...entry, status: entryStatus.existing })
      }
    }
  }
  return writeManifest(writer, spec, entries, sequenceNumber)
}
