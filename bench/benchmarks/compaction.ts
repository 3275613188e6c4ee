import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import type { ChildTasks } from '../harness/child-task.ts'
import type { CompactionResult, CompactionSpec } from '../harness/compaction-task.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { median, rounded, sum } from '../harness/statistics.ts'

const ratioGoal = 0.5
const quarters = [0.25, 0.5, 0.75, 1]
const megabyte = 1e6
const inputBytes = { quick: 256e6, full: 5e9 }
/** The files, as they were and as they are written, and room beside. */
const diskShare = 3

interface Round {
  bytes: number
  ms: number
  copyMs: number
  /** The most that the process had resident so far. */
  residentBytes: number
}

/**
 * Compaction of many unsorted files of one day to files of the target size, sorted by event time, by the engine's own code with its default
 * memory and threads. After each task, DuckDB alone reads and sorts the very files that it read, in another process.
 * @throws Error when rows are not what they were
 */
export async function compaction(lab: Lab): Promise<Result> {
  const dir = lab.folder('compaction')
  const bytes = lab.quick ? inputBytes.quick : inputBytes.full
  checkDisk(dir, bytes)
  const made = await inProcess(lab, (tasks) => tasks.run({ work: 'make', dir, bytes }))
  lab.say(`${rounded(made.bytes / megabyte)} MB of Parquet, ${made.rows.toLocaleString('en-US')} rows`)

  const compactor = start(lab)
  const before = await compactor.run({ work: 'open', dir })
  const wanted = await digest(lab, before.files)
  const rounds: Round[] = []
  let last = before
  while (last.tasks > 0) {
    last = await compactor.run({ work: 'next' })
    const { bytes: read, ms, residentBytes } = last
    rounds.push({ bytes: read, ms, copyMs: await copyMs(lab, last, join(dir, 'copy.parquet')), residentBytes })
  }
  const after = await compactor.run({ work: 'files' })
  await compactor.stop()
  const found = await digest(lab, after.files)
  lab.removeFolder(dir)
  if (found !== wanted)
    throw new Error(`wrong rows: after compaction they are ${found}, and before they were ${wanted}`)

  const { memoryBytesMax, threads } = after
  const taken = rounds.map(({ residentBytes }) => residentBytes - before.residentBytes)
  const takenBytes = Math.max(...taken)
  const speed = (ms: (round: Round) => number): number =>
    sum(rounds.map((round) => round.bytes)) / megabyte / (sum(rounds.map(ms)) / 1000)
  const [value, limit] = [speed((round) => round.ms), speed((round) => round.copyMs)]
  const ratio = value / limit
  return {
    name: 'compaction',
    value,
    unit: 'MB/s of Parquet',
    limit: { name: 'DuckDB COPY of the same files, sorted', value: limit },
    ratio,
    goal: {
      text: `ratio at least ${ratioGoal}; memory within upkeep.memory`,
      met: ratio >= ratioGoal && takenBytes <= memoryBytesMax,
    },
    details: {
      inputMB: rounded(before.bytes / megabyte),
      rows: before.rows,
      files: { before: before.files.length, after: after.files.length },
      tasks: rounds.length,
      medianTaskRatio: rounded(median(rounds.map((round) => round.copyMs / round.ms))),
      threads,
      memory: {
        peakMB: rounded(takenBytes / megabyte),
        peakMBByQuarters: quarters.map((quarter) =>
          rounded(taken[Math.floor(quarter * (taken.length - 1))]! / megabyte),
        ),
        settingMB: rounded(memoryBytesMax / megabyte),
        processPeakMB: rounded(after.residentBytes / megabyte),
        processBeforeMB: rounded(before.residentBytes / megabyte),
      },
    },
  }
}

/** @throws Error when the disk has too little room */
function checkDisk(dir: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(dir)
  if (bavail * bsize < bytes * diskShare)
    throw new Error(`${rounded(bytes / megabyte)} MB of Parquet need three times as much free on the disk`)
}

function start(lab: Lab): ChildTasks<CompactionSpec, CompactionResult> {
  return lab.startTasks(new URL('../harness/compaction-task.ts', import.meta.url))
}

async function inProcess<T>(
  lab: Lab,
  work: (tasks: ChildTasks<CompactionSpec, CompactionResult>) => Promise<T>,
): Promise<T> {
  const tasks = start(lab)
  try {
    return await work(tasks)
  } finally {
    await tasks.stop()
  }
}

/** What the COPY takes in a fresh process. @throws Error when rows are missing */
async function copyMs(lab: Lab, { files, rows: wanted }: CompactionResult, to: string): Promise<number> {
  const duckDb = lab.startDuckDb()
  try {
    const { ms, rows } = await duckDb.run({ work: 'sort', files, by: '_event_time', to })
    if (rows !== wanted) throw new Error(`wrong rows: the COPY of ${wanted} rows wrote ${rows}`)
    return ms
  } finally {
    await duckDb.stop()
    lab.removeFolder(to)
  }
}

async function digest(lab: Lab, files: readonly string[]): Promise<string> {
  const duckDb = lab.startDuckDb()
  try {
    const { rows, digest: hashes } = await duckDb.run({ work: 'digest', files })
    return `${rows} rows, ${hashes}`
  } finally {
    await duckDb.stop()
  }
}
