/**
 * Tags and the way back, for one table at a time: what `/v1/tables/{table}` does. The commits are lake/refs.ts; this resolves names,
 * and says in the same commit which rows a rollback takes out and brings back (I6).
 */
import { FreshetError } from '../runtime/errors.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import type { CommitDeps } from '../lake/commit.ts'
import { currentSchema, currentSnapshot, snapshotById, type Snapshot } from '../lake/metadata.ts'
import { createTag, dropTag, rollbackTo } from '../lake/refs.ts'
import { planScan, type ScanFile } from '../lake/scan.ts'
import type { Database } from './duckdb.ts'
import { addGone, countGone, goneColumns, toldOfGone, type GoneRows } from './gone-rows.ts'
import type { KeptTable } from './upkeep/job.ts'
import { selectStored } from './upkeep/stored-rows.ts'

export interface TableRefsDeps extends CommitDeps {
  database: Database
  lakeDir: string
  keptSources: () => ReadonlySet<string>
  tableOf: (name: string) => KeptTable | undefined
}

export interface Tag {
  name: string
  /** Text, as it can exceed 2^53. */
  snapshotId: string
  /** When the snapshot was committed. */
  committedAt: string | null
  /** How long after that the tag goes by itself; null for never. */
  maxAgeMs: number | null
}

export interface RollbackAnswer {
  table: string
  dryRun: boolean
  /** The snapshot whose files the table has, or would have. */
  to: string
  committedAt: string
  /** The new snapshot; null in a dry run. */
  snapshotId: string | null
  /** Rows and files that leave the table, and that come back. */
  removed: { rows: number; files: number }
  restored: { rows: number; files: number }
}

/** Files that one statement counts. */
const filesAtOnce = 200

export class TableRefs {
  readonly #deps: TableRefsDeps

  constructor(deps: TableRefsDeps) {
    this.#deps = deps
  }

  /** @throws FreshetError `not_found` */
  tags(name: string): Tag[] {
    const { metadata } = this.#table(name)
    return Object.entries(metadata.refs)
      .filter(([, { type }]) => type === 'tag')
      .map(([tag, ref]) => {
        const snapshot = snapshotById(metadata, ref['snapshot-id'])
        const maxAgeMs = ref['max-ref-age-ms']
        return {
          name: tag,
          snapshotId: String(ref['snapshot-id']),
          committedAt: snapshot === undefined ? null : timeOf(snapshot),
          maxAgeMs: typeof maxAgeMs === 'number' ? maxAgeMs : null,
        }
      })
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  /**
   * @param to id of a snapshot or name of a tag; undefined for the current snapshot
   * @throws FreshetError `not_found`, `invalid_request`
   */
  async create(name: string, tag: string, to: string | undefined, maxAgeMs: number | undefined): Promise<Tag> {
    await this.#kept(name).change(async (table) => {
      const id = this.#snapshot(table, to)['snapshot-id']
      return (await createTag(this.#deps, table, tag, id, maxAgeMs === undefined ? {} : { maxAgeMs })).table
    }, 'kept')
    return this.tags(name).find((one) => one.name === tag)!
  }

  /** @throws FreshetError `not_found`, `invalid_request` for a branch */
  async drop(name: string, tag: string): Promise<void> {
    await this.#kept(name).change(async (table) => (await dropTag(this.#deps, table, tag)).table, 'kept')
  }

  /**
   * Makes the files of an earlier snapshot the table's. Hot rows stay, and loading goes on where it is.
   * @throws FreshetError `not_found`, `invalid_request` for the current snapshot, `corrupt_table` when files of it are gone
   */
  async rollback(name: string, to: string, dryRun: boolean): Promise<RollbackAnswer> {
    const kept = this.#kept(name)
    const target = this.#snapshot(this.#table(name), to)
    const answer = { table: name, to: String(target['snapshot-id']), committedAt: timeOf(target) }
    if (dryRun) {
      const { removed, restored } = await this.#difference(this.#table(name), target)
      return { ...answer, dryRun, snapshotId: null, removed: sumOf(removed), restored: sumOf(restored) }
    }
    let done: Pick<RollbackAnswer, 'snapshotId' | 'removed' | 'restored'> | undefined
    await kept.change(async (table) => {
      if (table.metadata['current-snapshot-id'] === target['snapshot-id']) {
        throw new FreshetError('invalid_request', `The snapshot ${answer.to} is the current one of ${name}.`)
      }
      const gone = await this.#goneRows(kept, table, target)
      const { ledger, properties } = toldOfGone(kept, gone, this.#deps.keptSources)
      const result = await rollbackTo(this.#deps, table, target['snapshot-id'], {
        ...(properties && { properties }),
        ...(ledger && { ledger: () => Promise.resolve(ledger) }),
      })
      const { snapshot, removed, restored } = result
      done = { snapshotId: String(snapshot['snapshot-id']), removed, restored }
      return result.table
    }, 'fewer')
    this.#deps.logger.info({ audit: 'rollback', ...answer, ...done }, 'table rolled back')
    return { ...answer, dryRun, ...done! }
  }

  async #difference(table: LoadedTable, target: Snapshot): Promise<{ removed: ScanFile[]; restored: ScanFile[] }> {
    const { store } = this.#deps
    const before = await planScan(store, table)
    const after = await planScan(store, table, { snapshot: target, previous: before })
    return { removed: [...after.removed], restored: [...after.added] }
  }

  /** Rows that leave the table, by source and hour of arrival; below 0 for those that come back. */
  async #goneRows(kept: KeptTable, table: LoadedTable, target: Snapshot): Promise<GoneRows> {
    const { removed, restored } = await this.#difference(table, target)
    return addGone([await this.#count(kept, table, removed, 1), await this.#count(kept, table, restored, -1)])
  }

  #count(kept: KeptTable, table: LoadedTable, files: readonly ScanFile[], sign: 1 | -1): Promise<GoneRows> {
    const { database, lakeDir } = this.#deps
    return database.with(async (connection) => {
      const counted: GoneRows[] = []
      for (let from = 0; from < files.length; from += filesAtOnce) {
        const group = files.slice(from, from + filesAtOnce)
        const rows = selectStored(currentSchema(table.metadata), group, { lakeDir, only: goneColumns })
        counted.push(await countGone(connection, kept, rows, sign))
      }
      return addGone(counted)
    })
  }

  #kept(name: string): KeptTable {
    const kept = this.#deps.tableOf(name)
    if (kept?.table !== undefined) return kept
    throw new FreshetError('not_found', `There is no table ${JSON.stringify(name.slice(0, 100))}.`, {
      hint: 'A stream has a table from its first commit on; SELECT name FROM freshet.streams lists the streams.',
    })
  }

  #table(name: string): LoadedTable {
    return this.#kept(name).table!
  }

  /** By id, or by the name of a tag or branch. */
  #snapshot({ name, metadata }: LoadedTable, to: string | undefined): Snapshot {
    const current = currentSnapshot(metadata)
    const byName = to === undefined ? undefined : metadata.refs[to]?.['snapshot-id']
    const id = byName ?? (to !== undefined && /^\d{1,19}$/.test(to) ? BigInt(to) : undefined)
    const found = to === undefined ? current : snapshotById(metadata, id)
    if (found !== undefined) return found
    const tags = Object.entries(metadata.refs).flatMap(([ref, { type }]) => (type === 'tag' ? ref : []))
    const there = tags.length === 0 ? '' : ` Its tags: ${tags.slice(0, 20).join(', ')}.`
    throw new FreshetError(
      'not_found',
      to === undefined
        ? `The table ${name} has no snapshot yet.`
        : `The table ${name} has no snapshot or tag ${JSON.stringify(to.slice(0, 100))}.${there}`,
      { hint: `SELECT snapshot_id, committed_at, tags FROM freshet.snapshots WHERE stream = '${name}' lists them.` },
    )
  }
}

function sumOf(files: readonly ScanFile[]): { rows: number; files: number } {
  return { rows: files.reduce((sum, { recordCount }) => sum + recordCount, 0), files: files.length }
}

function timeOf(snapshot: Snapshot): string {
  return new Date(snapshot['timestamp-ms']).toISOString()
}
