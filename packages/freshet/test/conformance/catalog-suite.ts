import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/lake/catalog.ts'
import type { TableMetadata } from '../../src/lake/metadata.ts'
import { emptyTable } from './lake-fixture.ts'

/** What every catalog must do. `make` gives an empty one; `reopen` is a second one on the same tables, as another process has it. */
export function catalogSuite(
  name: string,
  make: () => Promise<{ catalog: Catalog; reopen: () => Promise<Catalog>; dispose: () => Promise<void> }>,
): void {
  describe(`catalog: ${name}`, () => {
    let catalog: Catalog
    let reopen: () => Promise<Catalog>
    let dispose: () => Promise<void>

    beforeEach(async () => {
      ;({ catalog, reopen, dispose } = await make())
    })

    afterEach(() => dispose())

    const marked = (metadata: TableMetadata, mark: string): TableMetadata => ({
      ...metadata,
      properties: { ...metadata.properties, mark },
    })

    test('there is no table before one is created', async () => {
      expect(await catalog.tables()).toEqual([])
      expect(await catalog.load('trades')).toBeUndefined()
    })

    test('a created table is loaded and listed, by other processes too', async () => {
      const created = await catalog.create('trades', emptyTable())
      expect(created.version).toBe(1)
      expect(created.metadata.location).toMatch(/[^/]$/)
      await catalog.create('orders', emptyTable())
      for (const each of [catalog, await reopen()]) {
        expect(await each.load('trades')).toEqual(created)
        expect(await each.tables()).toEqual(['orders', 'trades'])
      }
    })

    test('a table is created once, also by concurrent callers', async () => {
      const other = await reopen()
      const results = await Promise.allSettled([
        catalog.create('trades', emptyTable()),
        other.create('trades', emptyTable()),
      ])
      expect(results.map((result) => result.status).toSorted()).toEqual(['fulfilled', 'rejected'])
      await expect(catalog.create('trades', emptyTable())).rejects.toMatchObject({ code: 'commit_conflict' })
      const winner = results.find((result) => result.status === 'fulfilled')!
      expect(await catalog.load('trades')).toEqual(winner.value)
    })

    test('a commit is the newest state, and raises the version by one', async () => {
      const created = await catalog.create('trades', emptyTable())
      const committed = await catalog.commit(created, marked(created.metadata, 'a'))
      expect(committed.version).toBe(created.version + 1)
      expect(committed.metadata.properties['mark']).toBe('a')
      expect(await (await reopen()).load('trades')).toEqual(committed)
    })

    test('a commit on a state that is not the newest changes nothing', async () => {
      const created = await catalog.create('trades', emptyTable())
      const committed = await catalog.commit(created, marked(created.metadata, 'first'))
      const late = catalog.commit(created, marked(created.metadata, 'late'))
      await expect(late).rejects.toMatchObject({ code: 'commit_conflict' })
      expect(await catalog.load('trades')).toEqual(committed)
    })

    test('of concurrent commits on one state exactly one is made', async () => {
      const created = await catalog.create('trades', emptyTable())
      const other = await reopen()
      const commits = Array.from({ length: 10 }, (_, index) =>
        (index % 2 === 0 ? catalog : other).commit(created, marked(created.metadata, String(index))),
      )
      const results = await Promise.allSettled(commits)
      const winners = results.filter((result) => result.status === 'fulfilled')
      expect(winners).toHaveLength(1)
      for (const result of results) {
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'commit_conflict' })
      }
      expect(await catalog.load('trades')).toEqual(winners[0]!.value)
    })

    test('a writer that slept through any number of commits is refused', async () => {
      const created = await catalog.create('trades', emptyTable())
      let table = created
      for (let index = 0; index < 210; index++) {
        const before = table
        table = await catalog.commit(table, marked(table.metadata, String(index)))
        if (index % 50 === 0)
          await expect(catalog.commit(before, before.metadata)).rejects.toMatchObject({ code: 'commit_conflict' })
      }
      await expect(catalog.commit(created, created.metadata)).rejects.toMatchObject({ code: 'commit_conflict' })
      expect(await (await reopen()).load('trades')).toEqual(table)
      expect(table.metadata['metadata-log'].length).toBeLessThanOrEqual(100)
    })

    test('tables do not touch each other', async () => {
      const trades = await catalog.create('trades', emptyTable())
      const orders = await catalog.create('trades_clean', emptyTable())
      await catalog.commit(trades, marked(trades.metadata, 'a'))
      expect(await catalog.load('trades_clean')).toEqual(orders)
    })

    test('snapshot ids of other engines keep all their 63 bits', async () => {
      const created = await catalog.create('trades', emptyTable())
      const id = 9_223_372_036_854_775_001n
      const snapshot = {
        'snapshot-id': id,
        'sequence-number': 1,
        'timestamp-ms': 1,
        'manifest-list': 'x',
        summary: { operation: 'append' },
      }
      await catalog.commit(created, {
        ...created.metadata,
        snapshots: [snapshot],
        'current-snapshot-id': id,
        refs: { main: { 'snapshot-id': id, type: 'branch' } },
      })
      const loaded = (await (await reopen()).load('trades'))!
      expect(loaded.metadata['current-snapshot-id']).toBe(id)
      expect(loaded.metadata.snapshots[0]).toEqual(snapshot)
    })
  })
}
