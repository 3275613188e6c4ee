import { chmod, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { engineSocketPath, prepareSocketFolder } from './engine-socket.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'freshet-socket-'))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

test('the socket lies in the data folder where its path is short enough', () => {
  expect(engineSocketPath('/data')).toBe('/data/run/engine.sock')
})

test('a long data folder gets a short path of its own', () => {
  const long = engineSocketPath(`/${'a'.repeat(200)}/data`)
  expect(Buffer.byteLength(long)).toBeLessThanOrEqual(103)
  expect(long.startsWith(tmpdir())).toBe(true)
  expect(long).not.toBe(engineSocketPath(`/${'b'.repeat(200)}/data`))
  expect(engineSocketPath(`/${'é'.repeat(48)}/data`).startsWith(tmpdir())).toBe(true)
})

test('the folder of a socket is open to its user alone', async () => {
  const socket = join(folder, 'run', 'engine.sock')
  await prepareSocketFolder(socket)
  expect((await stat(join(folder, 'run'))).mode & 0o777).toBe(0o700)
  await prepareSocketFolder(socket)
})

test('a folder that others could put a socket into is refused', async () => {
  await chmod(folder, 0o777)
  await expect(prepareSocketFolder(join(folder, 'engine.sock'))).rejects.toMatchObject({ code: 'data_folder_unusable' })
})
