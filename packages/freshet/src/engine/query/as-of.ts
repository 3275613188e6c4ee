/** Which snapshot of a table shows it as it was: by its id, by a tag, or at a time. */
import type { DuckDBConnection } from '@duckdb/node-api'
import type { LoadedTable } from '../../lake/catalog.ts'
import { snapshotById, type Snapshot, type TableMetadata } from '../../lake/metadata.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { AtClause } from './at-clause.ts'
import { isConstant, textsOf, valuesOf } from './constants.ts'
import type { Parameters } from './parameters.ts'

/** A moment in a table's history. */
export type Moment = { version: string } | { atMicros: bigint }

/** What an AT clause asks for. @throws FreshetError `invalid_sql` */
export async function momentOf(
  connection: DuckDBConnection,
  { unit, expression }: AtClause,
  parameters: Parameters,
): Promise<Moment> {
  if (!isConstant(expression, parameters)) {
    throw new FreshetError('invalid_sql', `AT (${unit} => ...) takes a constant.`, {
      hint: 'Write a snapshot id or a tag, AT (VERSION => 123), or a time, AT (TIMESTAMP => now() - INTERVAL 1 DAY).',
    })
  }
  const [text = ''] = await textsOf(connection, [expression], parameters)
  const wanted = unit === 'VERSION' ? `CAST(${text} AS VARCHAR)` : `epoch_us(CAST(${text} AS TIMESTAMPTZ))`
  const [value] = (await valuesOf(connection, [`TRY(${wanted})`])) ?? []
  if (typeof value === 'string') return { version: value }
  if (typeof value === 'bigint') return { atMicros: value }
  throw new FreshetError(
    'invalid_sql',
    `AT (${unit} => ${text}) names no ${unit === 'VERSION' ? 'snapshot' : 'time'}.`,
    {
      hint: 'SELECT snapshot_id, committed_at FROM freshet.snapshots lists the snapshots.',
    },
  )
}

/** What the text of an `asOf` means for a table: a snapshot's id or a tag of it, else a time. @throws FreshetError `invalid_request` */
export async function momentIn(connection: DuckDBConnection, text: string, { metadata }: LoadedTable): Promise<Moment> {
  if (/^\d+$/.test(text) || metadata.refs[text] !== undefined) return { version: text }
  const found = await connection.runAndReadAll('SELECT epoch_us(TRY_CAST(CAST($1 AS VARCHAR) AS TIMESTAMPTZ))', [text])
  const micros = found.getRows()[0]![0]
  if (typeof micros === 'bigint') return { atMicros: micros }
  throw new FreshetError('invalid_request', `"asOf" is ${JSON.stringify(text)}: no time, snapshot id, or tag.`, {
    hint: 'For example 2026-11-20T09:30:00Z; freshet.snapshots lists ids and tags.',
  })
}

/** The snapshot of a table at a moment. @throws FreshetError `unknown_snapshot` */
export function snapshotAt({ name, metadata }: LoadedTable, moment: Moment): Snapshot {
  if ('version' in moment) return byVersion(name, metadata, moment.version)
  const ms = floorMs(moment.atMicros)
  const entry = metadata['snapshot-log'].findLast((candidate) => BigInt(candidate['timestamp-ms']) <= ms)
  const found = entry && snapshotById(metadata, entry['snapshot-id'])
  if (found !== undefined) return found
  const time = textOf(ms)
  throw unknown(
    entry === undefined
      ? `The table ${name} had no snapshot at ${time}, or it has expired.`
      : `The snapshot of ${name} at ${time} has expired.`,
    metadata,
  )
}

function byVersion(name: string, metadata: TableMetadata, version: string): Snapshot {
  const ref = metadata.refs[version]
  const id = /^\d{1,19}$/.test(version) ? BigInt(version) : undefined
  const found = snapshotById(metadata, id) ?? snapshotById(metadata, ref?.['snapshot-id'])
  if (found !== undefined) return found
  throw unknown(
    id === undefined
      ? `The table ${name} has no tag ${JSON.stringify(version.slice(0, 100))}.`
      : `The table ${name} has no snapshot ${version}: it has expired, or there was none.`,
    metadata,
  )
}

function unknown(message: string, { snapshots, refs }: TableMetadata): FreshetError {
  const tags = Object.keys(refs).filter((name) => refs[name]!.type === 'tag')
  const oldest = snapshots.reduce<Snapshot | undefined>(
    (first, snapshot) => (first && first['timestamp-ms'] <= snapshot['timestamp-ms'] ? first : snapshot),
    undefined,
  )
  const known =
    oldest === undefined
      ? 'It has none yet.'
      : `The oldest is ${oldest['snapshot-id']}, of ${textOf(BigInt(oldest['timestamp-ms']))}; freshet.snapshots lists all.`
  const tagged = tags.length === 0 ? '' : ` Tags: ${tags.slice(0, 10).join(', ')}.`
  return new FreshetError('unknown_snapshot', message, { hint: known + tagged })
}

function floorMs(micros: bigint): bigint {
  return micros / 1000n - (micros % 1000n < 0n ? 1n : 0n)
}

function textOf(ms: bigint): string {
  const date = new Date(Number(ms))
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toISOString()
}
