import type { PartitionCheck } from '../../log/file/verify-partition.ts'
import type { LedgerCounts } from '../../lake/ledger-rows.ts'
import type { Finding } from '../../runtime/finding.ts'

/** What `freshet verify` found, as `--json` prints it. Positions and counts are numbers: they stay below 2^53. */
export interface VerifyReport {
  dataDir: string
  /** Version of the data folder's layout; null where it cannot be read. */
  format: number | null
  deep: boolean
  /** True when there is no problem. */
  ok: boolean
  seconds: number
  streams: StreamReport[]
  buckets: BucketReport[]
  problems: Finding[]
  notes: Finding[]
}

export interface StreamReport {
  stream: string
  /** null for a stream without a log. */
  log: LogReport | null
  /** null for a stream without a table, or one that cannot be loaded. */
  table: TableReport | null
  /** null for a table without a ledger, or one that cannot be read. */
  ledger: LedgerReport | null
  /** Accepted events that the table does not hold yet; null without a log. */
  inFlight: { events: number; bytes: number } | null
}

export interface BucketReport {
  bucket: string
  objects: number
  /** Changes that the index has: objects, and what they took the place of. */
  versions: number
  /** Plain bytes of the objects. */
  bytes: number
  /** Files of bytes, each once however many objects have them. */
  blobs: number
  storedBytes: number
  /** Uploads that are not completed. */
  uploads: number
  /** Blobs and parts whose master key is not at hand: only their checksums were checked. */
  withoutKey: number
  /** Blobs that no object has. */
  orphans: { files: number; bytes: number }
}

type LogReport = Omit<PartitionCheck, 'findings'>

interface TableReport {
  version: number
  snapshots: number
  manifests: number
  /** Data files of all kept snapshots. */
  files: number
  /** Rows and bytes of the current snapshot. */
  rows: number
  bytes: number
  /** Up to here the log is in the table. */
  position: number
  /** Files in the table's folder that nothing refers to. */
  orphans: { files: number; bytes: number }
}

/** `accepted` = `committed` + `deduplicated` + `deadLettered` + the stream's `inFlight.events`. */
interface LedgerReport extends LedgerCounts {
  /** One for each source and hour. */
  rows: number
}

/** What it is doing, for a line of progress. */
export interface VerifyProgress {
  /** Or the bucket, of `objects`. */
  stream: string
  part: 'log' | 'table' | 'ledger' | 'objects'
  /** Bytes checked so far, in all. */
  bytes: number
}
