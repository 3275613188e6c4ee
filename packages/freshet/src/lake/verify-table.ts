/**
 * Checks what a table's metadata promises, without changing anything: every snapshot that is kept has its manifest list and
 * manifests, they agree with each other and with the snapshot's totals, and every data and delete file in them exists with its size. It
 * does not matter how the snapshots came about: by loads, rewrites, rollbacks, or by another engine.
 *
 * A server may be committing meanwhile. The store is listed before the table is loaded, so that what the listing lacks is either new
 * or missing; and every problem is looked at a second time against the table as it is then: what only expired snapshots refer to may
 * be gone.
 */
import { FreshetError } from '../runtime/errors.ts'
import type { Finding } from '../runtime/finding.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { Catalog, LoadedTable } from './catalog.ts'
import { DeleteIndex, deleteFileOf, type ScopedDelete } from './delete-files.ts'
import { entryStatus, readManifest, readManifestList, type ManifestEntry, type ManifestFile } from './manifest.ts'
import { currentSnapshot, type Snapshot } from './metadata.ts'
import { scanFile, type ScanFile } from './scan.ts'
import { statisticsFiles } from './snapshot-cap.ts'
import { keyOf } from './table-paths.ts'

export interface VerifyTableOptions {
  catalog: Catalog
  store: ObjectStore
  name: string
  /** What a finding names a file by, given its key in the store. */
  placeOf: (key: string) => string
}

/** A data file that is where a kept snapshot says, with the size it says. */
export interface CheckedFile extends ScanFile {
  /** Whether the current snapshot has it; `deletes` are those of that snapshot, and none for files of others. */
  current: boolean
}

export interface TableCheck {
  /** undefined when the table could not be loaded, or is none. */
  table: LoadedTable | undefined
  snapshots: number
  manifests: number
  /** Data files of all kept snapshots. */
  files: CheckedFile[]
  /** Rows and bytes of the current snapshot, as its manifests have them; rows that delete files take out of data files are counted. */
  rows: number
  bytes: number
  /** Keys of everything that the table's files are, as far as it could be read. */
  referenced: Set<string>
  /** The store's listing of the table's folder: bytes by key. */
  listed: ReadonlyMap<string, number>
  findings: Finding[]
}

/** What a manifest has live: of data or delete files. */
interface ManifestTotals {
  content: number
  rows: number
  files: number
  bytes: number
}

/** A live file of a manifest, as far as its presence goes. */
type StoredFile = Pick<ScanFile, 'key' | 'path' | 'bytes' | 'recordCount'>

/** A problem, the newest kept snapshot that it concerns, and how to look again. */
interface Suspect {
  snapshotId: bigint
  again: () => Promise<Finding | undefined>
}

const restore = 'Restore the file from a copy, or roll the table back to a snapshot that does not need it.'

/** See the head of this file. */
export async function verifyTable(options: VerifyTableOptions): Promise<TableCheck> {
  const { catalog, store, name } = options
  const listed = new Map((await store.list(`${name}/`)).map(({ key, bytes }) => [key, bytes]))
  const check: TableCheck = {
    table: undefined,
    snapshots: 0,
    manifests: 0,
    files: [],
    rows: 0,
    bytes: 0,
    referenced: new Set(),
    listed,
    findings: [],
  }
  try {
    check.table = await catalog.load(name)
  } catch (error) {
    check.findings.push(findingOf(options, error))
    return check
  }
  if (check.table !== undefined) await new TableWalk(options, check.table, check).run()
  return check
}

/** The finding for an error about the table's metadata. @throws any other error */
function findingOf({ name }: VerifyTableOptions, error: unknown): Finding {
  if (!(error instanceof FreshetError) || !['corrupt_table', 'unsupported_table'].includes(error.code)) throw error
  return {
    severity: 'problem',
    check: 'table',
    stream: name,
    what: error.message,
    ...(error.hint !== undefined && { mend: error.hint }),
  }
}

class TableWalk {
  readonly #options: VerifyTableOptions
  readonly #table: LoadedTable
  readonly #check: TableCheck
  readonly #suspects: Suspect[] = []
  /** What each manifest has live, by path; undefined for one that cannot be read. */
  readonly #totals = new Map<string, ManifestTotals | undefined>()
  readonly #paths = new Set<string>()
  /** Delete files of the current snapshot. */
  readonly #deletes: ScopedDelete[] = []

  constructor(options: VerifyTableOptions, table: LoadedTable, check: TableCheck) {
    this.#options = options
    this.#table = table
    this.#check = check
  }

  async run(): Promise<void> {
    const { metadata } = this.#table
    const current = currentSnapshot(metadata)
    this.#checkRefs()
    // The current one first, then from the newest on: what several refer to is checked for the one that is kept longest.
    const others = metadata.snapshots.filter((snapshot) => snapshot !== current).toReversed()
    for (const snapshot of current === undefined ? others : [current, ...others]) {
      this.#check.snapshots++
      await this.#checkSnapshot(snapshot, snapshot === current)
    }
    this.#check.manifests = this.#totals.size
    for (const { 'statistics-path': path } of statisticsFiles(metadata)) this.#refer(path)
    this.#applyDeletes()
    await this.#settleSuspects()
  }

  #checkRefs(): void {
    const { metadata } = this.#table
    const kept = new Set(metadata.snapshots.map((snapshot) => snapshot['snapshot-id']))
    for (const [ref, target] of Object.entries(metadata.refs)) {
      if (kept.has(target['snapshot-id'])) continue
      const what = `The metadata of ${this.#table.name} names the snapshot ${target['snapshot-id']} as "${ref}" and does not have it.`
      this.#report({ what, mend: restore })
    }
    const [main, current] = [metadata.refs['main']?.['snapshot-id'] ?? null, metadata['current-snapshot-id']]
    if (main === current) return
    const what = `The current snapshot of ${this.#table.name} is ${current}, but "main" is ${main}: engines see different tables.`
    this.#report({ what, mend: 'Roll the table back to the one that is right, which sets both.' })
  }

  #refer(path: string): void {
    try {
      this.#check.referenced.add(keyOf(this.#table, path))
    } catch {
      // It lies elsewhere, where nothing is looked for.
    }
  }

  #applyDeletes(): void {
    const index = new DeleteIndex(this.#deletes)
    this.#check.files = this.#check.files.map((file) => {
      if (!file.current) return file
      const { path, partitionKey: partition, sequenceNumber } = file
      return { ...file, deletes: index.of({ path, partition, sequenceNumber }) }
    })
  }

  async #checkSnapshot(snapshot: Snapshot, isCurrent: boolean): Promise<void> {
    const id = snapshot['snapshot-id']
    const { store } = this.#options
    const list = await this.#guarded(id, snapshot['manifest-list'], (key) => readManifestList(store, key))
    if (list === undefined) return
    const inSnapshot = new Set<string>()
    for (const manifest of list) await this.#checkManifest(id, manifest, isCurrent ? inSnapshot : undefined)
    const totals = list.map(({ path }) => this.#totals.get(path))
    if (totals.includes(undefined)) return
    const data = sumOf(totals.filter((each) => each?.content === 0))
    const deletes = sumOf(totals.filter((each) => each?.content === 1))
    this.#checkTotals(snapshot, data, deletes)
    if (isCurrent) Object.assign(this.#check, { rows: data.rows, bytes: data.bytes })
  }

  #checkTotals(snapshot: Snapshot, data: ManifestTotals, deletes: ManifestTotals): void {
    const file = this.#place(snapshot['manifest-list'])
    const promised = {
      'total-records': data.rows,
      'total-data-files': data.files,
      'total-delete-files': deletes.files,
      'total-files-size': data.bytes + deletes.bytes,
    }
    for (const [field, value] of Object.entries(promised)) {
      const text = snapshot.summary[field]
      if (text === undefined || text === String(value)) continue
      const what = `The snapshot ${snapshot['snapshot-id']} of ${this.#table.name} says ${field} ${text}, but its manifests have ${value}.`
      this.#report({ file, what, mend: restore })
    }
  }

  /** @param inSnapshot paths of the current snapshot's files so far; undefined for other snapshots */
  async #checkManifest(snapshotId: bigint, manifest: ManifestFile, inSnapshot?: Set<string>): Promise<void> {
    if (this.#totals.has(manifest.path)) return
    const { store } = this.#options
    this.#totals.set(manifest.path, undefined)
    const entries = await this.#guarded(snapshotId, manifest.path, (key) => readManifest(store, key, manifest))
    if (entries === undefined) return
    this.#totals.set(manifest.path, this.#checkCounts(manifest, entries))
    for (const entry of entries) {
      if (entry.status !== entryStatus.deleted) await this.#checkEntry(snapshotId, manifest, entry, inSnapshot)
    }
  }

  #checkCounts(manifest: ManifestFile, entries: readonly ManifestEntry[]): ManifestTotals {
    const of = (status: number): Omit<ManifestTotals, 'content'> => {
      const chosen = entries.filter((entry) => entry.status === status)
      const sum = (value: (entry: ManifestEntry) => number): number =>
        chosen.reduce((all, each) => all + value(each), 0)
      return { files: chosen.length, rows: sum(({ file }) => file.recordCount), bytes: sum(({ file }) => file.bytes) }
    }
    const added = of(entryStatus.added)
    const existing = of(entryStatus.existing)
    const says = [manifest.addedFiles, manifest.addedRows, manifest.existingFiles, manifest.existingRows]
    const has = [added.files, added.rows, existing.files, existing.rows]
    // All zero: another engine, which left them out.
    if (says.some((value) => value !== 0) && says.some((value, index) => value !== has[index])) {
      const file = this.#place(manifest.path)
      const what =
        `The manifest ${file} has ${has[0]} added files of ${has[1]} rows and ${has[2]} older ones of ${has[3]} rows, ` +
        `where the manifest list says ${says[0]} of ${says[1]} and ${says[2]} of ${says[3]}.`
      this.#report({ file, what, mend: restore })
    }
    return {
      content: manifest.content,
      rows: added.rows + existing.rows,
      files: added.files + existing.files,
      bytes: added.bytes + existing.bytes,
    }
  }

  async #checkEntry(
    snapshotId: bigint,
    manifest: ManifestFile,
    entry: ManifestEntry,
    inSnapshot: Set<string> | undefined,
  ): Promise<void> {
    const { path } = entry.file
    if (inSnapshot?.has(path) === true) {
      const file = this.#place(path)
      this.#report({
        file,
        what: `The current snapshot has the file ${file} twice, and its rows with it.`,
        mend: restore,
      })
    }
    inSnapshot?.add(path)
    if (this.#paths.has(path)) return
    this.#paths.add(path)
    const current = inSnapshot !== undefined
    try {
      if (manifest.content === 0) {
        const file = scanFile(this.#table, manifest, entry)
        if (await this.#isStored(snapshotId, file)) this.#check.files.push({ ...file, current })
      } else {
        this.#refer(path)
        const one = deleteFileOf(this.#table, manifest, entry)
        if (current) this.#deletes.push(one)
        await this.#isStored(snapshotId, one.file)
      }
    } catch (error) {
      this.#check.findings.push({ ...findingOf(this.#options, error), file: this.#place(path) })
    }
  }

  /** Whether a file is there with its size; otherwise it is a suspect. */
  async #isStored(snapshotId: bigint, file: StoredFile): Promise<boolean> {
    this.#check.referenced.add(file.key)
    if ((await this.#sizeProblem(file, this.#check.listed.get(file.key))) === undefined) return true
    this.#suspects.push({ snapshotId, again: () => this.#sizeProblem(file, undefined) })
    return false
  }

  /** @param listed the file's size, where the listing has it */
  async #sizeProblem(file: StoredFile, listed: number | undefined): Promise<Finding | undefined> {
    const { store } = this.#options
    const bytes = listed ?? (await store.list(file.key)).find(({ key }) => key === file.key)?.bytes
    if (bytes === file.bytes) return undefined
    const place = this.#place(file.path)
    const what =
      bytes === undefined
        ? `The file ${place}, with ${file.recordCount} rows, is missing.`
        : `The file ${place} has ${bytes} bytes; its manifest says ${file.bytes}.`
    return this.#problem({ file: place, what, mend: restore })
  }

  /** What `read` gives for a path of the table; undefined, and a suspect, when it is missing or damaged. */
  async #guarded<T>(snapshotId: bigint, path: string, read: (key: string) => Promise<T>): Promise<T | undefined> {
    const attempt = async (): Promise<{ value: T } | Finding> => {
      try {
        const key = keyOf(this.#table, path)
        this.#check.referenced.add(key)
        return { value: await read(key) }
      } catch (error) {
        return { ...findingOf(this.#options, error), file: this.#place(path) }
      }
    }
    const result = await attempt()
    if ('value' in result) return result.value
    const again = async (): Promise<Finding | undefined> => {
      const second = await attempt()
      return 'value' in second ? undefined : second
    }
    this.#suspects.push({ snapshotId, again })
    return undefined
  }

  async #settleSuspects(): Promise<void> {
    if (this.#suspects.length === 0) return
    const { catalog, name } = this.#options
    const now = await catalog.load(name).catch(() => undefined)
    const kept = new Set((now ?? this.#table).metadata.snapshots.map((snapshot) => snapshot['snapshot-id']))
    for (const { snapshotId, again } of this.#suspects) {
      if (!kept.has(snapshotId)) continue
      const finding = await again()
      if (finding !== undefined) this.#check.findings.push(finding)
    }
  }

  #place(path: string): string {
    try {
      return this.#options.placeOf(keyOf(this.#table, path))
    } catch {
      return path
    }
  }

  #problem(found: { file?: string; what: string; mend: string }): Finding {
    return { severity: 'problem', check: 'table', stream: this.#table.name, ...found }
  }

  #report(found: { file?: string; what: string; mend: string }): void {
    this.#check.findings.push(this.#problem(found))
  }
}

function sumOf(all: readonly (ManifestTotals | undefined)[]): ManifestTotals {
  const sum = { content: 0, rows: 0, files: 0, bytes: 0 }
  for (const each of all) {
    sum.rows += each?.rows ?? 0
    sum.files += each?.files ?? 0
    sum.bytes += each?.bytes ?? 0
  }
  return sum
}

/** Files in the table's folder that nothing which is kept refers to. `owned`: further keys that belong to the table. */
export function orphansOf(check: TableCheck, owned: ReadonlySet<string>): { key: string; bytes: number }[] {
  return [...check.listed]
    .filter(([key]) => !check.referenced.has(key) && !owned.has(key))
    .map(([key, bytes]) => ({ key, bytes }))
}
