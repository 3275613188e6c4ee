/** Objects through the processes of a real server: puts while the gateway is killed, the command line, and what SQL sees (I1, I5, I10). */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { processOf, rows } from './support/api.ts'
import { Scene } from './support/scene.ts'
import { patience } from './support/until.ts'

const key = randomBytes(32).toString('base64')

let scene: Scene
beforeEach(async () => {
  scene = await Scene.create('objects', {
    lake: { flushInterval: '200 ms' },
    streams: { files: { id: 'id', time: 'put_at' } },
    buckets: { logs: { stream: 'files', encrypt: { keys: [key] } } },
  })
})
afterEach(() => scene.close())

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** Puts until the server has it, as a client that is cut off does. */
async function put(name: string, bytes: Buffer<ArrayBuffer>): Promise<void> {
  await vi.waitFor(
    async () => {
      const response = await fetch(`${scene.url}/v1/objects/logs/${name}`, {
        method: 'PUT',
        body: bytes,
        headers: { 'x-freshet-sha256': sha(bytes) },
      })
      if (response.status !== 200 && response.status !== 201) throw new Error(await response.text())
    },
    { ...patience, interval: 50 },
  )
}

async function get(name: string): Promise<Buffer> {
  const response = await fetch(`${scene.url}/v1/objects/logs/${name}`)
  if (response.status !== 200) throw new Error(await response.text())
  return Buffer.from(await response.arrayBuffer())
}

async function run(...args: string[]): Promise<string> {
  const command = scene.run(['objects', ...args, '--url', scene.url])
  if ((await command.ended()) !== 0) throw new Error(command.output)
  return command.output
}

async function killGateway(): Promise<void> {
  const { pid } = await processOf(scene.url, 'gateway')
  process.kill(pid, 'SIGKILL')
  await vi.waitFor(async () => expect((await processOf(scene.url, 'gateway')).pid).not.toBe(pid), patience)
}

test('every object that was answered is there, and every change is one event, however often the gateway is killed', async () => {
  await scene.serve()
  const answered = new Map<string, string>()
  const over = new AbortController()
  const client = async (name: string): Promise<void> => {
    for (let count = 0; !over.signal.aborted; count++) {
      // Small ones, and some of several blocks.
      const bytes = randomBytes(count % 5 === 0 ? 700_000 : 1 + count)
      await put(`${name}/${count}`, bytes)
      answered.set(`${name}/${count}`, sha(bytes))
    }
  }
  const clients = ['a', 'b', 'c', 'd'].map(client)
  for (let round = 0; round < 4; round++) {
    const target = answered.size + 15
    await vi.waitFor(() => expect(answered.size).toBeGreaterThan(target), patience)
    await killGateway()
  }
  over.abort()
  await Promise.all(clients)
  for (const [name, hash] of answered) expect(sha(await get(name)), name).toBe(hash)
  await vi.waitFor(async () => {
    const sql = 'select key, sha256, count(*) as n from files group by all'
    const found = await rows(scene.url, sql)
    expect(new Map(found.map((row) => [row['key'], row['sha256']]))).toEqual(answered)
    expect(found.filter(({ n }) => n !== 1)).toEqual([])
  }, patience)
  // Nothing is left of the puts that were cut off.
  expect(readdirSync(join(scene.dataDir, 'objects', 'incoming'))).toEqual([])
})

test('a folder goes in by the command line, and a large file goes on after a kill; a rotation makes the old key needless', async () => {
  const server = await scene.serve()
  const folder = join(scene.folder, 'in')
  mkdirSync(folder)
  const large = Buffer.concat([randomBytes(30_000_000), Buffer.alloc(20_000_000, 'a line of a log\n')])
  writeFileSync(join(folder, 'large.log'), large)
  writeFileSync(join(folder, 'small.log'), 'one line\n')
  const sending = run('put', 'logs', folder, '-r')
  const parts = join(scene.dataDir, 'objects', 'parts')
  await vi.waitFor(() => expect(existsSync(parts)).toBe(true), patience)
  await killGateway()
  expect(await sending).toContain('2 objects put')
  expect(await run('put', 'logs', folder, '-r')).toContain('2 there already')
  expect((await get('large.log')).equals(large)).toBe(true)
  const range = await fetch(`${scene.url}/v1/objects/logs/large.log`, { headers: { range: 'bytes=29999990-30000009' } })
  expect(Buffer.from(await range.arrayBuffer()).equals(large.subarray(29_999_990, 30_000_010))).toBe(true)
  await server.stop()

  const newer = randomBytes(32).toString('base64')
  const config = (keys: unknown[]): void => {
    const words = {
      dataDir: scene.dataDir,
      streams: { files: { id: 'id', time: 'put_at' } },
      buckets: { logs: { stream: 'files', encrypt: { keys } } },
    }
    writeFileSync(join(scene.folder, 'freshet.config.mjs'), `export default ${JSON.stringify(words)}\n`)
  }
  config([newer, key])
  const second = await scene.serve()
  expect(await run('rotate', 'logs')).toContain('2 keys wrapped by the newest master key')
  await second.stop()
  config([newer])
  const third = await scene.serve()
  expect((await get('large.log')).equals(large)).toBe(true)
  expect([server, second, third].some(({ output }) => output.includes(key) || output.includes(newer))).toBe(false)
  await third.stop()
  config([{ env: 'FRESHET_TEST_KEY_THAT_IS_NOT_SET' }])
  const refused = scene.run(['start', '--port', String(scene.port)])
  expect(await refused.ended()).toBe(1)
  expect(refused.output).toContain('The environment variable FRESHET_TEST_KEY_THAT_IS_NOT_SET is not set')
})

const realLogs = join(import.meta.dirname, '../../../shared/data/logs')

test.skipIf(!existsSync(realLogs))('real logs are kept compressed, and come back as they were', async () => {
  scene = await Scene.create('objects-real', {
    lake: { flushInterval: '200 ms' },
    streams: { files: { id: 'id', time: 'put_at' } },
    buckets: { logs: { stream: 'files' } },
  })
  await scene.serve()
  const files = readdirSync(realLogs).filter((name) => name.endsWith('.log'))
  await run('put', 'logs', realLogs, '-r')
  let plain = 0
  for (const name of files) {
    const bytes = readFileSync(join(realLogs, name))
    plain += bytes.length
    expect((await get(name)).equals(bytes)).toBe(true)
  }
  const stored = readdirSync(join(scene.dataDir, 'objects', 'blobs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => basename(name).length === 64)
    .reduce((sum, name) => sum + readFileSync(join(scene.dataDir, 'objects', 'blobs', name)).length, 0)
  expect(plain / stored).toBeGreaterThan(5)
  await vi.waitFor(async () => {
    expect(await rows(scene.url, 'select count(*) as n, sum(size) as bytes from files')).toEqual([
      { n: files.length, bytes: plain },
    ])
  }, patience)
})

test('a damaged index is reported, and events go on', async () => {
  const first = await scene.serve()
  await put('a', randomBytes(10))
  await first.stop()
  const folder = join(scene.dataDir, 'objects')
  rmSync(join(folder, 'index.db-wal'), { force: true })
  writeFileSync(join(folder, 'index.db'), 'no database '.repeat(1000))
  await scene.serve()
  const answer = await fetch(`${scene.url}/v1/objects/logs/a`)
  expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([503, 'objects_unavailable'])
  const posted = await fetch(`${scene.url}/v1/streams/other/events`, {
    method: 'POST',
    body: '{"a":1}',
    headers: { 'content-type': 'application/json' },
  })
  expect(posted.status).toBe(202)
})
