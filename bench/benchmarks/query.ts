import { isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkRows } from '../harness/committed.ts'
import { endToEndRun } from '../harness/end-to-end-run.ts'
import { waitFor } from '../../examples/quickstart/server-process.ts'
import type { Lab } from '../harness/lab.ts'
import { queries } from '../harness/queries.ts'
import type { Result } from '../harness/result.ts'
import type { SqlClient } from '../harness/sql-client.ts'
import { median, rounded, sum } from '../harness/statistics.ts'

const ratioGoal = 1.2
const hotShape = { events: 500, overlap: 0 }
const hotBatches = 40
const visibleWithinMs = 60_000

/** Five analytical queries over snapshot and tail, against the same SQL in bare DuckDB over the same Parquet files. */
export async function query(lab: Lab): Promise<Result> {
  const { rows: committed, dataDir } = await endToEndRun(lab)
  const rounds = lab.quick ? 5 : 9
  const server = await lab.startWholeServer({ config: 'holding', dataDir })
  const total = await addHotRows(lab, server.sql, server.port, committed)
  await checkRows(server.sql, lab.corpus, total)
  const bare = lab.startDuckDb()
  const files = await dataFiles(server.sql, dataDir)
  await bare.run({ work: 'open', files })
  const perQuery: Record<string, { ms: number; bareMs: number; ratio: number }> = {}
  for (const [name, text] of Object.entries(queries)) {
    const times: Record<'ours' | 'bare', number[]> = { ours: [], bare: [] }
    for (let round = 0; round <= rounds; round++) {
      const startedAt = performance.now()
      await server.sql.query(text)
      const ours = performance.now() - startedAt
      const { ms } = await bare.run({ work: 'query', sql: text })
      // The first round warms both up.
      if (round === 0) continue
      times.ours.push(ours)
      times.bare.push(ms)
    }
    const [ms, bareMs] = [median(times.ours), median(times.bare)]
    perQuery[name] = { ms: rounded(ms), bareMs: rounded(bareMs), ratio: rounded(ms / bareMs) }
    lab.say(`${name}: ${rounded(ms)} ms, bare DuckDB ${rounded(bareMs)} ms`)
  }
  const hot = await server.sql.numbers<'hot_rows'>(`select hot_rows from freshet.streams where name = 'trades'`)
  if (hot.hot_rows !== total - committed)
    throw new Error(`${total - committed} rows should be hot, and ${hot.hot_rows} are`)
  await lab.close()
  const value = sum(Object.values(perQuery).map(({ ms }) => ms))
  const limit = sum(Object.values(perQuery).map(({ bareMs }) => bareMs))
  const ratio = value / limit
  return {
    name: 'query',
    value,
    unit: 'ms, five queries',
    limit: { name: 'bare DuckDB on the same files', value: limit },
    ratio,
    goal: { text: `ratio at most ${ratioGoal}`, met: ratio <= ratioGoal },
    details: { rows: total, hotRows: hot.hot_rows, files: files.length, queries: perQuery },
  }
}

/** Posts a few rows that stay hot. @returns the rows of the table with them */
async function addHotRows(lab: Lab, sql: SqlClient, port: number, committed: number): Promise<number> {
  const generator = lab.startGenerator()
  const load = { port, connections: 4, shape: hotShape, first: committed, batches: hotBatches, producer: 'bench-hot' }
  const { distinct } = await generator.run(load)
  await generator.stop()
  const total = committed + distinct
  await waitFor('the hot rows', visibleWithinMs, async () => {
    const { rows } = await sql.numbers<'rows'>('select count(*) as rows from trades')
    return rows === total
  })
  return total
}

async function dataFiles(sql: SqlClient, dataDir: string): Promise<string[]> {
  const rows = await sql.query(`select path from freshet.files where stream = 'trades'`)
  return rows.map((row) => {
    const path = String(row['path'])
    if (path.startsWith('file:')) return fileURLToPath(path)
    return isAbsolute(path) ? path : join(dataDir, 'lake', path)
  })
}
