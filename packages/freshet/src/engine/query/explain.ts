/** What EXPLAIN says of the files behind a statement, in rows of its own. */
import type { StreamScan } from './stream-views.ts'

/** Rows of the two columns that EXPLAIN has; one for each stream, and each moment of it, that the statement reads. */
export function explainRows(scans: readonly StreamScan[]): [string, string][] {
  return scans.map((scan) => ['files', textOf(scan)])
}

function textOf(scan: StreamScan): string {
  const { stream, snapshotId, files, filesTotal, bytes, bytesTotal, manifestsRead, manifestsTotal } = scan
  const name = snapshotId === undefined ? stream : `${stream} as of snapshot ${snapshotId}`
  const ofBytes = bytesTotal === undefined ? '' : ` of ${bytesTotal}`
  return `${name}: ${files} of ${filesTotal} files, ${bytes}${ofBytes} bytes, ${manifestsRead} of ${manifestsTotal} manifests\n`
}
