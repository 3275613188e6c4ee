import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { prepareSocket, socketPath } from './sockets.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'freshet-socket-'))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

test('the socket lies in the data folder where its path is short enough', () => {
  expect(socketPath('/data', 'engine')).toBe('/data/run/engine.sock')
})

test('a long data folder gets a short path of its own', () => {
  const long = socketPath(`/${'a'.repeat(200)}/data`, 'engine')
  expect(Buffer.byteLength(long)).toBeLessThanOrEqual(103)
  expect(long.startsWith(tmpdir())).toBe(true)
  expect(long).not.toBe(socketPath(`/${'b'.repeat(200)}/data`, 'engine'))
  expect(socketPath(`/${'é'.repeat(48)}/data`, 'engine').startsWith(tmpdir())).toBe(true)
})

test('the folder of a socket is open to its user alone', async () => {
  const socket = join(folder, 'run', 'engine.sock')
  await prepareSocket(socket)
  expect((await stat(join(folder, 'run'))).mode & 0o777).toBe(0o700)
  await writeFile(socket, 'left by a process that was killed')
  await prepareSocket(socket)
  await expect(stat(socket)).rejects.toMatchObject({ code: 'ENOENT' })
})

test('a folder that others could put a socket into is refused', async () => {
  await chmod(folder, 0o777)
  await expect(prepareSocket(join(folder, 'engine.sock'))).rejects.toMatchObject({ code: 'data_folder_unusable' })
})
