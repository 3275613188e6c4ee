import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import {
  filesPlan,
  startObjectGateway,
  type ObjectGateway,
  type ObjectGatewayChanges,
} from '../../test/support/object-gateway.ts'
import { encrypted, masterKey } from '../../test/support/objects-lab.ts'
import { blobPlace } from '../objects/blobs.ts'
import { FreshetError } from '../runtime/errors.ts'

let lab: ObjectGateway
const start = async (changes: ObjectGatewayChanges = {}): Promise<ObjectGateway> =>
  (lab = await startObjectGateway(changes))
afterEach(() => lab.close())

const sha = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex')
const path = (key: string): string => `/v1/objects/logs/${key}`
const code = ({ status, json }: { status: number; json: Record<string, unknown> }): unknown[] => [status, json['code']]

describe('objects over HTTP', () => {
  test('are counted in the status; a damaged index is said there, and nothing else suffers', async () => {
    await start()
    const bucketsOf = async (): Promise<unknown> => (await lab.raw('GET', '/v1/status')).json['buckets']
    await lab.raw('PUT', path('a'), {}, 'line 1\n')
    await lab.raw('PUT', path('b'), {}, 'line 2\n')
    await lab.raw('DELETE', path('b'))
    const bucket = { name: 'logs', stream: 'logs_files' }
    expect(await bucketsOf()).toEqual([
      { ...bucket, objects: 1, bytes: 7, storedBytes: null, uploads: 0, problem: null },
    ])
    await lab.objects.stop()
    writeFileSync(join(lab.folder, 'index.db'), 'no database')
    expect(await bucketsOf()).toEqual([
      {
        ...bucket,
        objects: null,
        bytes: null,
        storedBytes: null,
        uploads: null,
        problem: expect.stringContaining('index.db cannot be used') as string,
      },
    ])
  })

  test('are put, got with what was said of them, and removed; each is an event', async () => {
    await start()
    const headers = {
      'content-type': 'text/plain; charset=utf-8',
      'x-freshet-meta-host': 'web-1',
      'freshet-source': 'site',
    }
    const put = await lab.raw('PUT', path('2026/a%20b.log'), headers, 'line 1\n')
    expect(put).toMatchObject({
      status: 201,
      headers: { etag: `"${sha('line 1\n')}"` },
      json: {
        bucket: 'logs',
        key: '2026/a b.log',
        sha256: sha('line 1\n'),
        size: 7,
        contentType: 'text/plain; charset=utf-8',
        metadata: { host: 'web-1' },
        version: expect.any(Number),
        putAt: expect.stringMatching(/Z$/),
      },
    })
    expect(await lab.raw('GET', path('2026/a%20b.log'))).toMatchObject({
      status: 200,
      headers: {
        'content-type': 'text/plain; charset=utf-8',
        'content-length': '7',
        'x-freshet-meta-host': 'web-1',
        'accept-ranges': 'bytes',
        etag: `"${sha('line 1\n')}"`,
        'x-freshet-version': String(put.json['version']),
      },
      body: Buffer.from('line 1\n'),
    })
    const head = await lab.raw('HEAD', path('2026/a%20b.log'))
    expect(head).toMatchObject({ status: 200, headers: { 'content-length': '7', 'x-freshet-meta-host': 'web-1' } })
    expect(head.body).toHaveLength(0)
    expect((await lab.raw('DELETE', path('2026/a%20b.log'))).status).toBe(204)
    expect((await lab.raw('DELETE', path('2026/a%20b.log'))).status).toBe(204)
    expect(code(await lab.raw('GET', path('2026/a%20b.log')))).toEqual([404, 'unknown_object'])
    expect(await lab.raw('GET', `${path('2026/a%20b.log')}?version=${String(put.json['version'])}`)).toMatchObject({
      status: 200,
    })
    const [arrival, removal] = lab.log.events()
    expect(arrival).toMatchObject({
      _event_id: `logs/2026/a b.log@${String(put.json['version'])}`,
      _event_time: put.json['putAt'],
      _source: 'site',
      key: '2026/a b.log',
      sha256: sha('line 1\n'),
      size: 7,
      content_type: 'text/plain; charset=utf-8',
      metadata: { host: 'web-1' },
      deleted: false,
    })
    expect(removal).toMatchObject({ key: '2026/a b.log', deleted: true, sha256: sha('line 1\n') })
    expect(lab.log.events()).toHaveLength(2)
  })

  test('the same again answers 200 with the same version, and makes no event', async () => {
    await start()
    const first = await lab.raw('PUT', path('a'), {}, 'one')
    const again = await lab.raw('PUT', path('a'), { 'x-freshet-sha256': sha('one'), 'if-none-match': '*' }, 'one')
    expect([again.status, again.json['version']]).toEqual([200, first.json['version']])
    expect(lab.log.events()).toHaveLength(1)
    expect(code(await lab.raw('PUT', path('a'), { 'if-none-match': '*' }, 'two'))).toEqual([412, 'object_exists'])
    expect((await lab.raw('GET', path('a'))).body.toString()).toBe('one')
  })

  test('checksums are verified, in both forms', async () => {
    await start()
    const digest = (text: string): string => `sha-256=:${createHash('sha256').update(text).digest('base64')}:`
    expect((await lab.raw('PUT', path('a'), { 'content-digest': `md5=:AA==:, ${digest('one')}` }, 'one')).status).toBe(
      201,
    )
    for (const headers of [{ 'content-digest': digest('two') }, { 'x-freshet-sha256': sha('two') }])
      expect(code(await lab.raw('PUT', path('b'), headers, 'one'))).toEqual([400, 'checksum_mismatch'])
    for (const headers of [{ 'content-digest': 'md5=:AA==:' }, { 'x-freshet-sha256': 'abc' }])
      expect(code(await lab.raw('PUT', path('b'), headers as Record<string, string>, 'one'))).toEqual([
        400,
        'invalid_header',
      ])
    expect(code(await lab.raw('GET', path('b')))).toEqual([404, 'unknown_object'])
    expect(readdirSync(join(lab.folder, 'incoming'))).toEqual([])
  })

  test('an empty object is one', async () => {
    await start()
    expect(await lab.raw('PUT', path('empty'))).toMatchObject({ status: 201, json: { size: 0, sha256: sha('') } })
    expect(await lab.raw('GET', path('empty'))).toMatchObject({ status: 200, headers: { 'content-length': '0' } })
    expect(code(await lab.raw('GET', path('empty'), { range: 'bytes=0-' }))).toEqual([416, 'range_not_satisfiable'])
  })

  test.each<[string, number, string | undefined, [number, number] | undefined]>([
    ['bytes=0-9', 206, 'bytes 0-9/700000', [0, 10]],
    ['bytes=699990-', 206, 'bytes 699990-699999/700000', [699_990, 700_000]],
    ['bytes=-10', 206, 'bytes 699990-699999/700000', [699_990, 700_000]],
    ['bytes=262143-262144', 206, 'bytes 262143-262144/700000', [262_143, 262_145]],
    ['bytes=10-9999999', 206, 'bytes 10-699999/700000', [10, 700_000]],
    ['bytes=-9999999', 206, 'bytes 0-699999/700000', [0, 700_000]],
    ['bytes=700000-', 416, 'bytes */700000', undefined],
    ['bytes=-0', 416, 'bytes */700000', undefined],
    ['bytes=9-5', 200, undefined, [0, 700_000]],
    ['bytes=0-1,5-6', 200, undefined, [0, 700_000]],
    ['lines=0-1', 200, undefined, [0, 700_000]],
  ])('range %s answers %d', async (range, status, contentRange, bytes) => {
    await start({ form: encrypted(masterKey()) })
    const plain = randomBytes(700_000)
    await lab.raw('PUT', path('a'), {}, plain)
    const answer = await lab.raw('GET', path('a'), { range })
    expect([answer.status, answer.headers['content-range']]).toEqual([status, contentRange])
    if (bytes !== undefined) expect(answer.body.equals(plain.subarray(...bytes))).toBe(true)
  })

  test('conditions: If-None-Match of a reader, If-Range', async () => {
    await start()
    await lab.raw('PUT', path('a'), {}, 'one two')
    const tag = `"${sha('one two')}"`
    for (const list of [tag, `"x", ${tag}`, `W/${tag}`, '*']) {
      expect((await lab.raw('GET', path('a'), { 'if-none-match': list })).status).toBe(304)
      expect((await lab.raw('HEAD', path('a'), { 'if-none-match': list })).status).toBe(304)
    }
    expect((await lab.raw('GET', path('a'), { 'if-none-match': '"x"' })).status).toBe(200)
    expect((await lab.raw('GET', path('a'), { range: 'bytes=0-2', 'if-range': tag })).status).toBe(206)
    expect((await lab.raw('GET', path('a'), { range: 'bytes=0-2', 'if-range': '"x"' })).status).toBe(200)
  })

  test('are listed by pages, with common prefixes', async () => {
    await start()
    for (const key of ['a/1', 'a/2', 'b', 'c/d/1']) await lab.raw('PUT', path(key), {}, key)
    const first = await lab.raw('GET', '/v1/objects/logs?limit=2')
    expect(first.json).toMatchObject({ objects: [{ key: 'a/1' }, { key: 'a/2' }], next: 'a/2' })
    const rest = await lab.raw('GET', '/v1/objects/logs?after=a%2F2')
    expect(rest.json).toMatchObject({ objects: [{ key: 'b' }, { key: 'c/d/1' }], next: null })
    const folders = await lab.raw('GET', '/v1/objects/logs?delimiter=%2F')
    expect(folders.json).toMatchObject({ objects: [{ key: 'b' }], prefixes: ['a/', 'c/'] })
    expect(code(await lab.raw('GET', '/v1/objects/logs?limit=0'))).toEqual([400, 'invalid_request'])
    expect((await lab.raw('GET', '/v1/objects/logs?prefx=a')).json['hint']).toMatch(/Did you mean "prefix"/)
    expect((await lab.raw('GET', '/v1/objects')).json).toEqual({
      buckets: [
        { name: 'logs', stream: 'logs_files', objectBytesMax: 64 * 2 ** 20, compressed: true, encrypted: false },
      ],
    })
  })
})

describe('what is refused', () => {
  test('buckets that are not declared', async () => {
    await start()
    for (const method of ['GET', 'PUT', 'DELETE', 'POST'])
      expect(code(await lab.raw(method, '/v1/objects/lgos/a', {}, method === 'PUT' ? 'x' : ''))).toEqual([
        404,
        'unknown_bucket',
      ])
    expect(code(await lab.raw('GET', '/v1/objects/lgos'))).toEqual([404, 'unknown_bucket'])
    expect(code(await lab.raw('GET', '/v1/objects/__proto__/a'))).toEqual([404, 'unknown_bucket'])
  })

  test.each([
    ['..', 'a/../../../etc/passwd'],
    ['.. encoded', 'a/%2e%2e/%2e%2e/b'],
    ['a slash encoded beside ..', '..%2f..%2findex.db'],
    ['.', './a'],
    ['nothing between slashes', 'a//b'],
    ['nothing behind the last slash', 'a/'],
    ['a NUL', 'a%00b'],
    ['a line feed', 'a%0d%0aset-cookie:%20x'],
    ['too many bytes', 'x'.repeat(1025)],
    ['broken UTF-8', 'a%ff'],
    ['broken escapes', 'a%zz'],
  ])('a key with %s', async (_, key) => {
    await start()
    for (const method of ['PUT', 'GET', 'DELETE'])
      expect(code(await lab.raw(method, path(key), {}, method === 'PUT' ? 'x' : ''))).toEqual([400, 'invalid_request'])
    expect(lab.log.batches).toEqual([])
  })

  test.each<[string, Record<string, string>, number, string]>([
    ['metadata beyond ASCII', { 'x-freshet-meta-a': 'm\u00fcnchen' }, 400, 'invalid_header'],
    ['metadata without a name', { 'x-freshet-meta-': 'a' }, 400, 'invalid_header'],
    ['too much metadata', { 'x-freshet-meta-a': 'x'.repeat(4096) }, 400, 'invalid_header'],
    ['a type that is none', { 'content-type': 'text' }, 415, 'unsupported_media_type'],
    ['an encoding', { 'content-encoding': 'gzip' }, 415, 'unsupported_encoding'],
    ['another condition', { 'if-none-match': '"x"' }, 400, 'invalid_header'],
    ['a source beyond ASCII', { 'freshet-source': '\u00fc' }, 400, 'invalid_header'],
  ])('%s', async (_, headers, status, expected) => {
    await start()
    expect(code(await lab.raw('PUT', path('a'), headers, 'x'))).toEqual([status, expected])
    expect(lab.log.batches).toEqual([])
  })

  test('more bytes than an object may have, announced or not', async () => {
    await start({ bucket: { objectBytesMax: 100_000 } })
    const large = Buffer.alloc(200_000)
    expect(code(await lab.raw('PUT', path('a'), { 'content-length': '200000' }, large))).toEqual([
      413,
      'object_too_large',
    ])
    expect(code(await lab.raw('PUT', path('a'), { 'transfer-encoding': 'chunked' }, large))).toEqual([
      413,
      'object_too_large',
    ])
    expect(readdirSync(join(lab.folder, 'incoming'))).toEqual([])
    expect((await lab.raw('PUT', path('a'), {}, large.subarray(0, 100_000))).status).toBe(201)
  })

  test('objects for which the disk has no room', async () => {
    const free = { freeBytes: () => Promise.resolve(1000) }
    await start({ limits: { diskFreeBytesMin: 900 }, gateway: { fileSystem: free } })
    const answer = await lab.raw('PUT', path('a'), { 'content-length': '200' }, 'x'.repeat(200))
    expect(code(answer)).toEqual([503, 'disk_full'])
    expect(answer.headers['retry-after']).toBe('30')
    expect((await lab.raw('PUT', path('a'), { 'content-length': '50' }, 'x'.repeat(50))).status).toBe(201)
  })

  test('an object whose event the stream would not take', async () => {
    const schema = { type: 'object', properties: { key: { type: 'string', pattern: '^2026/' } } }
    await start({ streams: [{ ...filesPlan, schema }] })
    const answer = await lab.raw('PUT', path('2025/a'), {}, 'x')
    expect(code(answer)).toEqual([422, 'schema_violation'])
    expect(answer.json['detail']).toContain('/key')
    expect(code(await lab.raw('GET', path('2025/a')))).toEqual([404, 'unknown_object'])
    expect((await lab.raw('PUT', path('2026/a'), {}, 'x')).status).toBe(201)
  })

  test('a page that was put cannot act as one of the server', async () => {
    await start()
    await lab.raw('PUT', path('a.html'), { 'content-type': 'text/html' }, '<script>alert(1)</script>')
    expect((await lab.raw('GET', path('a.html'))).headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
    })
  })

  test('other methods, with those there are', async () => {
    await start()
    const answer = await lab.raw('PATCH', path('a/b/c'))
    expect([answer.status, answer.headers.allow]).toEqual([405, 'GET, PUT, POST, DELETE, HEAD'])
  })
})

describe('while the log cannot be written', () => {
  test('a put is answered 503, and its event comes later, once', async () => {
    await start()
    lab.log.failure = new FreshetError('disk_full', 'The disk is nearly full.')
    expect(code(await lab.raw('PUT', path('a'), {}, 'one'))).toEqual([503, 'disk_full'])
    lab.log.failure = undefined
    await expect.poll(() => lab.log.events().length, { timeout: 10_000 }).toBe(1)
    expect((await lab.raw('PUT', path('a'), {}, 'one')).status).toBe(200)
    expect(lab.log.events()).toHaveLength(1)
  })
})

describe('damage', () => {
  test('in the first block is an answer; in a later one the connection is broken off', async () => {
    await start({ form: { level: null, keys: null } })
    const plain = randomBytes(700_000)
    await lab.raw('PUT', path('a'), {}, plain)
    const file = join(lab.folder, blobPlace('logs', sha(plain)))
    const damaged = Buffer.from(plain)
    damaged[600_000] = damaged[600_000]! ^ 1
    const stored = readFileSync(file)
    writeFileSync(file, Buffer.concat([damaged, stored.subarray(plain.length)]))
    await expect(lab.raw('GET', path('a'))).rejects.toThrow(/aborted|hang up|reset/)
    expect((await lab.raw('GET', path('a'), { range: 'bytes=0-9' })).status).toBe(206)
    damaged[0] = damaged[0]! ^ 1
    writeFileSync(file, Buffer.concat([damaged, stored.subarray(plain.length)]))
    expect(code(await lab.raw('GET', path('a')))).toEqual([500, 'corrupt_object'])
  })
})

describe('clients that are slow', () => {
  test('may take longer than a request, as long as they go on', async () => {
    await start({ http: { requestTimeoutMs: 400 } })
    const piece = Buffer.alloc(70_000, 'x')
    const pieces = 12
    const answer = await new Promise<number>((resolve, reject) => {
      const put = request(
        { host: '127.0.0.1', port: lab.port, path: path('a'), method: 'PUT', agent: false },
        (response) => {
          response.resume().on('end', () => resolve(response.statusCode!))
        },
      ).on('error', reject)
      void (async () => {
        for (let sent = 0; sent < pieces; sent++) {
          put.write(piece)
          await delay(150)
        }
        put.end()
      })()
    })
    expect(answer).toBe(201)
    expect((await lab.raw('GET', path('a'))).body).toHaveLength(pieces * piece.length)
  })

  test('are answered 408 when they stall, and leave nothing behind', async () => {
    await start({ http: { requestTimeoutMs: 300 } })
    const socket = connect(lab.port, '127.0.0.1')
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString())).on('error', () => {})
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.write(`PUT ${path('a')} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nstart`)
    await closed
    expect(text).toMatch(/^HTTP\/1\.1 408 [^]*request_timeout/)
    await expect.poll(() => readdirSync(join(lab.folder, 'incoming'))).toEqual([])
    expect(lab.log.batches).toEqual([])
  })

  test('that go away in the middle leave nothing behind, and their places', async () => {
    await start()
    for (let round = 0; round < 40; round++) {
      const socket = connect(lab.port, '127.0.0.1')
      socket.on('error', () => {})
      const closed = new Promise((resolve) => socket.once('close', resolve))
      socket.write(
        `PUT ${path('a')} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n${'x'.repeat(50_000)}`,
      )
      await new Promise((resolve) => socket.once('drain', resolve).once('connect', resolve))
      socket.destroy()
      await closed
    }
    await expect.poll(() => readdirSync(join(lab.folder, 'incoming'))).toEqual([])
    expect((await lab.raw('PUT', path('a'), {}, 'one')).status).toBe(201)
  })

  test('and many are told to come again', async () => {
    await start()
    const sockets = Array.from({ length: 32 }, () => {
      const socket = connect(lab.port, '127.0.0.1')
      socket.on('error', () => {})
      socket.write(`PUT ${path('a')} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nx`)
      return socket
    })
    await expect.poll(() => readdirSync(join(lab.folder, 'incoming')).length).toBe(32)
    const answer = await lab.raw('PUT', path('b'), {}, 'one')
    expect(code(answer)).toEqual([503, 'overloaded'])
    expect(answer.headers['retry-after']).toBe('1')
    for (const socket of sockets) socket.destroy()
    await expect.poll(async () => (await lab.raw('PUT', path('b'), {}, 'one')).status).toBe(201)
  })
})
