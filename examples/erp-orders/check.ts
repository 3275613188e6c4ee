/** Whether the website's database, the legacy folder and Freshet's own tables hold what the ERP has told, and nothing else. */
import { sql } from '../quickstart/http-client.ts'
import { table } from '../quickstart/report.ts'
import { agrees, compareRows, compareTexts, type Comparison } from './compare.ts'
import { streamNames, type Change, type StreamName, type TableName } from './entities.ts'
import { finalState } from './final-state.ts'
import { compareBatches, readBatches } from './legacy-folder.ts'
import { readSite } from './site.ts'

export interface Places {
  /** Address of Freshet. */
  url: string
  /** Address of the website's database; undefined: there is none. */
  site: string | undefined
  legacyFolder: string
}

export interface StreamReport {
  stream: StreamName
  changes: number
  /** Rows of the stream's table, and of the table of its records for the legacy system. */
  rows: Comparison
  legacyRows: Comparison
  /** Rows of the website's table; undefined where there is none. */
  site: Comparison | undefined
  files: number
  records: Comparison
}

/** Compares everything. @throws Error when one of the places cannot be read */
export async function check(places: Places, changes: readonly Change[]): Promise<StreamReport[]> {
  const expected = finalState(changes)
  const found = places.site === undefined ? undefined : await readSite(places.site)
  const reports: StreamReport[] = []
  for (const stream of streamNames) {
    const name = stream as TableName
    const ids = changes.filter((change) => change.stream === stream).map(({ event }) => event.change_id)
    reports.push({
      stream,
      changes: ids.length,
      rows: await compareIds(places.url, stream, ids),
      legacyRows: await compareIds(places.url, `legacy_${stream}`, ids),
      site: found === undefined || stream === 'estimates' ? undefined : compareRows(expected[name], found[name]),
      files: readBatches(places.legacyFolder, stream).files.length,
      records: compareBatches(places.legacyFolder, stream, changes),
    })
  }
  return reports
}

/** A row for each change, and none twice. */
async function compareIds(url: string, name: string, ids: readonly string[]): Promise<Comparison> {
  const rows = await sql(url, `SELECT change_id FROM ${name}`)
  return compareTexts(
    ids,
    rows.map((row) => String(row['change_id'])),
  )
}

/** What does not agree, in words; empty when everything does. */
export function problemsOf(reports: readonly StreamReport[]): string[] {
  return reports.flatMap(({ stream, rows, legacyRows, site, records }) => {
    const parts = { table: rows, 'legacy table': legacyRows, 'website table': site, 'legacy files': records }
    return Object.entries(parts).flatMap(([what, comparison]) =>
      comparison === undefined || agrees(comparison)
        ? []
        : [`${stream}, ${what}: ${describe(comparison)}; ${comparison.example ?? ''}`],
    )
  })
}

function describe({ expected, found, missing, unexpected, different }: Comparison): string {
  return `${found} of ${expected}, ${missing} missing, ${unexpected} too many, ${different} different`
}

function count(comparison: Comparison | undefined): string {
  if (comparison === undefined) return '-'
  return `${comparison.found}${agrees(comparison) ? '' : ' (!)'}`
}

/** A line a stream. */
export function reportTable(reports: readonly StreamReport[]): string {
  return table(
    ['stream', 'changes', 'rows', 'website rows', 'batches', 'records'],
    reports.map(({ stream, changes, rows, site, files, records }) => [
      stream,
      String(changes),
      count(rows),
      count(site),
      String(files),
      count(records),
    ]),
    { right: [1, 2, 3, 4, 5] },
  )
}
