/** How an erasure looks through the file log. */
import type { SearchLog } from '../engine/erasure/search.ts'
import { searchPartition } from '../log/file/search-partition.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'

const partition = 0

export function logSearch(logDir: string, fileSystem = nodeFileSystem): SearchLog {
  return async ({ stream, needles, untilMs, position }) => {
    const options = { fileSystem, logDir, stream, partition, needles, untilMs, position: Number(position) }
    const { files, bytes, found, below, later, marks } = await searchPartition(options)
    const explained = [
      ...(later > 0 ? [`${later} batches that came after the request`] : []),
      ...marks.map((path) => `${path}: the name of a producer or an Idempotency-Key`),
    ]
    const matches = [...found, ...below.map((path) => `${path}: not trimmed yet`)]
    return [{ place: `log of ${stream}`, files, bytes, matches, explained }]
  }
}
