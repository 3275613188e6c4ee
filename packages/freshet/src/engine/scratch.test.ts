import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { emptyScratch } from './scratch.ts'

test('the scratch folder is emptied and stays the same folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'freshet-scratch-'))
  try {
    await writeFile(join(folder, 'a.ndjson'), 'x')
    await mkdir(join(folder, 'spill', 'deep'), { recursive: true })
    const { ino } = await stat(folder)
    await emptyScratch(folder)
    expect(await readdir(folder)).toEqual([])
    expect((await stat(folder)).ino).toBe(ino)
  } finally {
    await rm(folder, { recursive: true })
  }
})
