import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nodeFileSystem, type FileSystem } from '../../runtime/file-system.ts'
import { systemRandom } from '../../runtime/random.ts'
import { LocalObjectStore } from './local-object-store.ts'

/** What any object store must do is in test/conformance; here is what holds for files. */
describe('the local object store', () => {
  let root: string
  let calls: string[]
  let store: LocalObjectStore
  let failAt: string | undefined

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'freshet-local-'))
    calls = []
    failAt = undefined
    store = new LocalObjectStore({ root, fileSystem: recording(), random: systemRandom })
  })

  afterEach(() => rm(root, { recursive: true }))

  /** The real file system, noting the calls that durability hangs on, and failing one of them if asked. */
  function recording(): FileSystem {
    const note = (call: string, path: string): void => {
      const name = path === root ? '/' : path.slice(root.length).replace(/\.tmp-[0-9a-f]+/, 'TMP')
      calls.push(`${call} ${name}`)
      if (failAt === call) throw new Error(`${call} failed`)
    }
    return {
      ...nodeFileSystem,
      open: async (path, mode) => {
        const file = await nodeFileSystem.open(path, mode)
        return {
          write: (buffers, position) => file.write(buffers, position),
          read: (position, length) => file.read(position, length),
          size: () => file.size(),
          truncate: (length) => file.truncate(length),
          close: () => file.close(),
          sync: async () => {
            note('sync', path)
            await file.sync()
          },
        }
      },
      rename: async (from, to) => {
        note('rename', to)
        await nodeFileSystem.rename(from, to)
      },
      link: async (from, to) => {
        note('link', to)
        await nodeFileSystem.link(from, to)
      },
      syncDir: async (path) => {
        if (path.startsWith(root)) note('syncDir', path)
        await nodeFileSystem.syncDir(path)
      },
    }
  }

  test('bytes are durable before the name is, and the name before the call returns (I2)', async () => {
    await store.put('a/x', Buffer.from('1'))
    calls = []
    await store.put('a/y', Buffer.from('1'))
    expect(calls).toEqual(['sync /a/TMP', 'rename /a/y', 'syncDir /a'])
    calls = []
    await store.putIfAbsent('a/z', Buffer.from('1'))
    expect(calls).toEqual(['sync /a/TMP', 'link /a/z', 'syncDir /a'])
    await writeFile(join(root, 'w'), 'rows')
    calls = []
    await store.put('a/w', { file: join(root, 'w') })
    expect(calls).toEqual(['sync /w', 'rename /a/w', 'syncDir /a', 'syncDir /'])
    calls = []
    await store.delete(['a/x', 'a/y'])
    expect(calls).toEqual(['syncDir /a'])
  })

  test('a name that is said to be taken is durable, also when its own writer could not make it so', async () => {
    await store.put('a/x', Buffer.from('1'))
    failAt = 'syncDir'
    await expect(store.putIfAbsent('a/z', Buffer.from('1'))).rejects.toThrow('syncDir failed')
    await expect(store.putIfAbsent('a/z', Buffer.from('1'))).rejects.toThrow('syncDir failed')
    failAt = undefined
    calls = []
    expect(await store.putIfAbsent('a/z', Buffer.from('1'))).toBe(false)
    expect(calls.at(-1)).toBe('syncDir /a')
  })

  test('the folders above a new object are made durable, also when they were there already', async () => {
    await nodeFileSystem.makeDir(join(root, 'a', 'b'))
    await store.put('a/b/x', Buffer.from('1'))
    expect(calls.slice(0, 2)).toEqual(['syncDir /', 'syncDir /a'])
  })

  for (const call of ['sync', 'rename', 'link']) {
    test(`when ${call} fails no object appears and no temporary file stays`, async () => {
      failAt = call
      const stored = call === 'link' ? store.putIfAbsent('a/x', Buffer.from('1')) : store.put('a/x', Buffer.from('1'))
      await expect(stored).rejects.toThrow(`${call} failed`)
      expect(await store.get('a/x')).toBeUndefined()
      expect(await readdir(join(root, 'a'))).toEqual([])
    })
  }

  test('a temporary file that a crash left is not an object', async () => {
    await store.put('a/x', Buffer.from('1'))
    await writeFile(join(root, 'a', '.tmp-0011'), 'half')
    expect(await store.list('')).toEqual([{ key: 'a/x', bytes: 1, modifiedMs: expect.any(Number) as number }])
    await expect(store.get('a/.tmp-0011')).rejects.toMatchObject({ code: 'internal' })
  })
})
