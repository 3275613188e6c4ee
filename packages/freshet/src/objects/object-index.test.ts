import { randomBytes } from 'node:crypto'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ObjectsLab } from '../../test/support/objects-lab.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { IndexFile } from './index-file.ts'

let lab: ObjectsLab
beforeEach(async () => {
  lab = await ObjectsLab.open()
})
afterEach(() => lab.close())

describe('lists', () => {
  const keys = ['a', 'a/1', 'a/2', 'a/b/3', 'b', 'ä', '\u{1f600}', '\u{ffff}x']
  beforeEach(async () => {
    for (const key of keys) await lab.put(key, key)
    await lab.put('a/gone', 'x')
    await lab.objects.buckets.remove('logs', 'a/gone', null)
  })

  /** All pages, so many entries each: keys, and common prefixes in brackets. */
  async function all(request: { prefix?: string; delimiter?: string }, limit: number): Promise<string[]> {
    const found: string[] = []
    for (let after: string | undefined = ''; after !== undefined;) {
      const page = await lab.objects.buckets.list({
        bucket: 'logs',
        prefix: '',
        delimiter: '',
        ...request,
        after,
        limit,
      })
      found.push(...page.objects.map(({ key }) => key), ...page.prefixes.map((prefix) => `[${prefix}]`))
      after = page.next
    }
    return found
  }

  test.each([1, 2, 3, 100])('show every key once, in the order of bytes, %d a page', async (limit) => {
    const inOrder = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    expect(await all({}, limit)).toEqual(inOrder)
    expect(await all({ prefix: 'a/' }, limit)).toEqual(['a/1', 'a/2', 'a/b/3'])
    expect((await all({ prefix: 'a/', delimiter: '/' }, limit)).toSorted()).toEqual(['[a/b/]', 'a/1', 'a/2'])
    expect((await all({ delimiter: '/' }, limit)).toSorted()).toEqual(
      [...keys.filter((key) => !key.includes('/')), '[a/]'].toSorted(),
    )
    expect(await all({ prefix: 'nothing' }, limit)).toEqual([])
  })
})

describe('the index', () => {
  test('that is damaged is reported at each use, and works again when it was restored', async () => {
    await lab.put('a', 'one')
    await lab.objects.stop()
    const copy = readFileSync(join(lab.dir, 'index.db'))
    writeFileSync(join(lab.dir, 'index.db'), 'no database '.repeat(1000))
    await lab.start()
    await expect(lab.put('b', 'two')).rejects.toMatchObject({ code: 'objects_unavailable' })
    await expect(lab.get('a')).rejects.toMatchObject({ code: 'objects_unavailable' })
    writeFileSync(join(lab.dir, 'index.db'), copy)
    expect((await lab.get('a')).toString()).toBe('one')
  })

  test('of a newer version is left alone', async () => {
    await lab.put('a', 'one')
    await lab.objects.stop()
    const database = new DatabaseSync(join(lab.dir, 'index.db'))
    database.exec('PRAGMA user_version = 9')
    database.close()
    await lab.start()
    await expect(lab.get('a')).rejects.toMatchObject({
      code: 'objects_unavailable',
      message: expect.stringContaining('format 9'),
    })
  })

  test('has every change that was answered when the process dies without closing it', async () => {
    for (let index = 0; index < 50; index++) await lab.put(`k/${index}`, `text ${index}`)
    const files = ['index.db', 'index.db-wal'].map((name) => [name, readFileSync(join(lab.dir, name))] as const)
    await lab.objects.stop()
    for (const [name, bytes] of files) writeFileSync(join(lab.dir, name), bytes)
    // A tail that was torn off is not taken for changes.
    appendFileSync(join(lab.dir, 'index.db-wal'), randomBytes(5000))
    await lab.start()
    const page = await lab.objects.buckets.list({ bucket: 'logs', prefix: '', after: '', limit: 1000, delimiter: '' })
    expect(page.objects).toHaveLength(50)
  })

  test('a sync that fails is no success, and the next change works', async () => {
    let fails = false
    const file = new IndexFile(join(lab.dir, 'other.db'), {
      ...nodeFileSystem,
      open: async (path, mode) => {
        const handle = await nodeFileSystem.open(path, mode)
        return {
          write: (buffers, position) => handle.write(buffers, position),
          read: (position, length) => handle.read(position, length),
          size: () => handle.size(),
          truncate: (length) => handle.truncate(length),
          close: () => handle.close(),
          sync: () => (fails ? Promise.reject(new Error('EIO')) : handle.sync()),
        }
      },
    })
    const add = (name: string): Promise<unknown> =>
      file.change((database) => database.prepare('INSERT OR REPLACE INTO note VALUES (?, 1)').run(name))
    await add('one')
    fails = true
    await expect(add('two')).rejects.toMatchObject({ code: 'objects_unavailable' })
    fails = false
    await add('three')
    const names = await file.read((database) =>
      database
        .prepare('SELECT name FROM note')
        .all()
        .map(({ name }) => name),
    )
    expect(names).toEqual(expect.arrayContaining(['one', 'three']))
    await file.close()
  })
})
