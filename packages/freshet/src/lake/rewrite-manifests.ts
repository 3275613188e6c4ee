/**
 * Regroups manifests by partition, so that a query over one day reads that day's manifests only. Rows, files, log positions and the
 * ledger stay as they are; the snapshot is a `replace` without files.
 *
 * What is regrouped: of each partition spec whose partitions are integers, clusters of manifests whose partition ranges overlap, where a
 * large one does, or many small ones do. Others stay as they are, so a table in order is no commit, and one with some late files costs what
 * those partitions cost. The new ones end where a partition ends, unless one partition needs several, and at most the last is so small that
 * appends would merge it again (merge-manifests.ts).
 *
 * Entries keep their sequence numbers and whatever else they have. Crash points: as for every commit (snapshot-commit.ts). After a conflict
 * all is chosen anew from the winner's manifests; entries are carried from manifests, which never change, so nothing can be lost by it.
 */
import type { LoadedTable } from './catalog.ts'
import { currentSnapshot, snapshotById, type Snapshot } from './metadata.ts'
import type { ManifestFile, RawEntry } from './manifest.ts'
import {
  byFormat,
  carriedEntries,
  fieldNames,
  isIntegerSpec,
  openManifest,
  withSequenceNumbers,
  writeEntries,
  type ManifestWriter,
  type OpenManifest,
} from './manifest-writer.ts'
import { defaultMergePolicy, filesOf, isSmall, type MergePolicy } from './merge-manifests.ts'
import { currentManifests, nextSequenceNumber, nextSnapshot } from './next-snapshot.ts'
import type { PartitionSpec } from './partition.ts'
import { positionsOf } from './rewrite.ts'
import { commitInLoop, newSnapshotId, type Attempt, type CommitDeps } from './snapshot-commit.ts'
import { summaryOf } from './snapshot-summary.ts'

export interface RewriteManifestsOptions {
  /** Size and number of files that a manifest is filled up to at most. */
  policy?: MergePolicy
  /** Files whose entries one commit may write again, so that its memory is bounded. */
  filesMax?: number
  /** Further fields for the snapshot's summary. */
  summary?: Record<string, string>
}

interface Counts {
  /** Manifests that were written anew, and what they became. */
  replaced: number
  created: number
  /** Entries of files in them. */
  entries: number
}

export interface RewriteManifestsResult extends Counts {
  table: LoadedTable
  /** undefined when there was nothing to do. */
  snapshot: Snapshot | undefined
}

const filesMaxDefault = 100_000
/** Small manifests that may overlap with others before it is worth a commit. */
const smallOverlapsMax = 8

/** Commits the table's manifests in order of partition; nothing when they are. */
export async function rewriteManifests(
  deps: CommitDeps,
  table: LoadedTable,
  options: RewriteManifestsOptions = {},
): Promise<RewriteManifestsResult> {
  const snapshotId = newSnapshotId(table.metadata, deps.random)
  const policy = options.policy ?? deps.merge ?? defaultMergePolicy
  const writer = { store: deps.store, random: deps.random, snapshotId, written: [] }
  let counts: Counts = { replaced: 0, created: 0, entries: 0 }
  const { table: committed } = await commitInLoop(deps, {
    base: table,
    written: writer.written,
    isMade: (metadata) => snapshotById(metadata, snapshotId) !== undefined,
    attempt: async (base): Promise<Attempt | 'nothing'> => {
      const onBase = { ...writer, table: base }
      const manifests = await currentManifests(onBase)
      const groups = chooseManifests(base, manifests, policy, options.filesMax)
      if (groups.length === 0) {
        counts = { replaced: 0, created: 0, entries: 0 }
        return 'nothing'
      }
      const next = await regroup(onBase, manifests, groups, policy)
      ;({ counts } = next)
      return attemptOf(deps, onBase, next, options)
    },
  })
  return { table: committed, snapshot: snapshotById(committed.metadata, snapshotId), ...counts }
}

/** Manifests to be written anew together, all of one spec. */
export interface ManifestGroup {
  spec: PartitionSpec
  manifests: ManifestFile[]
}

/** A manifest's range of partitions, by the first partition field. Null goes before all others. */
interface Range {
  manifest: ManifestFile
  from: number
  to: number
}

/** The groups that are not in order. Of one that has more than `filesMax` files, those manifests that range widest. */
export function chooseManifests(
  { metadata }: LoadedTable,
  manifests: readonly ManifestFile[],
  policy: MergePolicy,
  filesMax = filesMaxDefault,
): ManifestGroup[] {
  const groups: ManifestGroup[] = []
  let left = filesMax
  for (const spec of metadata['partition-specs']) {
    if (!isIntegerSpec(spec) || spec.fields.length === 0) continue
    const ranges = manifests
      .filter(({ specId, content }) => specId === spec['spec-id'] && content === 0)
      .map(rangeOf)
      .filter((range) => range !== undefined)
    for (const cluster of clustersOf(ranges)) {
      if (isInOrder(cluster, policy)) continue
      const chosen: ManifestFile[] = []
      for (const { manifest } of cluster.toSorted((a, b) => b.to - b.from - (a.to - a.from))) {
        if (chosen.length > 1 && filesOf(manifest) > left) break
        left -= filesOf(manifest)
        chosen.push(manifest)
      }
      groups.push({ spec, manifests: chosen })
      if (left <= 0) return groups
    }
  }
  return groups
}

/** undefined where the bounds do not tell. */
function rangeOf(manifest: ManifestFile): Range | undefined {
  const summary = manifest.partitions?.[0]
  if (summary === undefined) return undefined
  const { lower, upper, containsNull } = summary
  const nulls = Number.MIN_SAFE_INTEGER
  if (lower === null || upper === null) return containsNull ? { manifest, from: nulls, to: nulls } : undefined
  if (lower.length !== 4 || upper.length !== 4) return undefined
  return { manifest, from: containsNull ? nulls : lower.readInt32LE(), to: upper.readInt32LE() }
}

/** Ranges that overlap, directly or by others, newest first. */
function clustersOf(ranges: readonly Range[]): Range[][] {
  const clusters: Range[][] = []
  let end = Number.NEGATIVE_INFINITY
  for (const range of ranges.toSorted((a, b) => a.from - b.from)) {
    if (range.from > end) clusters.push([])
    clusters.at(-1)!.push(range)
    end = Math.max(end, range.to)
  }
  return clusters.toReversed()
}

function isInOrder(cluster: readonly Range[], policy: MergePolicy): boolean {
  const [first] = cluster
  // One partition in several manifests cannot be cut any further; those that are small are merged by appends.
  if (cluster.every(({ from, to }) => from === first!.from && to === first!.from)) return true
  const small = cluster.filter(({ manifest }) => isSmall(manifest, policy))
  if (small.length > smallOverlapsMax) return false
  const large = cluster.filter(({ manifest }) => !isSmall(manifest, policy)).toSorted((a, b) => a.from - b.from)
  return large.every((range, index) => {
    const next = large[index + 1]
    return (
      next === undefined ||
      next.from > range.to ||
      (next.from === range.from && next.to === range.to && next.from === next.to)
    )
  })
}

interface Regrouped {
  manifests: ManifestFile[]
  counts: Counts
}

async function regroup(
  writer: ManifestWriter,
  manifests: readonly ManifestFile[],
  groups: readonly ManifestGroup[],
  policy: MergePolicy,
): Promise<Regrouped> {
  const sequenceNumber = nextSequenceNumber(writer.table.metadata)
  const gone = new Set<ManifestFile>()
  const created: ManifestFile[] = []
  let entries = 0
  for (const { spec, manifests: members } of groups) {
    const opened: OpenManifest[] = []
    for (const member of members) {
      gone.add(member)
      opened.push(await openManifest(writer, member))
    }
    for (const alike of byFormat(opened)) {
      const sorted = inOrder(
        spec,
        alike,
        alike.flatMap((manifest) => carriedEntries(writer, manifest)),
      )
      entries += sorted.length
      for (const chunk of cut(sorted, entriesMax(alike, policy))) {
        const written = chunk.map(({ entry }) => entry)
        const like = { ...alike[0].row, partitions: null }
        created.push(await writeEntries(writer, withSequenceNumbers(alike[0]), like, written, sequenceNumber))
      }
    }
  }
  const kept = manifests.filter((manifest) => !gone.has(manifest))
  return {
    manifests: [...kept, ...created.toReversed()],
    counts: { replaced: gone.size, created: created.length, entries },
  }
}

interface PlacedEntry {
  entry: RawEntry
  /** Value of the first partition field. */
  first: number | null
}

/** Entries by their partition values, null first, then by path. */
function inOrder(
  spec: PartitionSpec,
  [{ schema }]: readonly [OpenManifest, ...OpenManifest[]],
  entries: readonly RawEntry[],
): PlacedEntry[] {
  const names = fieldNames(schema)
  const places = spec.fields.map((field) => names.get(field['field-id']) ?? field.name)
  const valuesOf = ({ data_file: file }: RawEntry): (number | null)[] =>
    places.map((name) => (file.partition[name] ?? null) as number | null)
  return entries
    .map((entry) => ({ entry, values: valuesOf(entry) }))
    .toSorted((a, b) => {
      const index = a.values.findIndex((value, at) => value !== b.values[at])
      if (index >= 0) return (a.values[index] ?? -Infinity) - (b.values[index] ?? -Infinity)
      return a.entry.data_file.file_path < b.entry.data_file.file_path ? -1 : 1
    })
    .map(({ entry, values: [first = null] }) => ({ entry, first }))
}

function entriesMax(manifests: readonly OpenManifest[], policy: MergePolicy): number {
  const bytes = manifests.reduce((sum, { row }) => sum + row.bytes, 0)
  const entries = manifests.reduce((sum, manifest) => sum + manifest.entries.length, 0)
  return Math.max(1, Math.min(policy.filesMax, Math.floor((policy.targetBytes * entries) / Math.max(1, bytes))))
}

/** Cuts entries between partitions, into pieces of half of `max` to `max`; the partitions that are larger are cut evenly. */
function cut(entries: readonly PlacedEntry[], max: number): PlacedEntry[][] {
  const pieces: PlacedEntry[][] = []
  let open: PlacedEntry[] = []
  const close = (): void => {
    if (open.length > 0) pieces.push(open)
    open = []
  }
  for (const partition of Map.groupBy(entries, ({ first }) => first).values()) {
    if (open.length + partition.length > max) close()
    if (partition.length > max) {
      const count = Math.ceil(partition.length / max)
      for (let piece = 0; piece < count; piece++) {
        const from = Math.floor((piece * partition.length) / count)
        pieces.push(partition.slice(from, Math.floor(((piece + 1) * partition.length) / count)))
      }
      continue
    }
    open.push(...partition)
    if (open.length * 2 >= max) close()
  }
  close()
  return pieces
}

function attemptOf(
  deps: CommitDeps,
  writer: ManifestWriter,
  { manifests, counts }: Regrouped,
  options: RewriteManifestsOptions,
): Promise<Attempt> {
  const { metadata } = writer.table
  const parent = currentSnapshot(metadata)
  const positions = positionsOf(metadata)
  const extra = {
    'manifests-created': String(counts.created),
    'manifests-replaced': String(counts.replaced),
    'manifests-kept': String(manifests.length - counts.created),
    'entries-processed': String(counts.entries),
    ...options.summary,
  }
  const summary = summaryOf({ operation: 'replace', parent, added: [], removed: [], positions, extra })
  return nextSnapshot(deps, writer, { metadata, parent, manifests, summary, positions })
}
