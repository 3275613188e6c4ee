/**
 * Decides which data files to write anew, and why the others are left alone. Pure: it knows sizes and times, and opens nothing.
 *
 * In each partition, small files are merged, files much larger than the target are split, and files that delete files apply to are
 * written without the deleted rows.
 *
 * Write amplification is bounded, so that a stream loaded every minute for years is not rewritten over and over. Files are merged
 * smallest first, and only when either
 * - the result is at least `growth` (quiet partition: `quietGrowth`) times as large as the largest file that goes into it, or
 * - the result is full, at least `fullShare` of the target size: it is not merged again.
 * So each time a row is written again its file has grown by that factor, until it is full. With files of `s` bytes as they are loaded
 * and a target of `t`, merging writes a row at most 1 + ceil(log2(t / s)) times more, and about log4(t / s) times in a partition that is
 * loaded steadily (where merging shrinks the bytes to a share `c`, to the base of 2c and 4c). What is left unmerged are small files of which each is larger than a third of all smaller ones together, at most
 * 3.5 ln(t / s) of them; in a quiet partition larger than all smaller ones together, at most log2(t / s).
 */

export interface CompactionPolicy {
  /** Size of the files to be made. */
  targetBytes: number
  /** Files that one group may read. */
  filesMax: number
}

/** A live data file whose rows all lie in one partition. */
export interface CandidateFile {
  /** As the table's metadata has it. */
  path: string
  bytes: number
  rows: number
  /** Value of the time partition. */
  partition: number
  /** How many delete files apply to it. */
  deletes: number
  /** When it was added, milliseconds since 1970; undefined for longer ago than anyone remembers. */
  addedMs: number | undefined
}

/** Files that are to be written anew, together. */
export interface RewriteGroup {
  kind: 'merge' | 'split' | 'apply deletes'
  partition: number
  files: readonly CandidateFile[]
  bytes: number
  rows: number
  /** How many files are to come of it. */
  outputs: number
  /** In words, for people. */
  reason: string
}

/** A partition in which nothing is to be done. */
interface LeftAlone {
  partition: number
  files: number
  bytes: number
  rows: number
  reason: string
}

export interface CompactionPlan {
  /** In the order in which they should be done: newest partitions first. */
  groups: readonly RewriteGroup[]
  skipped: readonly LeftAlone[]
}

/** A file of at least this share of the target is left alone. */
export const fullShare = 0.6
/** A file of more than this many targets is split. */
const oversized = 2
const growth = 4
const quietGrowth = 2
/** A partition that got no file for this long is quiet. */
export const quietAfterMs = 60 * 60 * 1000

export function planCompaction(
  files: readonly CandidateFile[],
  policy: CompactionPolicy,
  nowMs: number,
): CompactionPlan {
  const groups: RewriteGroup[] = []
  const skipped: LeftAlone[] = []
  const partitions = [...Map.groupBy(files, ({ partition }) => partition)].toSorted(([a], [b]) => b - a)
  for (const [partition, members] of partitions) {
    const found = planPartition(members, policy, nowMs)
    groups.push(...found)
    if (found.length === 0) skipped.push({ partition, ...sums(members), reason: whyNothing(members, policy, nowMs) })
  }
  return { groups, skipped }
}

function planPartition(members: readonly CandidateFile[], policy: CompactionPolicy, nowMs: number): RewriteGroup[] {
  const { targetBytes } = policy
  const groups: RewriteGroup[] = []
  const group = (kind: RewriteGroup['kind'], files: readonly CandidateFile[], reason: string): void => {
    const { bytes, rows } = sums(files)
    const outputs = Math.max(1, Math.round(bytes / targetBytes))
    groups.push({ kind, partition: files[0]!.partition, files, bytes, rows, outputs, reason })
  }
  const large = members.filter(({ bytes }) => bytes > oversized * targetBytes)
  for (const file of large) {
    const why = `${megabytes(file.bytes)} in one file, target ${megabytes(targetBytes)}`
    if (file.rows > 1) group('split', [file], why)
  }
  const merges = mergesOf(smallFiles(members, policy), policy, growthAt(members, nowMs))
  for (const files of merges) group('merge', files, `${files.length} small files, ${megabytes(sums(files).bytes)}`)
  const taken = new Set(groups.flatMap(({ files }) => files))
  for (const file of members) {
    if (file.deletes === 0 || taken.has(file)) continue
    group(
      'apply deletes',
      [file],
      `${file.deletes} delete ${file.deletes === 1 ? 'file applies' : 'files apply'} to it`,
    )
  }
  return groups
}

/** Smallest first. */
function smallFiles(members: readonly CandidateFile[], { targetBytes }: CompactionPolicy): CandidateFile[] {
  return members
    .filter(({ bytes }) => bytes < fullShare * targetBytes)
    .toSorted((a, b) => a.bytes - b.bytes || (a.path < b.path ? -1 : 1))
}

/** The merges that are worth it among small files, smallest first. */
function mergesOf(
  small: readonly CandidateFile[],
  { targetBytes, filesMax }: CompactionPolicy,
  growsBy: number,
): CandidateFile[][] {
  const merges: CandidateFile[][] = []
  let from = 0
  while (from < small.length - 1) {
    let sum = small[from]!.bytes
    let end = from
    for (let at = from + 1; at < small.length && at - from < filesMax && sum < fullShare * targetBytes; at++) {
      sum += small[at]!.bytes
      if (sum >= growsBy * small[at]!.bytes || sum >= fullShare * targetBytes) end = at
    }
    if (end === from) return merges
    merges.push(small.slice(from, end + 1))
    from = end + 1
  }
  return merges
}

function growthAt(members: readonly CandidateFile[], nowMs: number): number {
  const newest = members.reduce(
    (latest, { addedMs }) => Math.max(latest, addedMs ?? Number.NEGATIVE_INFINITY),
    -Infinity,
  )
  return nowMs - newest > quietAfterMs ? quietGrowth : growth
}

function whyNothing(members: readonly CandidateFile[], policy: CompactionPolicy, nowMs: number): string {
  const small = smallFiles(members, policy)
  const others = members.length - small.length
  if (small.length === 0) return members.length === 1 ? 'already at target size' : 'all files are at target size'
  const beside = others === 0 ? '' : ` beside ${others} at target size`
  if (small.length === 1) return `only one small file${beside}`
  const { bytes } = sums(small)
  const largest = small.at(-1)!.bytes
  const wait = growthAt(members, nowMs) === growth ? 'waits for more' : 'that would be written again for little'
  return `${small.length} small files${beside}, ${megabytes(bytes)}, of which ${megabytes(largest)} in one: ${wait}`
}

function sums(files: readonly CandidateFile[]): { files: number; bytes: number; rows: number } {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  return { files: files.length, bytes, rows: files.reduce((sum, file) => sum + file.rows, 0) }
}

/** Bytes for people. */
export function megabytes(bytes: number): string {
  if (bytes >= 100 * 1024 * 1024) return `${Math.round(bytes / (1024 * 1024))} MiB`
  if (bytes >= 1024 * 1024) return `${(bytes / (1024 * 1024)).toFixed(1)} MiB`
  return bytes >= 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${bytes} bytes`
}
