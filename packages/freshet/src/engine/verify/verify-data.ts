/** What of `freshet verify` takes DuckDB: a database of its own, which reads data files and changes nothing. */
import type { StreamPlan } from '../../config/plan.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import type { TableLedger } from '../../lake/ledger.ts'
import { currentSchema, defaultSpec, tablePositions } from '../../lake/metadata.ts'
import { timeColumnOf, timePartitionOf } from '../../lake/partition.ts'
import type { CheckedFile, TableCheck } from '../../lake/verify-table.ts'
import type { Finding } from '../../runtime/finding.ts'
import type { Scope } from '../dedup/scan.ts'
import { Database, type DatabaseOptions } from '../duckdb.ts'
import { idScope } from '../id-source.ts'
import { eachArrival, type Arrival } from './arrivals.ts'
import { findDuplicates } from './duplicates.ts'
import { compareLedger, countBySourceHour, countLetters, type LetterPlace, type SourceHour } from './ledger.ts'
import { verifyFiles } from './verify-files.ts'

export interface VerifyDataOptions {
  table: TableCheck
  name: string
  /** The stream as it is declared, if it is. */
  stream: StreamPlan | undefined
  deep: boolean
  onBytes: (bytes: number) => void
}

export interface DataCheck {
  findings: Finding[]
  /** Keys of the current snapshot's data files that nothing is wrong with. */
  sound: string[]
}

export interface VerifyLedgerOptions {
  table: LoadedTable
  ledger: TableLedger
  /** Keys of the current data files of the table. */
  files: readonly string[]
  /** The stream's dead letters, as they are after the table was loaded; undefined when they cannot be relied on. */
  letters:
    | {
        /** Keys of their current data files. */
        files: readonly string[]
        /** Those that are in their log behind the table, some perhaps in both. */
        logged: readonly LetterPlace[]
        /** Those that were removed from the table. */
        removed: readonly SourceHour[]
      }
    | undefined
}

const partition = 0

export class DataVerifier {
  readonly #database: Database
  readonly #lakeDir: string

  /** @param options `tmpDir` is where it may spill. */
  static async open(options: DatabaseOptions): Promise<DataVerifier> {
    return new DataVerifier(await Database.open(options), options.lakeDir)
  }

  private constructor(database: Database, lakeDir: string) {
    this.#database = database
    this.#lakeDir = lakeDir
  }

  /** Checks the data files of a table, and that no event id is in them twice. */
  verify({ table, name, stream, deep, onBytes }: VerifyDataOptions): Promise<DataCheck> {
    return this.#database.with(async (connection) => {
      const common = { connection, lakeDir: this.#lakeDir, stream: name, onBytes }
      const scope = scopeOf(table, stream)
      const check = async (files: readonly CheckedFile[], inDepth: boolean): Promise<DataCheck> => {
        const { sound, findings } = await verifyFiles({ ...common, files, deep: inDepth })
        const current = sound.filter((file) => file.current)
        if (isRollup(table)) return { findings, sound: current.map(({ key }) => key) }
        try {
          const duplicates = await findDuplicates({ ...common, files: current, scope })
          return { findings: [...findings, ...duplicates], sound: current.map(({ key }) => key) }
        } catch (error) {
          // A file whose ids cannot be read: which one shows in depth.
          if (inDepth) throw error
          return check(files, true)
        }
      }
      return check(table.files, deep)
    })
  }

  /** Recomputes a table's ledger from its data files and its dead letters. */
  verifyLedger({ table, ledger, files, letters }: VerifyLedgerOptions): Promise<Finding[]> {
    const { name } = table
    return this.#database.with(async (connection) => {
      const lakeDir = this.#lakeDir
      const committed = await countBySourceHour(connection, lakeDir, files).catch(() => undefined)
      if (committed === undefined) {
        const what = `The ledger of ${name} cannot be recomputed: a data file is damaged.`
        return [{ severity: 'problem', check: 'ledger', stream: name, what, mend: 'Run it with --deep to see which.' }]
      }
      const from = ledger.begun.positions.get(partition) ?? 0n
      const to = tablePositions(table.metadata).get(partition) ?? 0n
      // Letters are durable before the position behind their events: those beyond it are in the ledger later.
      const present =
        letters && (await countLetters(connection, { ...letters, lakeDir, from, to }).catch(() => undefined))
      const deadLettered = present && [...present, ...letters.removed]
      return compareLedger({ table, ledger, committed, deadLettered })
    })
  }

  /** See `eachArrival`. */
  eachArrival(
    contents: { files: readonly string[]; logged: readonly Arrival[] },
    onArrival: (arrival: Arrival) => void,
  ): Promise<boolean> {
    const lakeDir = this.#lakeDir
    return this.#database.with((connection) => eachArrival(connection, { ...contents, lakeDir }, onArrival))
  }

  close(): void {
    this.#database.close()
  }
}

/** Whether a table has aggregates and no events, so that no id can be in it. */
function isRollup({ table }: TableCheck): boolean {
  return table !== undefined && timeColumnOf(currentSchema(table.metadata)) === 'bucket'
}

/**
 * How far apart an id may be twice: see `idScope`. Of a stream that is not declared here it is not known whether its events say
 * their time; then only what must be a repeat in any case is looked for.
 */
function scopeOf({ table }: TableCheck, stream: StreamPlan | undefined): Scope {
  if (stream !== undefined) return idScope(stream)
  const time = table && timePartitionOf(defaultSpec(table.metadata), currentSchema(table.metadata))
  return time?.column === '_event_time' ? time.unit : 'table'
}
