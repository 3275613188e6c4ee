/** What has to hold after every round, and when all is over. Each check throws with what it found. */
import { Refused, rows, query, serverStatus, streamStatus, type Row } from '../e2e/support/api.ts'
import { segmentsOf } from '../e2e/support/log-files.ts'
import type { Producers } from '../e2e/support/producers.ts'
import type { Scene } from '../e2e/support/scene.ts'
import { until } from '../e2e/support/until.ts'
import { streamNames, type Load } from './load.ts'

/** I7: what the log has let go is below the checkpoint. Bases are read first: checkpoints only grow. */
export async function checkTrim({ url, dataDir }: Scene): Promise<void> {
  const bases = streamNames.map((name) => ({ name, base: segmentsOf(dataDir, name)[0]?.base ?? 0n }))
  for (const { name, base } of bases) {
    // Under load the engine may take longer than the status waits for it.
    let checkpoint: string | undefined
    await until(`the engine tells of ${name}`, async () => {
      checkpoint = (await streamStatus(url, name).catch(() => undefined))?.checkpoint
      return checkpoint !== undefined
    })
    if (base > BigInt(checkpoint!)) {
      throw new Error(`I7: the log of ${name} begins at ${base}, beyond its checkpoint ${checkpoint!}`)
    }
  }
}

/** I3: positions and rows of the snapshots only grow, and the files hold as many rows as the newest one says. */
export async function checkSnapshots(url: string): Promise<void> {
  for (const stream of streamNames) {
    // Between two queries there may be a commit, but not for ever.
    let found = ''
    await until(`I3: the files of ${stream} hold what its newest snapshot says`, async () => {
      const snapshots = await rows(
        url,
        `SELECT json_extract_string(positions, '$."0"')::BIGINT::VARCHAR AS position, total_rows
         FROM freshet.snapshots WHERE stream = '${stream}' ORDER BY total_rows, position::BIGINT`,
      )
      const [files] = await rows(url, `SELECT sum(rows)::BIGINT AS n FROM freshet.files WHERE stream = '${stream}'`)
      const positions = snapshots.map(({ position }) => Number(position))
      if (positions.some((position, index) => index > 0 && position < positions[index - 1]!)) {
        throw new Error(`I3: the snapshots of ${stream} do not go forward: ${JSON.stringify(snapshots)}`)
      }
      const total = snapshots.at(-1)?.['total_rows'] ?? 0
      found = `${JSON.stringify(total)} rows, files ${JSON.stringify(files?.['n'])}`
      return (files?.['n'] ?? 0) === total
    }).catch((error: Error) => {
      throw new Error(`${error.message}: ${found}`)
    })
  }
}

/** I6: every row balances, at every moment. */
export async function checkBalance(url: string): Promise<Row[]> {
  const sql = `SELECT stream, sum(accepted)::BIGINT AS accepted, sum(committed)::BIGINT AS committed,
    sum(deduplicated)::BIGINT AS deduplicated, sum(dead_lettered)::BIGINT AS dead, sum(in_flight)::BIGINT AS in_flight,
    count_if(accepted <> committed + deduplicated + dead_lettered + in_flight)::INT AS unbalanced
    FROM freshet.ledger GROUP BY stream ORDER BY stream`
  const answer = await query(url, sql)
  if (answer.status !== 200) throw new Refused(sql, answer)
  const found = answer.body['rows'] as Row[]
  for (const row of found)
    if (row['unbalanced'] !== 0) throw new Error(`I6: the ledger does not balance: ${JSON.stringify(row)}`)
  return found
}

/** I1, I5, I6: when all is committed, exactly what was acknowledged is there, and the ledger's totals are the producers' own counts. */
export async function checkEnd({ url }: Scene, load: Load): Promise<void> {
  for (const [stream, producers] of load.producers) {
    await until(`all of ${stream} is committed`, async () => {
      const found = (await serverStatus(url)).streams.find(({ name }) => name === stream)
      return found !== undefined && found.checkpoint === found.logEnd && found.hotRows === 0
    })
    await checkIds(url, stream, producers)
    const ledger = (await checkBalance(url)).find((row) => row['stream'] === stream)
    if (ledger === undefined) throw new Error(`I6: ${stream} is not in the ledger`)
    checkTotals(stream, producers, ledger)
  }
}

async function checkIds(url: string, stream: string, { acknowledged }: Producers): Promise<void> {
  // The producers' own ids: `plain` has no id field, and the gateway gives its events others.
  const stored = await rows(url, `SELECT id FROM ${stream}`)
  const found = new Set(stored.map(({ id }) => String(id)))
  const missing = [...acknowledged].filter((id) => !found.has(id))
  if (missing.length > 0)
    throw new Error(`I1: ${missing.length} events of ${stream} are missing: ${missing.slice(0, 10).join(', ')}`)
  if (stored.length !== found.size) throw new Error(`I5: ${stream} has ${stored.length} rows and ${found.size} ids`)
  const foreign = [...found].filter((id) => !acknowledged.has(id))
  if (foreign.length > 0) throw new Error(`${stream} has events that nobody sent: ${foreign.slice(0, 10).join(', ')}`)
}

function checkTotals(stream: string, producers: Producers, ledger: Row): void {
  const [accepted, committed, deduplicated, dead, inFlight] = [
    'accepted',
    'committed',
    'deduplicated',
    'dead',
    'in_flight',
  ].map((name) => Number(ledger[name])) as [number, number, number, number, number]
  const told = `I6: the ledger of ${stream} is ${JSON.stringify(ledger)}`
  const sent = producers.acknowledged.size
  if (committed !== sent) throw new Error(`${told}, and ${sent} different events were acknowledged`)
  if (dead !== 0 || inFlight !== 0) throw new Error(`${told}, and none is dead or on its way`)
  if (deduplicated + committed !== accepted) throw new Error(told)
  const most = producers.accepted + producers.unanswered
  if (accepted < producers.accepted || accepted > most)
    throw new Error(`${told}, and answers accepted ${producers.accepted} to ${most}`)
}
