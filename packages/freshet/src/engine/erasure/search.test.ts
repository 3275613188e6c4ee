/** What of a search after an erasure needs no table: which files count as looked through. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { nodeFileSystem, type FileSystem } from '../../runtime/file-system.ts'
import { searchIds } from './search.ts'

const needles = [Buffer.from('person-a')]
let dir: string

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-search-'))
  await writeFile(join(dir, 'run'), `${'x'.repeat(100_000)}person-a`)
})

afterEach(() => rm(dir, { recursive: true, force: true }))

/** A disk on which no file can be opened. */
function failing(code: string): FileSystem {
  const open = (path: string): Promise<never> =>
    Promise.reject(Object.assign(new Error(`${code}: '${path}'`), { code }))
  return { ...nodeFileSystem, open }
}

test('a value is found wherever it stands in a file', async () => {
  const found = await searchIds(nodeFileSystem, dir, needles)
  expect(found).toMatchObject({ files: 1, bytes: 100_008, explained: [expect.stringContaining(join(dir, 'run'))] })
  expect((await searchIds(nodeFileSystem, dir, [Buffer.from('person-b')])).explained).toEqual([])
})

test('a file that has gone meanwhile has nothing', async () => {
  expect((await searchIds(failing('ENOENT'), dir, needles)).explained).toEqual([])
})

test.each(['EIO', 'EACCES', 'EMFILE'])(
  'a file that cannot be read, %s, ends the search: nobody knows what it has',
  async (code) => {
    await expect(searchIds(failing(code), dir, needles)).rejects.toThrow(code)
  },
)
