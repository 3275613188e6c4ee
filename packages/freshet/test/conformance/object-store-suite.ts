import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ObjectStore, RemoteObjectStore } from '../../src/storage/object-store.ts'

/** What every object store must do. `make` gives an empty one. */
export function objectStoreSuite(
  name: string,
  make: () => Promise<{ store: ObjectStore; dispose: () => Promise<void> }>,
): void {
  describe(`object store: ${name}`, () => {
    let store: ObjectStore
    let dispose: () => Promise<void>
    let scratch: string

    beforeEach(async () => {
      ;({ store, dispose } = await make())
      scratch = await mkdtemp(join(tmpdir(), 'freshet-store-'))
    })

    afterEach(async () => {
      await dispose()
      await rm(scratch, { recursive: true })
    })

    const text = async (key: string): Promise<string | undefined> => (await store.get(key))?.toString()
    const put = (key: string, body: string): Promise<void> => store.put(key, Buffer.from(body))

    test('what was put is read back, and putting again replaces it', async () => {
      await put('a/b/c.txt', 'one')
      expect(await text('a/b/c.txt')).toBe('one')
      await put('a/b/c.txt', 'a longer text')
      await put('a/b/c.txt', 'two')
      expect(await text('a/b/c.txt')).toBe('two')
    })

    test('an empty object is an object', async () => {
      await put('empty', '')
      expect(await text('empty')).toBe('')
      expect(await store.list('')).toMatchObject([{ key: 'empty', bytes: 0 }])
    })

    test('an object that is not there is undefined, also below an object and where a folder is', async () => {
      await put('a/b', 'x')
      expect(await store.get('nothing')).toBeUndefined()
      expect(await store.get('a')).toBeUndefined()
      expect(await store.get('a/b/c')).toBeUndefined()
      expect(await store.get('nothing', { start: 0, end: 1 })).toBeUndefined()
    })

    test('a range is cut from the object, and ends with it', async () => {
      await put('digits', '0123456789')
      const range = async (start: number, end: number): Promise<string | undefined> =>
        (await store.get('digits', { start, end }))?.toString()
      expect(await range(2, 5)).toBe('234')
      expect(await range(8, 100)).toBe('89')
      expect(await range(0, 0)).toBe('')
    })

    test('a finished file is moved in', async () => {
      const file = join(scratch, 'part.parquet')
      await writeFile(file, 'rows')
      await store.put('t/data/part.parquet', { file })
      expect(await text('t/data/part.parquet')).toBe('rows')
    })

    test('putIfAbsent stores only once and leaves the first object', async () => {
      expect(await store.putIfAbsent('t/v1', Buffer.from('first'))).toBe(true)
      expect(await store.putIfAbsent('t/v1', Buffer.from('second'))).toBe(false)
      expect(await text('t/v1')).toBe('first')
      await store.delete(['t/v1'])
      expect(await store.putIfAbsent('t/v1', Buffer.from('third'))).toBe(true)
    })

    test('of concurrent putIfAbsent calls exactly one wins, and its bytes are whole', async () => {
      const bodies = Array.from({ length: 20 }, (_, index) => Buffer.alloc(10_000, index))
      const won = await Promise.all(bodies.map((body) => store.putIfAbsent('t/v2', body)))
      expect(won.filter(Boolean)).toHaveLength(1)
      expect(await store.get('t/v2')).toEqual(bodies[won.indexOf(true)])
    })

    test('listing is by prefix, recursive, sorted and shows sizes', async () => {
      for (const [key, body] of [
        ['t/b', '22'],
        ['t/a/x', '1'],
        ['t/a-b', '333'],
        ['tt/a', ''],
        ['u', '1'],
      ] as const)
        await put(key, body)
      const keys = async (prefix: string): Promise<string[]> => (await store.list(prefix)).map((entry) => entry.key)
      expect(await store.list('t/')).toMatchObject([
        { key: 't/a-b', bytes: 3 },
        { key: 't/a/x', bytes: 1 },
        { key: 't/b', bytes: 2 },
      ])
      expect(await keys('t/a')).toEqual(['t/a-b', 't/a/x'])
      expect(await keys('t')).toEqual(['t/a-b', 't/a/x', 't/b', 'tt/a'])
      expect(await keys('')).toEqual(['t/a-b', 't/a/x', 't/b', 'tt/a', 'u'])
      expect(await keys('t/a/x')).toEqual(['t/a/x'])
      expect(await keys('v')).toEqual([])
      expect(await keys('u/')).toEqual([])
    })

    test('listing says when an object was stored last, or moved in', async () => {
      const stored = async (key: string): Promise<number> => (await store.list(key))[0]!.modifiedMs
      const beforeMs = Date.now() - 1000
      await put('t/a', '1')
      const file = join(scratch, 'old.parquet')
      await writeFile(file, 'rows')
      await utimes(file, 1, 1)
      await store.put('t/b', { file })
      expect(await store.putIfAbsent('t/c', Buffer.from('1'))).toBe(true)
      for (const key of ['t/a', 't/b', 't/c']) {
        expect(await stored(key)).toBeGreaterThanOrEqual(beforeMs)
        expect(await stored(key)).toBeLessThanOrEqual(Date.now() + 1000)
      }
    })

    test('deleting removes objects and does not mind missing ones', async () => {
      await put('t/a', '1')
      await put('t/b', '2')
      await store.delete(['t/a', 'none/at/all', 't/a'])
      expect((await store.list('')).map((entry) => entry.key)).toEqual(['t/b'])
      await store.delete([])
    })

    test('keys that would leave the store are refused', async () => {
      for (const key of ['../x', 'a/../../x', '/etc/passwd', 'a//b', './a', '', 'a/']) {
        await expect(put(key, 'x')).rejects.toThrow(/key/i)
        await expect(store.get(key)).rejects.toThrow(/key/i)
        await expect(store.putIfAbsent(key, Buffer.from('x'))).rejects.toThrow(/key/i)
        await expect(store.delete([key])).rejects.toThrow(/key/i)
      }
    })
  })
}

/** What a store must do besides whose answers may be lost. `make` gives an empty one. */
export function remoteObjectStoreSuite(
  name: string,
  make: () => Promise<{ store: RemoteObjectStore; dispose: () => Promise<void> }>,
): void {
  describe(`remote object store: ${name}`, () => {
    let store: RemoteObjectStore
    let dispose: () => Promise<void>

    beforeEach(async () => {
      ;({ store, dispose } = await make())
    })

    afterEach(() => dispose())

    const text = async (key: string): Promise<string | undefined> => (await store.get(key))?.toString()

    test('putOnce knows its own object again, and never replaces one', async () => {
      expect(await store.putOnce('t/a', Buffer.from('one'), 'mark1')).toBe(true)
      expect(await store.putOnce('t/a', Buffer.from('one'), 'mark1')).toBe(true)
      expect(await store.putOnce('t/a', Buffer.from('one'), 'mark2')).toBe(false)
      expect(await store.putIfAbsent('t/a', Buffer.from('one'))).toBe(false)
      expect(await text('t/a')).toBe('one')
      await store.put('t/b', Buffer.from('of somebody'))
      expect(await store.putOnce('t/b', Buffer.from('two'), 'mark1')).toBe(false)
      expect(await text('t/b')).toBe('of somebody')
      await store.delete(['t/a'])
      expect(await store.putOnce('t/a', Buffer.from('again'), 'mark1')).toBe(true)
    })

    test('a store that is there is found to be usable, also when it is empty', async () => {
      await expect(store.check()).resolves.toBeUndefined()
      await store.put('a', Buffer.from('x'))
      await expect(store.check()).resolves.toBeUndefined()
    })
  })
}
