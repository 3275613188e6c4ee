/** What a change of a table's files does to queries (I4), to ids (I5), and to what is loaded and committed beside it. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TableLab } from '../../test/support/table-lab.ts'
import type { LoadedTable } from '../lake/catalog.ts'
import { FreshetError } from '../runtime/errors.ts'

let lab: TableLab

beforeEach(async () => {
  lab = await TableLab.open()
  await lab.commit('a', 'b')
  await lab.commit('c', 'd')
  await lab.load('hot')
})

afterEach(() => lab.close())

const all = ['a', 'b', 'c', 'd', 'hot']
const compact = (): Promise<LoadedTable> => lab.table.change((table) => lab.rewrite(table, lab.table.files), 'kept')

describe('files that hold the same rows', () => {
  test('are shown in one step; hot rows, position and checkpoint stay', async () => {
    const { position, checkpoint, hotRows } = lab.table
    const next = await compact()
    expect(lab.table.table).toBe(next)
    expect(lab.table.files).toHaveLength(1)
    expect(await lab.ids()).toEqual(all)
    expect(lab.table).toMatchObject({ position, checkpoint, hotRows })
  })

  test('are not seen by a query that began before, whose files are still there', async () => {
    const old = lab.table.files.map(({ key }) => key)
    let isGone = false
    const found = await lab.ids(async () => {
      await compact()
      void lab.table.readersGone().then(() => (isGone = true))
      await lab.commit('later')
      expect(await lab.ids()).toEqual([...all, 'later'].toSorted())
      expect(isGone).toBe(false)
    })
    expect(found).toEqual(all)
    expect(old).toHaveLength(2)
    await lab.table.readersGone()
    expect(isGone).toBe(true)
  })

  test('keep their ids, which are not read again, after a restart neither', async () => {
    await lab.commit(...Array.from({ length: 5000 }, (_, index) => `many-${index}`))
    await compact()
    // Nothing of the new file can be read: what is known of the ids is all there is.
    await lab.deps.store.delete(lab.table.files.map(({ key }) => key))
    expect(await lab.load('a', 'd', 'many-7', 'hot', 'new')).toBe(4)
  })

  test('are the base of what is committed next', async () => {
    await compact()
    await lab.commit('e')
    await compact()
    await lab.restart()
    expect(await lab.ids()).toEqual([...all, 'e'].toSorted())
    expect(await lab.load(...all, 'e')).toBe(6)
  })
})

describe('files that hold fewer rows', () => {
  test('are shown without those, whose ids are new again, and on disk no more', async () => {
    await lab.commit(...Array.from({ length: 5000 }, (_, index) => `many-${index}`))
    const runs = (): string[] =>
      readdirSync(join(lab.dir, 'ids'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ids'))
    expect(runs()).toHaveLength(1)
    await lab.table.change((table) => lab.rewrite(table, lab.table.files, "_event_id NOT IN ('b', 'many-3')"), 'fewer')
    expect(runs()).toEqual([])
    expect(await lab.ids()).toHaveLength(5003)
    expect(await lab.load('a', 'b', 'many-3', 'many-4')).toBe(2)
    expect(await lab.ids()).toHaveLength(5005)
  })
})

describe('a change that fails', () => {
  test('before its commit leaves everything as it was', async () => {
    const { table, files } = lab.table
    const failed = lab.table.change(async () => {
      throw new FreshetError('commit_conflict', 'Somebody was first.')
    }, 'kept')
    await expect(failed).rejects.toMatchObject({ code: 'commit_conflict' })
    expect(lab.table.table).toBe(table)
    expect(lab.table.files).toBe(files)
    expect(await lab.load(...all)).toBe(5)
  })

  test('after its commit is shown all the same', async () => {
    const failed = lab.table.change(async (table) => {
      await lab.rewrite(table, lab.table.files, "_event_id <> 'a'")
      throw new Error('the answer was lost')
    }, 'fewer')
    await expect(failed).rejects.toThrow('the answer was lost')
    expect(await lab.ids()).toEqual(['b', 'c', 'd', 'hot'])
    expect(await lab.load('a', 'b')).toBe(1)
    await lab.commit('e')
    expect(await lab.ids()).toEqual(['a', 'b', 'c', 'd', 'e', 'hot'])
  })

  test('whose answer was lost claims nothing of ids that others have changed meanwhile', async () => {
    const [first, second] = lab.table.files
    const failed = lab.table.change(async (table) => {
      const next = await lab.rewrite(table, [first!], "_event_id NOT IN ('a', 'c')")
      await lab.rewrite(next, [second!])
      throw new Error('the answer was lost')
    }, 'kept')
    await expect(failed).rejects.toThrow('the answer was lost')
    expect(await lab.load('a', 'b', 'c')).toBe(2)
  })
})

test('a change on top of others claims nothing of the ids in files that they have changed', async () => {
  const [first, second] = lab.table.files
  await lab.table.change(async (table) => {
    const theirs = await lab.rewrite(table, [first!], "_event_id NOT IN ('a', 'c')")
    return lab.rewrite(theirs, [second!])
  }, 'kept')
  expect(await lab.ids()).toHaveLength(4)
  expect(await lab.load('a', 'b', 'c')).toBe(2)
})

test('a table that another engine has loaded meanwhile is taken over as it is', async () => {
  const before = lab.table.table!
  await lab.table.change(async (table) => {
    const next = await lab.rewrite(table, lab.table.files)
    const [snapshot, ...others] = next.metadata.snapshots.toReversed()
    const summary = { ...snapshot!.summary, 'freshet.positions': '{"0":"9"}' }
    const metadata = { ...next.metadata, snapshots: [...others.toReversed(), { ...snapshot!, summary }] }
    return lab.catalog.commit(next, metadata)
  }, 'kept')
  expect(lab.overtaken).toBe(1)
  expect(lab.table.position).toBe(9n)
  expect(lab.table.table!.version).toBe(before.version + 2)
  expect(await lab.ids()).toEqual(['a', 'b', 'c', 'd'])
})

test('a change waits for a flush, and a flush for a change', async () => {
  const order: string[] = []
  const note = (what: string) => () => void order.push(what)
  const flushed = lab.table.flush().then(note('flush'))
  const changed = lab.table
    .change((table) => {
      order.push('begin')
      return lab.rewrite(table, lab.table.files)
    }, 'kept')
    .then(note('change'))
  await lab.load('x')
  const again = lab.table.flush().then(note('flush again'))
  await Promise.all([flushed, changed, again])
  expect(order).toEqual(['flush', 'begin', 'change', 'flush again'])
  expect(await lab.ids()).toEqual([...all, 'x'].toSorted())
})

test('a stream without a table has nothing to change', async () => {
  const empty = await TableLab.open()
  await expect(empty.table.change(async (table) => table, 'kept')).rejects.toThrow('has no table')
  await empty.close()
})

describe('rows that another engine deletes by their places', () => {
  test('are in no query, and their ids are new again', async () => {
    const file = lab.table.files.find(({ recordCount }) => recordCount === 2)!
    await lab.deleteRows(file, [0])
    await lab.commit('e')
    expect(await lab.ids()).toHaveLength(5)
    const gone = all.filter((id) => id !== 'hot')
    const left = await lab.ids()
    const deleted = gone.find((id) => !left.includes(id))!
    expect(await lab.load(deleted, ...left)).toBe(5)
    await lab.restart()
    expect(await lab.load(deleted, ...left)).toBe(5)
  })

  test('may be in several delete files for one file', async () => {
    for (const place of [0, 1]) await lab.deleteRows(lab.table.files[0]!, [place])
    await lab.commit('e')
    expect(await lab.ids()).toHaveLength(4)
  })
})
