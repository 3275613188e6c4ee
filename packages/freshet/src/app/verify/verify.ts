/**
 * `freshet verify`: checks a data folder from its files, read-only and without a lock, also while a server runs on it.
 *
 * Streams are taken one after another: the log, how the table stands to it, then the table. The ledgers come after all tables, each with
 * the dead letters as they are then: a letter is in its log before the position behind its event is committed, so letters as they are
 * later have all that an earlier state of a ledger counts. Objects come last: their events are told of by the streams.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { logNamePattern, type Plan } from '../../config/plan.ts'
import { DataVerifier } from '../../engine/verify/verify-data.ts'
import { FileCatalog } from '../../lake/file-catalog/file-catalog.ts'
import { endsFolder } from '../../log/file/durable-end.ts'
import { dataFolderAt, readDataFolderFormat, type DataFolder } from '../../runtime/data-folder.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { nodeFileSystem } from '../../runtime/file-system.ts'
import type { Finding } from '../../runtime/finding.ts'
import { silentLogger } from '../../runtime/logging.ts'
import { systemRandom } from '../../runtime/random.ts'
import { LocalObjectStore } from '../../storage/local/local-object-store.ts'
import { keysAtHand } from '../objects.ts'
import type { VerifyProgress, VerifyReport } from './report.ts'
import { verifyObjects } from './verify-objects.ts'
import { StreamVerifier } from './verify-stream.ts'

export interface VerifyOptions {
  plan: Plan
  /** Only these; empty: all there are. */
  streams: readonly string[]
  /** Also reads all column data of every file. */
  deep: boolean
  /** Called every few megabytes, and between steps; what it throws ends the check. */
  onProgress: (progress: VerifyProgress) => void
}

/** @throws FreshetError `data_folder_unusable` when there is none, `data_folder_newer`, `unknown_stream` */
export async function verifyDataFolder({ plan, streams, deep, onProgress }: VerifyOptions): Promise<VerifyReport> {
  const startedMs = performance.now()
  const folder = dataFolderAt(plan.dataDir)
  const { format, findings } = await checkFormat(plan.dataDir)
  const store = new LocalObjectStore({ root: folder.lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
  const catalog = new FileCatalog({ store, rootLocation: `file://${folder.lakeDir}`, logger: silentLogger })
  const names = chosen(await streamsIn(folder), streams, plan.dataDir)
  // Where DuckDB may spill: not in the data folder, which is only read.
  const tmpDir = await mkdtemp(join(tmpdir(), 'freshet-verify-'))
  let data: DataVerifier | undefined
  try {
    data = await DataVerifier.open({ ...plan.engine, tmpDir, lakeDir: folder.lakeDir, logDir: folder.logDir })
    const common = { plan, folder, store, catalog, data, deep, onProgress: progressOf(onProgress) }
    const verifiers = names.map((name) => new StreamVerifier({ ...common, name }))
    for (const verifier of verifiers) await verifier.check()
    for (const verifier of verifiers) await verifier.checkLedger()
    const keys = keysAtHand(plan.buckets)
    const objects = await verifyObjects({ ...common, keys, streams, scratchDir: tmpDir })
    const all = [...findings, ...verifiers.flatMap((verifier) => verifier.findings), ...objects.findings]
    const problems = all.filter(({ severity }) => severity === 'problem')
    return {
      dataDir: plan.dataDir,
      format: format ?? null,
      deep,
      ok: problems.length === 0,
      seconds: Math.round(performance.now() - startedMs) / 1000,
      streams: verifiers.map(({ report }) => report),
      buckets: objects.buckets,
      problems,
      notes: all.filter(({ severity }) => severity === 'note'),
    }
  } finally {
    data?.close()
    await rm(tmpDir, { recursive: true, force: true })
  }
}

async function checkFormat(dataDir: string): Promise<{ format: number | undefined; findings: Finding[] }> {
  const file = join(dataDir, 'freshet.json')
  const damaged = (what: string, mend: string): { format: undefined; findings: Finding[] } => ({
    format: undefined,
    findings: [{ severity: 'problem', check: 'folder', file, what, mend }],
  })
  try {
    const format = await readDataFolderFormat(dataDir, nodeFileSystem)
    if (format !== undefined) return { format, findings: [] }
  } catch (error) {
    if (!(error instanceof FreshetError && error.code === 'data_folder_unusable')) throw error
    return damaged(error.message, error.hint ?? '')
  }
  const { logDir, lakeDir } = dataFolderAt(dataDir)
  const places = await Promise.all([logDir, lakeDir].map((path) => readdir(path).catch(() => undefined)))
  if (places.every((names) => names === undefined)) {
    throw new FreshetError('data_folder_unusable', `There is no data folder at ${dataDir}.`, {
      hint: 'Run it where the configuration is, or name the folder with --data-dir.',
    })
  }
  return damaged(`${file} is missing: it says which format the data folder has.`, 'The next start writes it anew.')
}

/** Every stream that has a log, an end of one, or a folder for its table. */
async function streamsIn({ logDir, lakeDir }: DataFolder): Promise<string[]> {
  const logs = (await nodeFileSystem.readDir(logDir)).filter((name) => logNamePattern.test(name))
  const ends = (await nodeFileSystem.readDir(endsFolder(logDir))).map((name) => name.replace(/\.\d+$/, ''))
  const tables = (await nodeFileSystem.readEntries(lakeDir)).filter(({ folder }) => folder).map(({ name }) => name)
  const names = new Set([...logs, ...ends, ...tables])
  return [...names].toSorted()
}

function chosen(names: readonly string[], wanted: readonly string[], dataDir: string): string[] {
  const unknown = wanted.find((name) => !names.includes(name))
  if (unknown !== undefined) {
    const there = names.length === 0 ? 'It has no streams.' : `It has: ${names.join(', ')}.`
    throw new FreshetError('unknown_stream', `${dataDir} has no stream "${unknown}".`, { hint: there })
  }
  return wanted.length === 0 ? [...names] : names.filter((name) => wanted.includes(name))
}

/** Adds bytes up over all streams. */
function progressOf(onProgress: VerifyOptions['onProgress']) {
  let total = 0
  return (stream: string, part: VerifyProgress['part'], bytes: number): void => {
    total += bytes
    onProgress({ stream, part, bytes: total })
  }
}
