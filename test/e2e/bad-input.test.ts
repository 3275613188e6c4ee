/** What a hostile or broken client can do over real HTTP, and that the server is well afterwards. */
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { request, type IncomingMessage, type RequestOptions } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { ndjson, post, processOf, query, rows, serverStatus } from './support/api.ts'
import { Scene } from './support/scene.ts'
import { patience } from './support/until.ts'

const stream = 'notes'
const mebibyte = 1024 * 1024
/** What a gateway may need for bodies of up to 1 MiB from many clients, above what it needs to run. */
const memoryGrowthMaxKiB = 150 * 1024

let scene: Scene
let sockets: Socket[] = []
let sent = 0

beforeAll(async () => {
  scene = await Scene.create('bad-input', {
    http: { requestTimeout: '1 s' },
    limits: { body: '1 MiB', event: '64 KiB' },
    streams: { [stream]: {} },
  })
  await scene.serve()
  await post(scene.url, stream, [{ text: 'first' }])
  sent = 1
})

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  sockets = []
  await expectHealthy()
})

afterAll(() => scene.close())

/** Nothing died, and events and queries go through. */
async function expectHealthy(): Promise<void> {
  expect(await post(scene.url, stream, [{ text: 'next' }])).toMatchObject({ status: 202, body: { accepted: 1 } })
  sent++
  await vi.waitFor(async () => {
    expect(await rows(scene.url, `SELECT count(*)::INT AS n FROM ${stream}`)).toEqual([{ n: sent }])
  }, patience)
  const { processes } = await serverStatus(scene.url)
  expect(processes.map(({ role, state, restarts }) => `${role} ${state} ${restarts}`)).toEqual([
    'supervisor running 0',
    'gateway running 0',
    'engine running 0',
  ])
}

/** A connection; whatever the server says is kept in `heard`. */
async function open(): Promise<{ socket: Socket; heard: () => string; closed: Promise<unknown> }> {
  const socket = connect(scene.port, '127.0.0.1')
  sockets.push(socket)
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  socket.on('error', () => undefined)
  const closed = once(socket, 'close')
  await once(socket, 'connect')
  return { socket, heard: () => text, closed }
}

const head = `POST /v1/streams/${stream}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${ndjson}\r\n`

/** Peak resident size of the gateway so far; undefined where the system does not tell. */
async function gatewayPeakKiB(): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined
  const { pid } = await processOf(scene.url, 'gateway')
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

/** Sends a body of 1 GB, or as much of it as the server listens to; the status of the answer, and the bytes that were written. */
async function sendGigabyte(headers: Record<string, string>): Promise<{ status: number | undefined; bytes: number }> {
  const options: RequestOptions = { method: 'POST', host: '127.0.0.1', port: scene.port, agent: false }
  const outgoing = request({
    ...options,
    path: `/v1/streams/${stream}/events`,
    headers: { 'content-type': ndjson, ...headers },
  })
  const chunk = Buffer.from(`{"text":"${'x'.repeat(8000)}"}\n`.repeat(8))
  let bytes = 0
  const answer = Promise.withResolvers<number | undefined>()
  outgoing.on('response', (response: IncomingMessage) => {
    response.resume()
    answer.resolve(response.statusCode)
  })
  outgoing.on('error', () => answer.resolve(undefined))
  let drained = Promise.withResolvers<void>()
  outgoing.on('drain', () => drained.resolve())
  outgoing.on('close', () => {
    answer.resolve(undefined)
    drained.resolve()
  })
  while (!outgoing.destroyed && bytes < 1e9) {
    drained = Promise.withResolvers<void>()
    const isRoom = outgoing.write(chunk)
    bytes += chunk.length
    if (!isRoom) await drained.promise
  }
  outgoing.destroy()
  return { status: await answer.promise, bytes }
}

test.each([
  ['announced', { 'content-length': '1000000000' }],
  ['in chunks of unknown number', { 'transfer-encoding': 'chunked' }],
])('a body of 1 GB, %s, is cut off early with 413', async (_, headers) => {
  const before = await gatewayPeakKiB()
  const outcome = await sendGigabyte(headers)
  expect(outcome.status).toBe(413)
  // What is in the sockets' buffers was written and never read.
  expect(outcome.bytes).toBeLessThan(100 * mebibyte)
  const after = await gatewayPeakKiB()
  if (before !== undefined) expect(after! - before).toBeLessThan(memoryGrowthMaxKiB)
})

test('bodies that unpack to a gigabyte are answered 413 and never unpacked whole', async () => {
  const before = await gatewayPeakKiB()
  const huge = Buffer.alloc(256 * mebibyte, 0x20)
  const bombs = { gzip: gzipSync(huge, { level: 9 }), zstd: zstdCompressSync(huge) }
  for (const [encoding, body] of Object.entries(bombs)) {
    expect(body.length).toBeLessThan(mebibyte)
    const answers = Array.from({ length: 8 }, () =>
      fetch(`${scene.url}/v1/streams/${stream}/events`, {
        method: 'POST',
        headers: { 'content-type': ndjson, 'content-encoding': encoding },
        body: new Uint8Array(body),
      }),
    )
    for (const answer of answers) expect(await answer).toMatchObject({ status: 413 })
  }
  const after = await gatewayPeakKiB()
  if (before !== undefined) expect(after! - before).toBeLessThan(memoryGrowthMaxKiB)
})

test('a client that sends its head drop by drop is answered 408 and cut off', async () => {
  const { socket, heard, closed } = await open()
  const timer = setInterval(() => socket.write('x'), 50)
  try {
    socket.write(`${head}X-Slow: `)
    await closed
  } finally {
    clearInterval(timer)
  }
  expect(heard()).toMatch(/^HTTP\/1\.1 408 /)
  expect(heard()).toContain('request_timeout')
})

test('a client that stalls in its body is answered 408 and cut off, and nothing of it is taken', async () => {
  const { socket, heard, closed } = await open()
  socket.write(`${head}Content-Length: 1000\r\n\r\n{"text":"half of it`)
  await closed
  expect(heard()).toMatch(/^HTTP\/1\.1 408 /)
})

test('a client that goes away in the middle of its body leaves nothing behind', async () => {
  const { socket } = await open()
  socket.write(`${head}Content-Length: 1000\r\n\r\n{"text":"whole line"}\n{"text":"half`)
  socket.resetAndDestroy()
  await expectHealthy()
})

test.each([
  ['bytes that are not HTTP', '\u0000\u0001\u0002 no protocol at all\r\n\r\n'],
  [
    'a request behind which garbage is pipelined',
    `GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n${'\u00ff'.repeat(500)}\r\n\r\n`,
  ],
  ['two lengths', `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`],
  ['a length and chunks', `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['a chunk size that is no number', `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n`],
  ['headers of a megabyte', `${head}X-Large: ${'x'.repeat(mebibyte)}\r\n\r\n`],
  ['no Host', `POST /v1/streams/${stream}/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}`],
])('%s: refused, and the connection closed', async (_, text) => {
  const { socket, heard, closed } = await open()
  socket.end(text, 'latin1')
  await closed
  const statuses = [...heard().matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => Number(match[1]))
  expect(statuses.filter((code) => code >= 500)).toEqual([])
  expect(statuses.at(-1) ?? 400).toBeGreaterThanOrEqual(text.startsWith('GET') ? 200 : 400)
})

test('200 connections at once, dropped at every stage, are forgotten', async () => {
  const stages = ['', 'POST', head, `${head}Content-Length: 500\r\n\r\n`, `${head}Content-Length: 500\r\n\r\n{"text":`]
  const opened = await Promise.all(Array.from({ length: 200 }, open))
  for (const [index, { socket }] of opened.entries()) socket.write(stages[index % stages.length]!)
  for (const [index, { socket }] of opened.entries()) {
    if (index % 2 === 0) socket.resetAndDestroy()
    else socket.destroy()
  }
  const held = /^freshet_gateway_held_bytes (\d+)/m
  await vi.waitFor(async () => {
    const metrics = await (await fetch(`${scene.url}/metrics`)).text()
    expect(held.exec(metrics)?.[1]).toBe('0')
  }, patience)
})

test('SQL that reads or writes files, changes anything, or is several statements is refused', async () => {
  const secret = join(scene.folder, 'secret.csv')
  writeFileSync(secret, 'word\nhidden\n')
  const attacks = [
    `SELECT * FROM read_csv('${secret}')`,
    `SELECT * FROM read_text('${secret}')`,
    `SELECT * FROM '${secret}'`,
    `SELECT * FROM read_parquet('${scene.dataDir}/lake/**/*.parquet')`,
    `SELECT * FROM glob('/etc/*')`,
    `SELECT content FROM read_blob('/etc/passwd')`,
    `COPY (SELECT 1) TO '${join(scene.folder, 'out.csv')}'`,
    `COPY ${stream} TO '${join(scene.dataDir, 'lake', 'out.parquet')}'`,
    `ATTACH '${join(scene.folder, 'other.db')}'`,
    `CREATE TABLE t AS SELECT 1`,
    `INSERT INTO ${stream} SELECT * FROM ${stream}`,
    `DELETE FROM ${stream}`,
    `DROP VIEW ${stream}`,
    `SET enable_external_access = true`,
    `PRAGMA database_list`,
    `INSTALL httpfs`,
    `LOAD httpfs`,
    `CALL pragma_version()`,
    `EXPORT DATABASE '${join(scene.folder, 'export')}'`,
    `SELECT 1; SELECT 2`,
    `SELECT 1; DROP VIEW ${stream}`,
    `EXPLAIN ANALYZE DELETE FROM ${stream}`,
    `SELECT getenv('HOME')`,
    `SELECT * FROM duckdb_settings()`,
    `SELECT * FROM query('SELECT 1')`,
    `SELECT (SELECT content FROM read_text('${secret}'))`,
    `WITH a AS (SELECT * FROM read_csv_auto('${secret}')) SELECT * FROM a`,
  ]
  for (const sql of attacks) {
    const { status: code, body } = await query(scene.url, sql)
    expect({ sql, code, refused: [400, 403].includes(code) }).toEqual({ sql, code, refused: true })
    expect(JSON.stringify(body)).not.toContain('hidden')
  }
  expect(readFileSync(secret, 'utf8')).toBe('word\nhidden\n')
})

test('requests for another host, or from a page of another site, are refused', async () => {
  const ask = async (headers: Record<string, string>): Promise<number | undefined> => {
    const outgoing = request({ host: '127.0.0.1', port: scene.port, path: '/v1/status', headers, agent: false }).end()
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    response.resume()
    return response.statusCode
  }
  expect(await ask({})).toBe(200)
  expect(await ask({ host: `localhost:${scene.port}`, origin: `http://localhost:${scene.port}` })).toBe(200)
  expect(await ask({ host: 'evil.example' })).toBe(403)
  expect(await ask({ host: `127.0.0.1.evil.example:${scene.port}` })).toBe(403)
  expect(await ask({ origin: 'https://evil.example' })).toBe(403)
  expect(await ask({ origin: 'null' })).toBe(403)
})

test.skipIf(process.platform === 'win32')('data folder, logs and sockets are open to their owner only', () => {
  const modeOf = (...path: string[]): string => (statSync(join(scene.dataDir, ...path)).mode & 0o777).toString(8)
  for (const folder of ['', 'log', `log/${stream}`, 'lake', 'tmp', 'run', 'lock']) {
    expect({ folder, mode: modeOf(folder) }).toEqual({ folder, mode: '700' })
  }
  expect(modeOf('run', 'engine.sock')).toBe('600')
})
