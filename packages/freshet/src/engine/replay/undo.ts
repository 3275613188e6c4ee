/** Undoes what one round of a replay did to its stream, partition by partition. */
import { snapshotById } from '../../lake/metadata.ts'
import { partitionText } from '../../lake/partition.ts'
import { planScan, type ScanFile } from '../../lake/scan.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { identifier } from '../sql-text.ts'
import { knownColumns } from '../stream-view.ts'
import { shownRows } from './changes.ts'
import { differs, findDifference } from './difference.ts'
import type { StreamReplayRecord } from './record.ts'
import { swapRows } from './swap.ts'
import type { ReplayDeps, ReplayedStream } from './replayed-stream.ts'
import { undoKey } from './summary.ts'

export interface UndoneRound {
  /** Tags. */
  before: string
  after: string
  signal: AbortSignal
}

export async function undoRound(
  deps: ReplayDeps,
  stream: ReplayedStream,
  record: StreamReplayRecord,
  { before, after, signal }: UndoneRound,
): Promise<void> {
  const { kept } = stream
  const own = new Set(record.commits.map(({ snapshotId }) => BigInt(snapshotId)))
  const [left, made] = [await filesOf(deps, stream, before), await filesOf(deps, stream, after)]
  const leftPaths = new Set(left.map(({ path }) => path))
  const madePaths = new Set(made.map(({ path }) => path))
  const taken = left.filter(({ path }) => !madePaths.has(path))
  // What others have added meanwhile is not the replay's.
  const put = made.filter(({ path, snapshotId }) => !leftPaths.has(path) && own.has(snapshotId))
  const keys = new Set([...taken, ...put].map(({ partitionKey }) => partitionKey))
  await deps.database.with(async (connection) => {
    for (const key of keys) {
      signal.throwIfAborted()
      const table = kept.table!
      const files = kept.scanned!.files
      const columns = knownColumns(table)
      const inPart = (all: readonly ScanFile[]): ScanFile[] => all.filter(({ partitionKey }) => partitionKey === key)
      const rowsOf = (some: readonly ScanFile[]): Promise<string> =>
        shownRows(connection, { table, lakeDir: deps.lakeDir, columns }, some)
      const formerly = await rowsOf(inPart(taken))
      const swapped = await findDifference(connection, 'replay_swapped', {
        before: await rowsOf(inPart(put)),
        after: formerly,
        columns,
      })
      const among = (rows: string): string =>
        `SELECT * FROM (${rows}) WHERE _event_id IN (SELECT id FROM ${identifier(swapped.table)})`
      const present = inPart(files)
      const difference = await findDifference(connection, 'replay_undone', {
        before: among(await rowsOf(present)),
        after: among(formerly),
        columns,
      })
      if (differs(difference)) {
        const partitions = partitionName(inPart([...taken, ...put])[0]!)
        const parts = [{ difference, files: present }]
        const request = { key: undoKey, id: record.id, partitions, parts, table, files }
        record.undone.push(await swapRows(connection, deps, kept, request))
        await deps.save(record)
      }
      for (const name of ['replay_swapped', 'replay_undone']) await connection.run(`DROP TABLE ${identifier(name)}`)
    }
  })
}

async function filesOf(deps: ReplayDeps, { kept }: ReplayedStream, tag: string): Promise<readonly ScanFile[]> {
  const { metadata, name } = kept.table!
  const snapshot = snapshotById(metadata, metadata.refs[tag]?.['snapshot-id'])
  if (snapshot !== undefined) return (await planScan(deps.store, kept.table!, { snapshot })).files
  throw new FreshetError('replay_refused', `The former rows of ${name} are kept no more: the tag ${tag} is gone.`, {
    hint: 'Tags of replays go by age, and an erasure drops them. Replay the stream with the former code instead.',
  })
}

function partitionName({ partition, partitionValue, key }: ScanFile): string {
  return partition === undefined || partitionValue === null ? key : partitionText(partition.unit, partitionValue)
}
