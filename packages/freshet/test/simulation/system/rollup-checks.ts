/** What must hold of rollups (I9): the rows of each are what its SELECT gives over the snapshot of its source that it says. */
import { join } from 'node:path'
import { rollupRecord } from '../../../src/engine/rollups/record.ts'
import { retainedFrom } from '../../../src/engine/rollups/retained-from.ts'
import { literal } from '../../../src/engine/sql-text.ts'
import type { RollupPlan } from '../../../src/config/plan.ts'
import type { LoadedTable } from '../../../src/lake/catalog.ts'
import { snapshotById, type Snapshot } from '../../../src/lake/metadata.ts'
import { planScan } from '../../../src/lake/scan.ts'
import { checkingDatabase } from './checks.ts'
import type { Machine } from './machine.ts'
import { storedLake } from './stored-view.ts'
import { Violation } from './world.ts'

export class RollupChecks {
  readonly #machine: Machine
  readonly #rollups: Readonly<Record<string, RollupPlan>>

  constructor(machine: Machine, rollups: Readonly<Record<string, RollupPlan>>) {
    this.#machine = machine
    this.#rollups = rollups
  }

  /** Looks at a table after a commit, if it is a rollup. A source that does not have the snapshot any more cannot be asked. */
  async table(name: string): Promise<void> {
    const plan = this.#rollups[name]
    if (plan === undefined) return
    const { catalog } = storedLake(this.#machine)
    const [table, source] = [await catalog.load(name), await catalog.load(plan.from)]
    const record = table && rollupRecord(table.metadata)
    if (record === undefined || table === undefined || source === undefined) return
    const snapshot = snapshotById(source.metadata, record.snapshot)
    if (record.snapshot !== null && snapshot === undefined) return
    // Of earlier buckets the source has lost rows.
    const from = retainedFrom(source.metadata)
    const where = from === undefined ? 'true' : `epoch_us(bucket) >= ${from}`
    const own = await this.#rows(
      table,
      undefined,
      (files) => `SELECT bucket, events, last FROM ${files} WHERE ${where}`,
    )
    const wanted =
      snapshot === undefined
        ? []
        : await this.#rows(
            source,
            snapshot,
            (files) => `SELECT * FROM (${plan.sql.replace(`FROM "${plan.from}"`, `FROM ${files}`)}) WHERE ${where}`,
          )
    const differs = own.find((row, index) => row !== wanted[index]) ?? wanted[own.length]
    if (differs !== undefined)
      throw new Violation(
        'I9',
        `${name}: of snapshot ${record.snapshot}, ${own.length} rows, not ${wanted.length}; at ${differs}`,
      )
  }

  /** Whether each rollup stands for what its source is. */
  async areCurrent(): Promise<boolean> {
    const { catalog } = storedLake(this.#machine)
    for (const { name, from } of Object.values(this.#rollups)) {
      const [table, source] = [await catalog.load(name), await catalog.load(from)]
      if (source === undefined) continue
      const record = table && rollupRecord(table.metadata)
      if (record?.snapshot !== source.metadata['current-snapshot-id']) return false
    }
    return true
  }

  async #rows(
    table: LoadedTable,
    snapshot: Snapshot | undefined,
    select: (files: string) => string,
  ): Promise<string[]> {
    const { store } = storedLake(this.#machine)
    const { files } = await planScan(store, table, snapshot && { snapshot })
    if (files.length === 0) return []
    const paths = files.map(({ key }) => literal(join(this.#machine.mirrorDir, key)))
    const relation = `read_parquet([${paths.join(', ')}], hive_partitioning = false, union_by_name = true)`
    const connection = await checkingDatabase()
    const found = await connection.runAndReadAll(`SELECT CAST(t AS VARCHAR) FROM (${select(relation)}) AS t ORDER BY 1`)
    return found.getRows().map(([row]) => String(row))
  }
}
