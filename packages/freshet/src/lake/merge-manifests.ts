import type { ManifestFile } from './manifest.ts'
import {
  isIntegerSpec,
  openManifest,
  carryManifests,
  type ManifestWriter,
  type OpenManifest,
} from './manifest-writer.ts'

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
  const merged = new Map<ManifestFile, readonly ManifestFile[]>()
  for (const spec of metadata['partition-specs']) {
    // Only integers are ordered, and survive being written by us whoever wrote them.
    if (!isIntegerSpec(spec)) continue
    const small = manifests.filter((manifest) => manifest.specId === spec['spec-id'] && isSmall(manifest, policy))
    if (small.length <= policy.smallManifestsMax) continue
    const group = pack(small, policy, (manifest) => manifest).reduce((largest, each) =>
      each.length > largest.length ? each : largest,
    )
    const together = await mergeGroup(writer, group, sequenceNumber)
    group.forEach((member, index) => merged.set(member, index === 0 ? together : []))
  }
  return manifests.flatMap((manifest) => merged.get(manifest) ?? manifest)
}

/** Live files of a manifest. */
export function filesOf(manifest: ManifestFile): number {
  return manifest.addedFiles + manifest.existingFiles
}

/** Two small ones always fit together. */
export function isSmall(manifest: ManifestFile, policy: MergePolicy): boolean {
  return manifest.content === 0 && manifest.bytes * 2 < policy.targetBytes && filesOf(manifest) * 2 < policy.filesMax
}

/** Cuts manifests, in their order, into groups that one manifest can take. */
export function pack<T>(manifests: readonly T[], policy: MergePolicy, rowOf: (manifest: T) => ManifestFile): T[][] {
  const groups: T[][] = []
  let bytes = Number.POSITIVE_INFINITY
  let files = 0
  for (const manifest of manifests) {
    const row = rowOf(manifest)
    bytes += row.bytes
    files += filesOf(row)
    if (bytes > policy.targetBytes || files > policy.filesMax) {
      groups.push([])
      bytes = row.bytes
      files = filesOf(row)
    }
    groups.at(-1)!.push(manifest)
  }
  return groups
}

async function mergeGroup(
  writer: ManifestWriter,
  group: readonly ManifestFile[],
  sequenceNumber: number,
): Promise<ManifestFile[]> {
  const members: OpenManifest[] = []
  for (const manifest of group) members.push(await openManifest(writer, manifest))
  return carryManifests(writer, members, new Set(), sequenceNumber)
}
