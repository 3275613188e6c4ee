/** Buckets of time as ranges: which files and rows of the source a rollup's buckets are computed from. */
import type { ScanFile } from '../../lake/scan.ts'

/** Microseconds since 1970, `to` exclusive. */
export interface BucketRange {
  from: bigint
  to: bigint
}

/** Buckets that follow on each other as one range. @param buckets each once, in order of time */
export function joinBuckets(buckets: Iterable<BucketRange>): BucketRange[] {
  const joined: BucketRange[] = []
  for (const { from, to } of buckets) {
    const last = joined.at(-1)
    if (last !== undefined && last.to >= from) last.to = to > last.to ? to : last.to
    else joined.push({ from, to })
  }
  return joined
}

/**
 * The files that may have rows of one of these ranges, by the bounds of their times; where a file has none, it may.
 * @param ranges in order of time, none of them overlapping
 */
export function filesIn<T extends Pick<ScanFile, 'eventTime'>>(
  files: readonly T[],
  ranges: readonly BucketRange[],
): T[] {
  return files.filter(({ eventTime: { lower, upper } }) => {
    const first = lower === undefined ? ranges[0] : ranges[firstBehind(ranges, lower)]
    return first !== undefined && (upper === undefined || first.from <= upper)
  })
}

/** The index of the first range that ends behind a time. */
function firstBehind(ranges: readonly BucketRange[], time: bigint): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (ranges[middle]!.to > time) high = middle
    else low = middle + 1
  }
  return low
}
