import { cpSync } from 'node:fs'
import { checkRows, untilCommitted } from '../harness/committed.ts'
import { compactingShare, ConstantCompaction } from '../harness/constant-compaction.ts'
import { distinctEvents } from '../harness/corpus.ts'
import { untilAnswering, type Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import type { UpkeepRow } from '../harness/sql-client.ts'
import { median, rounded, sum } from '../harness/statistics.ts'

const ratioGoal = 0.6
const shape = { events: 500, overlap: 0 }
const connections = 16
/** Events that are stored already, for each that is loaded: compaction is to have enough to do. */
const storedShare = 2
const megabyte = 1e6

interface Filled {
  dataDir: string
  /** Events that are committed in small files, and in all. */
  stored: number
  events: number
}

interface Loaded {
  ms: number
  /** What was compacted, and for which share of the time. */
  rows: readonly UpkeepRow[]
  share: number
}

/**
 * Events a second from the log to committed and queryable, into a table that has many small files, while these and what comes in are
 * compacted without pause, against the same without. Both begin from copies of one folder, in turns.
 */
export async function loadUnderUpkeep(lab: Lab): Promise<Result> {
  const filled = await fill(lab, lab.quick ? 2000 : 4000)
  const alone: Loaded[] = []
  const under: Loaded[] = []
  const rounds = lab.quick ? 2 : 3
  for (let round = 0; round < rounds; round++) {
    for (const compacting of round % 2 === 0 ? [false, true] : [true, false]) {
      const loaded = await loadOnce(lab, filled, compacting)
      ;(compacting ? under : alone).push(loaded)
    }
    const [one, other] = [alone.at(-1)!, under.at(-1)!]
    lab.say(`round ${round + 1}: ${rounded(one.ms)} ms alone, ${rounded(other.ms)} ms under upkeep`)
  }
  lab.removeFolder(filled.dataDir)
  const loads = filled.events - filled.stored
  const speed = (loaded: readonly Loaded[]): number => loads / (median(loaded.map(({ ms }) => ms)) / 1000)
  const [value, limit] = [speed(under), speed(alone)]
  const ratio = value / limit
  const compacted = under.flatMap(({ rows }) => rows)
  const total = (pick: (row: UpkeepRow) => number | null): number => sum(compacted.map((row) => pick(row) ?? 0))
  return {
    name: 'load-under-upkeep',
    value,
    unit: 'events/s while compaction runs',
    limit: { name: 'the same without compaction', value: limit },
    ratio,
    goal: { text: `ratio at least ${ratioGoal}`, met: ratio >= ratioGoal },
    details: {
      events: loads,
      storedBefore: filled.stored,
      aloneMs: alone.map(({ ms }) => rounded(ms)),
      underMs: under.map(({ ms }) => rounded(ms)),
      compactingShare: under.map(({ share }) => rounded(share)),
      compacted: {
        tasks: compacted.length,
        files: { before: total((row) => row.filesBefore), after: total((row) => row.filesAfter) },
        megabytes: rounded(total((row) => row.bytesBefore) / megabyte),
      },
    },
  }
}

/** A data folder with a table of small files, and a log with `batches` that are not loaded. */
async function fill(lab: Lab, batches: number): Promise<Filled> {
  const dataDir = lab.folder('load-under-upkeep')
  const storedBatches = batches * storedShare
  const stored = distinctEvents(storedBatches, shape)
  const waiting = distinctEvents(batches, shape)
  const post = async (port: number, first: number, count: number, producer: string): Promise<void> => {
    await lab.startGenerator().run({ port, connections, shape, first, batches: count, producer })
  }
  const server = await lab.startWholeServer({ config: 'smallFiles', dataDir })
  await post(server.port, 0, storedBatches, 'stored')
  await untilCommitted(server.sql, stored)
  const { files } = await server.sql.numbers<'files'>('select count(*) as files from freshet.files')
  await lab.close()
  const gateway = await lab.startServer({ config: 'smallFiles', dataDir, role: 'gateway' })
  await post(gateway.port, stored, batches, 'waiting')
  await lab.close()
  lab.say(
    `${stored.toLocaleString('en-US')} events are stored in ${files} files, and ${waiting.toLocaleString('en-US')} wait in the log`,
  )
  return { dataDir, stored, events: stored + waiting }
}

async function loadOnce(lab: Lab, filled: Filled, compacting: boolean): Promise<Loaded> {
  const dataDir = lab.folder('load')
  cpSync(filled.dataDir, dataDir, { recursive: true })
  const gateway = await lab.startServer({ config: 'asked', dataDir, role: 'gateway' })
  const startedAt = performance.now()
  const fromMs = Date.now()
  await lab.startServer({ config: 'asked', dataDir, role: 'engine', port: gateway.port })
  await untilAnswering(gateway.sql)
  const compaction = compacting ? new ConstantCompaction(gateway.sql, 'trades') : undefined
  await untilCommitted(gateway.sql, filled.events)
  const ms = performance.now() - startedAt
  const toMs = Date.now()
  const rows = (await compaction?.stop()) ?? []
  if (compacting && rows.length === 0) throw new Error('nothing was compacted')
  await checkRows(gateway.sql, lab.corpus, filled.events)
  await lab.close()
  lab.removeFolder(dataDir)
  return { ms, rows, share: compactingShare(rows, { fromMs, toMs }) }
}
