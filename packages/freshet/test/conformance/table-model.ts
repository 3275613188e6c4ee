import assert from 'node:assert/strict'
import fc from 'fast-check'
import { failing } from './catalog-faults.ts'
import { at, dataFile, dayStartMs, emptyTable, memoryLake, type Lake } from './lake-fixture.ts'
import type { LoadedTable } from '../../src/lake/catalog.ts'
import { appendFiles } from '../../src/lake/commit.ts'
import type { DataFile } from '../../src/lake/data-file.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import { readManifest, readManifestList } from '../../src/lake/manifest.ts'
import { tablePositions } from '../../src/lake/metadata.ts'
import { findOrphans, removeOrphans } from '../../src/lake/orphans.ts'
import { createTag, dropTag, rollbackTo } from '../../src/lake/refs.ts'
import { rewriteFiles } from '../../src/lake/rewrite.ts'
import { rewriteManifests } from '../../src/lake/rewrite-manifests.ts'
import { planScan } from '../../src/lake/scan.ts'
import { keyOf } from '../../src/lake/table-paths.ts'
import { verifyTable } from '../../src/lake/verify-table.ts'

/** What is done to the table. `pick` chooses among what there is at the time. */
export type Step =
  | { kind: 'append'; days: number[] }
  | { kind: 'replace' | 'overwrite' | 'delete'; pick: number[]; stale: boolean }
  | { kind: 'expire'; keepLast: number; minutes: number }
  | { kind: 'expire one' | 'tag' | 'drop tag' | 'roll back'; pick: number }
  | { kind: 'rewrite manifests' | 'remove orphans' }
  | { kind: 'fail'; when: 'before' | 'after'; day: number }

const day = fc.integer({ min: 0, max: 3 })
const pick = fc.nat(1000)
export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('append' as const), days: fc.array(day, { maxLength: 4 }) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('replace' as const, 'overwrite' as const, 'delete' as const),
      pick: fc.array(pick, { minLength: 1, maxLength: 4 }),
      stale: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('expire' as const),
      keepLast: fc.integer({ min: 1, max: 4 }),
      minutes: fc.integer({ min: 0, max: 6 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('expire one' as const, 'tag' as const, 'drop tag' as const, 'roll back' as const),
      pick,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('rewrite manifests' as const, 'remove orphans' as const) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('fail' as const),
      when: fc.constantFrom('before' as const, 'after' as const),
      day,
    }),
  },
)

/** A table in memory, and what it should be: the files of each snapshot, by name. */
export class TableModel {
  readonly lake: Lake = Object.assign(memoryLake(), {
    merge: { smallManifestsMax: 4, targetBytes: 8 * 1024 * 1024, filesMax: 6 },
    snapshotsMax: 12,
  })
  table!: LoadedTable
  readonly #snapshots = new Map<bigint, ReadonlySet<string>>()
  readonly #rows = new Map<string, number>()
  #position = 0
  #files = 0

  async create(): Promise<this> {
    this.table = await this.lake.catalog.create('trades', emptyTable())
    return this
  }

  get #ids(): bigint[] {
    return this.table.metadata.snapshots.map((snapshot) => snapshot['snapshot-id'])
  }

  get #live(): ReadonlySet<string> {
    return this.#snapshots.get(this.table.metadata['current-snapshot-id'] ?? -1n) ?? new Set()
  }

  async run(one: Step): Promise<void> {
    this.lake.clock.ms += 60_000
    switch (one.kind) {
      case 'append':
        return this.#append(one.days, this.lake)
      case 'replace':
      case 'overwrite':
      case 'delete':
        return this.#rewrite(one.kind, one.pick, one.stale)
      case 'expire':
        return this.#expire(this.lake.clock.ms - one.minutes * 60_000, one.keepLast, [])
      case 'expire one': {
        const held = new Set(Object.values(this.table.metadata.refs).map((ref) => ref['snapshot-id']))
        const free = this.#ids.filter((id) => !held.has(id))
        return free.length === 0 ? undefined : this.#expire(0, 1, [free[one.pick % free.length]!])
      }
      case 'tag':
        return this.#withSnapshot(one.pick, async (id) => createTag(this.lake, this.table, `t${id}`, id))
      case 'drop tag': {
        const tags = Object.keys(this.table.metadata.refs).filter((name) => name !== 'main')
        if (tags.length > 0) this.table = (await dropTag(this.lake, this.table, tags[one.pick % tags.length]!)).table
        return undefined
      }
      case 'roll back':
        return this.#withSnapshot(one.pick, async (id) => {
          const files = this.#snapshots.get(id)!
          const { table, snapshot, removed, restored } = await rollbackTo(this.lake, this.table, id)
          const before = this.#live
          assert.equal(removed.files, [...before].filter((name) => !files.has(name)).length)
          assert.equal(restored.files, [...files].filter((name) => !before.has(name)).length)
          this.#snapshots.set(snapshot['snapshot-id'], files)
          return { table }
        })
      case 'rewrite manifests': {
        const files = this.#live
        const { table, snapshot } = await rewriteManifests(this.lake, this.table)
        if (snapshot !== undefined) this.#snapshots.set(snapshot['snapshot-id'], files)
        this.table = table
        return undefined
      }
      case 'remove orphans': {
        const options = { olderThanMs: Number.MAX_SAFE_INTEGER }
        await removeOrphans(this.lake, this.table, await findOrphans(this.lake, this.table, options), options)
        assert.deepEqual(await findOrphans(this.lake, this.table, options), [])
        return undefined
      }
      case 'fail':
        return this.#append([one.day], this.lake, one.when)
    }
  }

  async #file(onDay: number, rows = 10): Promise<DataFile> {
    const name = `f${++this.#files}`
    const text = new Date(dayStartMs + onDay * 86_400_000).toISOString().slice(0, 10)
    const file = dataFile(this.table, name, rows, dayStartMs / 86_400_000 + onDay)
    const placed = { ...file, path: file.path.replace('2013-10-07', text) }
    await this.lake.store.put(keyOf(this.table, placed.path), Buffer.alloc(placed.bytes))
    this.#rows.set(placed.path, rows)
    return placed
  }

  async #append(days: readonly number[], deps: Lake, fails?: 'before' | 'after'): Promise<void> {
    const before = this.#live
    const dataFiles = await Promise.all(days.map((onDay) => this.#file(onDay)))
    const catalog = fails === undefined ? deps.catalog : failing(deps.catalog, fails, () => new Error('crashed'))
    const from = tablePositions(this.table.metadata)
    const request = { table: this.table, dataFiles, from, to: at(this.#position + 1) }
    const made = await appendFiles({ ...deps, catalog }, request).catch((error: unknown) => {
      // What was written is left, as a crash would leave it.
      if (fails !== 'before') throw error
    })
    if (made === undefined) return
    this.#position++
    this.table = made.table
    this.#snapshots.set(made.snapshot['snapshot-id'], new Set([...before, ...dataFiles.map(({ path }) => path)]))
  }

  async #rewrite(
    operation: 'replace' | 'overwrite' | 'delete',
    picks: readonly number[],
    stale: boolean,
  ): Promise<void> {
    // A plan that others overtake: by a load, and by a rewrite of a file.
    const planned = this.table
    const candidates = [...this.#live]
    const remove = [...new Set(picks.map((one) => candidates[one % candidates.length]))].filter(
      (path) => path !== undefined,
    )
    if (remove.length === 0) return
    if (stale) {
      await this.#append([1], this.lake)
      if (picks.length > 2)
        await this.#rewrite(
          'delete',
          picks.slice(0, 1).map((one) => one + 1),
          false,
        )
    }
    const rows = remove.reduce((sum, path) => sum + this.#rows.get(path)!, 0)
    const add =
      operation === 'delete'
        ? []
        : [await this.#file(picks[0]! % 4, operation === 'replace' ? rows : Math.max(1, rows - 1))]
    const before = this.#live
    const rewritten = rewriteFiles(this.lake, { table: planned, remove, add, operation })
    if (remove.some((path) => !before.has(path))) {
      await assert.rejects(rewritten, { code: 'commit_conflict' })
      await this.lake.store.delete(add.map(({ path }) => keyOf(this.table, path)))
      return
    }
    const { table, snapshot } = await rewritten
    const kept = [...before].filter((path) => !remove.includes(path))
    this.table = table
    this.#snapshots.set(snapshot['snapshot-id'], new Set([...kept, ...add.map(({ path }) => path)]))
  }

  async #expire(olderThanMs: number, keepLast: number, ids: bigint[]): Promise<void> {
    const before = new Set(this.#ids)
    const { table, expired } = await expireSnapshots(this.lake, this.table, { olderThanMs, keepLast, ids })
    this.table = table
    const after = new Set(this.#ids)
    assert.deepEqual(
      expired.map((snapshot) => snapshot['snapshot-id']),
      [...before].filter((id) => !after.has(id)),
    )
    for (const { 'snapshot-id': id } of Object.values(table.metadata.refs)) assert.equal(after.has(id), true)
  }

  async #withSnapshot(chosen: number, act: (id: bigint) => Promise<{ table: LoadedTable }>): Promise<void> {
    const ids = this.#ids
    if (ids.length > 0) this.table = (await act(ids[chosen % ids.length]!)).table
  }

  /** Every kept snapshot is what the model says, all that it needs is there, and all else is an orphan. */
  async check(): Promise<void> {
    const { lake, table } = this
    const { store } = lake
    assert.deepEqual(await lake.catalog.load('trades'), table)
    assert.equal(tablePositions(table.metadata).get(0) ?? 0n, BigInt(this.#position))
    const reached = new Set<string>()
    for (const snapshot of table.metadata.snapshots) {
      const files = this.#snapshots.get(snapshot['snapshot-id'])!
      const plan = await planScan(store, table, { snapshot })
      assert.deepEqual(plan.files.map(({ path }) => path).toSorted(), [...files].toSorted())
      const rows = [...files].reduce((sum, path) => sum + this.#rows.get(path)!, 0)
      assert.equal(snapshot.summary['total-records'], String(rows))
      reached.add(keyOf(table, snapshot['manifest-list']))
      for (const manifest of await readManifestList(store, keyOf(table, snapshot['manifest-list']))) {
        reached.add(keyOf(table, manifest.path))
        for (const { status, file } of await readManifest(store, keyOf(table, manifest.path), manifest))
          if (status !== 2) reached.add(keyOf(table, file.path))
      }
    }
    for (const key of reached) assert.ok(store.objects.has(key), `${key} is gone`)
    const others = [...store.objects.keys()].filter(
      (key) => !reached.has(key) && !/\/v\d+\.metadata\.json$|hint\.text$/.test(key),
    )
    const orphans = await findOrphans(lake, table, { olderThanMs: Number.MAX_SAFE_INTEGER })
    assert.deepEqual(
      orphans.map(({ key }) => key),
      others.toSorted(),
    )
    const { findings } = await verifyTable({ catalog: lake.catalog, store, name: 'trades', placeOf: (key) => key })
    assert.deepEqual(findings, [])
  }
}
