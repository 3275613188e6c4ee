/**
 * Looks for event ids that a table has twice (I5), by partition where an honest repeat must be in the same one, else in the table as
 * a whole. Memory is bounded: ids are taken by hash in passes of a few million.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { CheckedFile } from '../../lake/verify-table.ts'
import type { Finding } from '../../runtime/finding.ts'
import type { Scope } from '../dedup/scan.ts'
import { idFile } from '../id-source.ts'
import { literal } from '../sql-text.ts'

export interface DuplicatesOptions {
  connection: DuckDBConnection
  lakeDir: string
  stream: string
  /** Of the current snapshot. */
  files: readonly CheckedFile[]
  scope: Scope
  /** Told how many bytes of files were checked since the last call; also between passes. */
  onBytes: (bytes: number) => void
  /** Ids taken in one pass; tests take fewer. */
  idsAtOnce?: number
}

const idsAtOnceDefault = 8_000_000
const shownMax = 5

/** A finding for each partition that has an id twice. */
export async function findDuplicates(options: DuplicatesOptions): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const files of groups(options)) {
    findings.push(...(await findInGroup(options, files)))
    options.onBytes(files.reduce((sum, { bytes }) => sum + bytes, 0))
  }
  return findings
}

/** Files that could share an id; all of them where one is partitioned in another way than the scope says. */
function groups({ files, scope }: DuplicatesOptions): CheckedFile[][] {
  if (scope === 'table') return files.length === 0 ? [] : [[...files]]
  const byPartition = new Map<number, CheckedFile[]>()
  for (const file of files) {
    const { partition } = idFile(file, scope)
    if (partition === undefined) return [[...files]]
    byPartition.set(partition, [...(byPartition.get(partition) ?? []), file])
  }
  return [...byPartition.values()]
}

async function findInGroup(options: DuplicatesOptions, files: readonly CheckedFile[]): Promise<Finding[]> {
  const { connection, lakeDir, stream, scope, idsAtOnce = idsAtOnceDefault } = options
  const rows = files.reduce((sum, { recordCount }) => sum + recordCount, 0)
  const passes = Math.max(1, Math.ceil(rows / idsAtOnce))
  const source = `read_parquet([${files.map(({ key }) => literal(join(lakeDir, key))).join(', ')}], filename = true)`
  const bucket = scope === 'table' ? '' : `, date_trunc('${scope}', _event_time)`
  let ids = 0
  let extra = 0
  const shown: string[] = []
  for (let pass = 0; pass < passes; pass++) {
    options.onBytes(0)
    const mine = passes === 1 ? '' : ` WHERE hash(_event_id) % ${passes} = ${pass}`
    // Whole numbers are counted several times as fast as texts; ids with one hash are then told apart.
    const shared = `SELECT hash(_event_id) AS h FROM ${source}${mine} GROUP BY h HAVING count(*) > 1`
    const suspects = await connection.runAndReadAll(`SELECT count(*) FROM (${shared})`)
    if (Number(suspects.getRows()[0]![0]) === 0) continue
    const twice =
      `SELECT _event_id, count(*) AS n FROM ${source} WHERE hash(_event_id) IN (${shared}) ` +
      `GROUP BY _event_id${bucket} HAVING count(*) > 1`
    const result = await connection.runAndReadAll(
      `SELECT count(*), coalesce(sum(n - 1), 0), min(_event_id, ${shownMax}) FROM (${twice})`,
    )
    const [row] = result.getRowsJson() as unknown as [[string, string, string[] | null]]
    ids += Number(row[0])
    extra += Number(row[1])
    shown.push(...(row[2] ?? []))
  }
  if (ids === 0) return []
  const examples = shown.slice(0, shownMax)
  const where = await connection.runAndReadAll(
    `SELECT DISTINCT filename FROM ${source} WHERE _event_id IN (${examples.map(literal).join(', ')}) ORDER BY 1 LIMIT ${shownMax}`,
  )
  const places = where.getRows().map(([path]) => String(path))
  const what = `${stream} has event ids more than once (${ids} of them, ${extra} rows too many): ${examples.join(', ')}${ids > examples.length ? ', ...' : ''} in ${places.join(', ')}.`
  const mend =
    'Another writer may have added rows: roll the table back to the snapshot before it, or delete the extra rows with that engine.'
  return [{ severity: 'problem', check: 'duplicates', stream, file: places[0]!, what, mend }]
}
