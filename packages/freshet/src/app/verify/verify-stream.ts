/** Checks one stream's log and table, then its ledger. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Plan } from '../../config/plan.ts'
import { eachLoggedLetter, type LoggedLetter } from '../../engine/dead-letters.ts'
import { rollupRecord } from '../../engine/rollups/record.ts'
import type { DataVerifier } from '../../engine/verify/verify-data.ts'
import type { LetterPlace } from '../../engine/verify/ledger.ts'
import { deadLettersOf, deadLetterStream, formerDeadLetters, letteredStream } from '../../events/dead-letter.ts'
import type { Catalog, LoadedTable } from '../../lake/catalog.ts'
import { verifyVersions } from '../../lake/file-catalog/verify-versions.ts'
import { ledgerFileKeys, readLedger, type TableLedger } from '../../lake/ledger.ts'
import { hourMs } from '../../lake/ledger-rows.ts'
import { tablePositions } from '../../lake/metadata.ts'
import { removedLetters, type RemovedLetters } from '../../lake/removed-letters.ts'
import { orphansOf, verifyTable, type TableCheck } from '../../lake/verify-table.ts'
import { endFile, readEnd } from '../../log/file/durable-end.ts'
import { PartitionReader } from '../../log/file/partition-reader.ts'
import { partitionFolder } from '../../log/file/segments.ts'
import { verifyPartition } from '../../log/file/verify-partition.ts'
import type { DataFolder } from '../../runtime/data-folder.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { nodeFileSystem } from '../../runtime/file-system.ts'
import { problemsIn, type Finding } from '../../runtime/finding.ts'
import { temporaryFiles } from '../../storage/local/temporary-files.ts'
import type { ObjectStore } from '../../storage/object-store.ts'
import type { StreamReport, VerifyProgress } from './report.ts'
import { verifyPosition } from './verify-position.ts'

export interface StreamVerifierOptions {
  name: string
  plan: Plan
  folder: DataFolder
  store: ObjectStore
  catalog: Catalog
  data: DataVerifier
  deep: boolean
  onProgress: (stream: string, part: VerifyProgress['part'], bytes: number) => void
}

interface LedgerState {
  table: LoadedTable
  ledger: TableLedger
}

/** What the ledger of a stream is compared with. */
interface DeadLetters {
  /** Keys of their data files. */
  files: readonly string[]
  /** Those of the log behind them. */
  logged: readonly LetterPlace[]
  removed: readonly RemovedLetters[]
}

const partition = 0
/** Files of a ledger go a hundred commits after they were replaced: the table is then loaded anew. */
const ledgerAttemptsMax = 5
const positionAttemptsMax = 20
const namesShownMax = 5

export class StreamVerifier {
  readonly name: string
  readonly report: StreamReport
  readonly findings: Finding[] = []
  readonly #options: StreamVerifierOptions
  #ledger: LedgerState | undefined
  /** Keys of the current data files; undefined where they are not all sound, or not known. */
  #sound: string[] | undefined
  #table: LoadedTable | undefined

  constructor(options: StreamVerifierOptions) {
    this.#options = options
    this.name = options.name
    this.report = { stream: options.name, log: null, table: null, ledger: null, inFlight: null }
  }

  async check(): Promise<void> {
    await this.#checkLog()
    await this.#checkPosition()
    await this.#checkTable()
  }

  /** Compares the ledger with the data files, and with the dead letters as they are after the table was checked. */
  async checkLedger(): Promise<void> {
    // Where files are missing or damaged the sums cannot agree: that is said already.
    if (this.#ledger === undefined || this.#sound === undefined) return
    this.#options.onProgress(this.name, 'ledger', 0)
    const letters = await this.#deadLetters()
    if (letters === undefined) {
      const where = `the table ${deadLettersOf(this.name)} has problems, or some are in the table ${formerDeadLetters}`
      const what = `The dead letters in the ledger of ${this.name} were not compared: ${where}.`
      this.findings.push({ severity: 'note', check: 'ledger', stream: this.name, what })
    }
    const found = await this.#options.data.verifyLedger({ ...this.#ledger, files: this.#sound, letters })
    this.findings.push(...found)
  }

  /** The stream's dead letters, in their table and in the log behind it; undefined where they cannot be relied on. */
  async #deadLetters(): Promise<DeadLetters | undefined> {
    const { catalog } = this.#options
    if ((await catalog.load(formerDeadLetters).catch(() => undefined)) !== undefined) return undefined
    const contents = await contentsOf({ ...this.#options, name: deadLettersOf(this.name) }, placeOf)
    if (contents === undefined) return undefined
    const { files, logged, table } = contents
    return { files, logged, removed: table ? removedLetters(table.metadata) : [] }
  }

  /** The current data files, once they are checked; undefined where they are not all sound. */
  async currentFiles(): Promise<{ files: readonly string[]; table: LoadedTable | undefined } | undefined> {
    await this.#checkTable()
    return this.#sound && { files: this.#sound, table: this.#table }
  }

  async #checkLog(): Promise<void> {
    const { folder, onProgress } = this.#options
    const hasFolder = await readdir(partitionFolder(folder.logDir, this.name, partition)).catch(() => undefined)
    const hasEnd = nodeFileSystem.readNow(endFile(folder.logDir, this.name, partition)) !== undefined
    if (hasFolder === undefined && !hasEnd) return
    const { findings, ...log } = await verifyPartition({
      fileSystem: nodeFileSystem,
      logDir: folder.logDir,
      stream: this.name,
      partition,
      onBytes: (bytes) => onProgress(this.name, 'log', bytes),
    })
    this.report.log = log
    this.findings.push(...findings)
  }

  async #checkTable(): Promise<void> {
    const { store, onProgress } = this.#options
    onProgress(this.name, 'table', 0)
    const versions = await verifyVersions(store, this.name, this.#placeOf)
    this.findings.push(...versions.findings)
    const { check, ledger } = await this.#tableAndLedger()
    const { table } = check
    if (table === undefined) {
      // What keeps it from being loaded is in its newest version.
      const file = versions.newest && this.#placeOf(versions.newest)
      this.findings.push(...check.findings.map((found) => ({ ...(file && { file }), ...found })))
      if (versions.newest === undefined) this.#checkNoTable(check)
      return
    }
    this.findings.push(...check.findings)
    this.#table = table
    if (ledger !== undefined) this.#ledger = { table, ledger }
    await this.#checkFiles(check)
    this.report.table = {
      version: table.version,
      snapshots: check.snapshots,
      manifests: check.manifests,
      files: check.files.length,
      rows: check.rows,
      bytes: check.bytes,
      position: Number(tablePositions(table.metadata).get(partition) ?? 0n),
      orphans: await this.#orphans(check, versions.keys),
    }
  }

  /** A table is made before its files are. */
  #checkNoTable({ listed }: TableCheck): void {
    if (listed.size === 0) {
      this.#sound = []
      return
    }
    const file = this.#placeOf(`${this.name}/metadata`)
    const what = `The table ${this.name} has ${listed.size} files, but no metadata that says which of them count.`
    const mend = 'Restore its metadata folder from a copy.'
    this.findings.push({ severity: 'problem', check: 'table', stream: this.name, file, what, mend })
  }

  async #checkFiles(check: TableCheck): Promise<void> {
    const { plan, data, deep, onProgress } = this.#options
    const lettered = letteredStream(this.name)
    const { findings, sound } = await data.verify({
      table: check,
      name: this.name,
      stream: lettered === undefined ? plan.streams[this.name] : deadLetterStream(lettered),
      deep,
      onBytes: (bytes) => onProgress(this.name, 'table', bytes),
    })
    this.findings.push(...findings)
    const complete = problemsIn(check.findings).length === 0 && findings.every((found) => found.check === 'duplicates')
    this.#sound = complete ? sound : undefined
  }

  /** The table and its ledger as of one version. */
  async #tableAndLedger(): Promise<{ check: TableCheck; ledger: TableLedger | undefined }> {
    const { catalog, store } = this.#options
    for (let attempt = 1; ; attempt++) {
      const check = await verifyTable({ catalog, store, name: this.name, placeOf: this.#placeOf })
      const { table } = check
      if (table === undefined) return { check, ledger: undefined }
      try {
        return { check, ledger: await readLedger(store, table) }
      } catch (error) {
        if (!(error instanceof FreshetError)) throw error
        const hasMoved = (await catalog.load(this.name))?.version !== table.version
        if (hasMoved && attempt < ledgerAttemptsMax) continue
        const { message: what, hint: mend } = error
        // Of a table that moves on so fast, the files of the ledger may have gone meanwhile.
        const severity = hasMoved ? 'note' : 'problem'
        check.findings.push({ severity, check: 'ledger', stream: this.name, what, ...(mend && { mend }) })
        return { check, ledger: undefined }
      }
    }
  }

  /**
   * How the table stands to the log. The table is loaded for this alone, just before: while it is checked at length, it commits and
   * the log is trimmed behind it. What does not fit counts only when the table is still the same afterwards.
   */
  async #checkPosition(): Promise<void> {
    const { catalog, store, folder } = this.#options
    if (this.name === formerDeadLetters) return
    for (let attempt = 1; attempt <= positionAttemptsMax; attempt++) {
      // A table or a ledger that cannot be read is found where the table is checked.
      const table = await catalog.load(this.name).catch(() => null)
      if (table === null || (table === undefined && this.report.log === null)) return
      // A rollup has no log.
      if (table !== undefined && rollupRecord(table.metadata) !== undefined) return
      const ledger = table && (await readLedger(store, table).catch(() => undefined))
      const { inFlight, findings, trimmed } = await verifyPosition({
        fileSystem: nodeFileSystem,
        logDir: folder.logDir,
        stream: this.name,
        table,
        ledger,
        known: this.findings,
      })
      if (trimmed) continue
      const hasMoved = async (): Promise<boolean> =>
        (await catalog.load(this.name).catch(() => null))?.version !== table?.version
      if (findings.length > 0 && (await hasMoved())) continue
      this.findings.push(...findings)
      this.report.inFlight = inFlight
      if (ledger === undefined) return
      const { accepted, ...counts } = ledger.totals
      this.report.ledger = { rows: ledger.rows.length, accepted: accepted + inFlight.events, ...counts }
      return
    }
    const what = `The table ${this.name} could not be compared with its log: it moved on each time.`
    this.findings.push({ severity: 'note', check: 'position', stream: this.name, what })
  }

  async #orphans(check: TableCheck, versionKeys: ReadonlySet<string>): Promise<{ files: number; bytes: number }> {
    const { folder } = this.#options
    const owned = new Set([...versionKeys, ...ledgerKeys(check.table)])
    const orphans = orphansOf(check, owned).map(({ key, bytes }) => ({ path: this.#placeOf(key), bytes }))
    const temporary = await temporaryFiles(nodeFileSystem, join(folder.lakeDir, this.name))
    const found = [...orphans, ...temporary]
    const bytes = found.reduce((sum, file) => sum + file.bytes, 0)
    if (found.length > 0) {
      const names = found.slice(0, namesShownMax).map(({ path }) => path)
      const more = found.length > names.length ? ', ...' : ''
      const what =
        `Files in the folder of ${this.name} that belong to no kept snapshot: ${found.length} (${bytes} bytes). They are being written, ` +
        `or a crash has left them: ${names.join(', ')}${more}.`
      this.findings.push({ severity: 'note', check: 'table', stream: this.name, file: names[0]!, what })
    }
    return { files: found.length, bytes }
  }

  readonly #placeOf = (key: string): string => join(this.#options.folder.lakeDir, key)
}

/** What a stream has: the data files of its table, and what `read` makes of the events that its log has behind them. */
export interface StreamContents<T> {
  files: readonly string[]
  table: LoadedTable | undefined
  logged: T[]
}

/** What a stream has at present; undefined where that cannot be relied on. */
export async function contentsOf<T>(
  options: StreamVerifierOptions,
  read: (event: LoggedLetter) => readonly T[],
): Promise<StreamContents<T> | undefined> {
  const { folder, name } = options
  for (let attempt = 1; ; attempt++) {
    const current = await new StreamVerifier({ ...options, onProgress: () => undefined }).currentFiles()
    if (current === undefined) return undefined
    const { files, table } = current
    const reader = new PartitionReader(nodeFileSystem, folder.logDir, name, partition)
    const end = readEnd(nodeFileSystem, folder.logDir, name, partition)
    const log = {
      ends: async () => new Map(end === undefined ? [] : [[partition, BigInt(end)]]),
      read: (_stream: string, _partition: number, from: bigint, maxBytes: number) =>
        reader.read(Number(from), maxBytes),
    }
    const logged: T[] = []
    try {
      const from = (table && tablePositions(table.metadata).get(partition)) ?? 0n
      await eachLoggedLetter(log, name, from, (event) => logged.push(...read(event)))
      return { files, table, logged }
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error
      // The table has moved on; anything else is found where the log of the stream is checked.
      if (error.code !== 'log_trimmed' || attempt === positionAttemptsMax) return undefined
    } finally {
      await reader.close()
    }
  }
}

/** Where the event of a letter is in its stream, if it could not be loaded. */
function placeOf({ stage, position, _source, _received_at }: LoggedLetter): LetterPlace[] {
  if (stage !== 'load' || position === undefined) return []
  return [{ position, source: _source ?? null, hour: Math.floor(Date.parse(_received_at) / hourMs) }]
}

function ledgerKeys(table: LoadedTable | undefined): string[] {
  if (table === undefined) return []
  try {
    return ledgerFileKeys(table)
  } catch {
    return []
  }
}
