import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDataFolder } from './data-folder.ts'
import { nodeFileSystem } from './file-system.ts'

let parent: string
let dataDir: string

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'freshet-data-'))
  dataDir = join(parent, 'deep', 'data')
})

afterEach(() => rm(parent, { recursive: true, force: true }))

const open = () => openDataFolder({ dataDir, version: '1.2.3', fileSystem: nodeFileSystem })

test('a new data folder gets its format and its layout, and opens again', async () => {
  await open()
  const folder = await open()
  expect(await readdir(dataDir)).toEqual([
    'cache',
    'consumers',
    'erasures',
    'freshet.json',
    'lake',
    'letter-replays',
    'lock',
    'log',
    'objects',
    'replays',
    'run',
    'sinks',
    'sites',
    'tmp',
    'tmp-worker',
  ])
  expect(JSON.parse(await readFile(join(dataDir, 'freshet.json'), 'utf8'))).toEqual({
    format: 1,
    createdBy: 'freshet 1.2.3',
  })
  expect(folder.logDir).toBe(join(dataDir, 'log'))
})

test('opening at the same time from several sides creates one folder', async () => {
  await Promise.all([open(), open(), open()])
  expect(await readdir(dataDir)).toContain('freshet.json')
})

test('a data folder of a newer format is refused and left as it is', async () => {
  await mkdir(dataDir, { recursive: true })
  await writeFile(join(dataDir, 'freshet.json'), '{"format":2,"createdBy":"freshet 9.0.0"}')
  await expect(open()).rejects.toMatchObject({ code: 'data_folder_newer', message: expect.stringContaining('9.0.0') })
  expect(await readdir(dataDir)).toEqual(['freshet.json'])
})

test.each(['', '{"format":', '{"format":"one"}', '[]', 'null'])(
  'a damaged format file (%j) is refused',
  async (text) => {
    await mkdir(dataDir, { recursive: true })
    await writeFile(join(dataDir, 'freshet.json'), text)
    await expect(open()).rejects.toMatchObject({ code: 'data_folder_unusable' })
  },
)

test('a path that is a file is refused with the path named', async () => {
  await mkdir(join(parent, 'deep'))
  await writeFile(dataDir, 'a file')
  await expect(open()).rejects.toMatchObject({
    code: 'data_folder_unusable',
    message: expect.stringContaining(dataDir),
  })
})
