import { createHash, randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  startObjectGateway,
  type ObjectGateway,
  type ObjectGatewayChanges,
  type RawAnswer,
} from '../../test/support/object-gateway.ts'
import { encrypted, masterKey } from '../../test/support/objects-lab.ts'

let lab: ObjectGateway
const start = async (changes: ObjectGatewayChanges = {}): Promise<ObjectGateway> =>
  (lab = await startObjectGateway(changes))
afterEach(() => lab.close())

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const key = '/v1/objects/logs/large/file.log'
const code = ({ status, json }: RawAnswer): unknown[] => [status, json['code']]

/** Files below a folder of the storage, without temporary ones. */
function files(folder: string): string[] {
  return readdirSync(join(lab.folder, folder), { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
}

async function begin(headers: Record<string, string> = {}): Promise<string> {
  const answer = await lab.raw('POST', `${key}?uploads`, headers)
  expect(answer).toMatchObject({ status: 201, json: { bucket: 'logs', key: 'large/file.log' } })
  return answer.json['upload'] as string
}

const sendPart = (id: string, number: number, bytes: Buffer): Promise<RawAnswer> =>
  lab.raw('PUT', `${key}?upload=${id}&part=${number}`, { 'x-freshet-sha256': sha(bytes) }, bytes)

const complete = (id: string, parts: unknown): Promise<RawAnswer> =>
  lab.raw('POST', `${key}?upload=${id}`, { 'content-type': 'application/json' }, JSON.stringify({ parts }))

const listed = (...parts: Buffer[]): unknown[] => parts.map((bytes, index) => ({ part: index + 1, sha256: sha(bytes) }))

describe('uploads by parts', () => {
  test('parts may come in any order, again, and changed; the object is what they are in the end', async () => {
    await start({ form: encrypted(masterKey()) })
    const [one, two, three] = [randomBytes(300_000), randomBytes(1_000_000), randomBytes(5)]
    const id = await begin({ 'content-type': 'text/x-log', 'x-freshet-meta-host': 'web-1' })
    expect(await sendPart(id, 3, three)).toMatchObject({ status: 200, json: { part: 3, size: 5, sha256: sha(three) } })
    await sendPart(id, 1, randomBytes(100))
    await Promise.all([sendPart(id, 1, one), sendPart(id, 2, two)])
    await sendPart(id, 2, two)
    expect((await lab.raw('GET', `${key}?upload=${id}`)).json).toMatchObject({
      upload: id,
      contentType: 'text/x-log',
      parts: [
        { part: 1, sha256: sha(one), size: 300_000 },
        { part: 2, sha256: sha(two), size: 1_000_000 },
        { part: 3, sha256: sha(three), size: 5 },
      ],
    })
    expect((await lab.raw('GET', '/v1/objects/logs?uploads')).json).toMatchObject({ uploads: [{ upload: id }] })
    expect(code(await lab.raw('GET', key))).toEqual([404, 'unknown_object'])
    expect(files('parts')).toHaveLength(6)
    const whole = Buffer.concat([one, two, three])
    const done = await complete(id, listed(one, two, three))
    expect(done).toMatchObject({
      status: 201,
      json: { sha256: sha(whole), size: whole.length, contentType: 'text/x-log', metadata: { host: 'web-1' } },
    })
    expect((await lab.raw('GET', key)).body.equals(whole)).toBe(true)
    expect(files('parts')).toEqual([])
    expect((await lab.raw('GET', '/v1/objects/logs?uploads')).json).toEqual({ uploads: [] })
    // The answer may have been lost: a repeat is told the same.
    const again = await complete(id, listed(one, two, three))
    expect([again.status, again.json['version']]).toEqual([200, done.json['version']])
    expect(lab.log.events()).toHaveLength(1)
    expect(code(await sendPart(id, 4, three))).toEqual([400, 'invalid_request'])
  })

  test('a list that is not what has arrived is refused, and the upload goes on', async () => {
    await start()
    const [one, two] = [Buffer.from('one'), Buffer.from('two')]
    const id = await begin()
    await sendPart(id, 1, one)
    await sendPart(id, 2, two)
    for (const parts of [
      [],
      listed(one),
      listed(one, one),
      listed(one, two, one),
      [{ part: 2, sha256: sha(two) }],
      'x',
      [1],
    ])
      expect(code(await complete(id, parts))).toEqual([400, 'invalid_request'])
    expect((await complete(id, listed(one, two))).status).toBe(201)
    expect((await lab.raw('GET', key)).body.toString()).toBe('onetwo')
  })

  test('the hash of the whole is verified when it was announced', async () => {
    await start()
    const bytes = Buffer.from('one')
    const wrong = await begin({ 'x-freshet-sha256': sha(Buffer.from('other')) })
    await sendPart(wrong, 1, bytes)
    expect(code(await complete(wrong, listed(bytes)))).toEqual([400, 'checksum_mismatch'])
    const right = await begin({ 'x-freshet-sha256': sha(bytes) })
    await sendPart(right, 1, bytes)
    expect((await complete(right, listed(bytes))).status).toBe(201)
  })

  test('a part with another hash, a wrong number, or too many bytes in all is refused', async () => {
    await start({ bucket: { objectBytesMax: 1000 } })
    const id = await begin()
    const bytes = Buffer.alloc(600)
    const other = { 'x-freshet-sha256': sha(Buffer.from('other')) }
    expect(code(await lab.raw('PUT', `${key}?upload=${id}&part=1`, other, bytes))).toEqual([400, 'checksum_mismatch'])
    for (const number of ['0', '10001', 'x', ''])
      expect(code(await lab.raw('PUT', `${key}?upload=${id}&part=${number}`, {}, bytes))).toEqual([
        400,
        'invalid_request',
      ])
    expect((await sendPart(id, 1, bytes)).status).toBe(200)
    expect(code(await sendPart(id, 2, bytes))).toEqual([413, 'object_too_large'])
    expect((await sendPart(id, 1, bytes)).status).toBe(200)
    expect(files('parts')).toHaveLength(2)
  })

  test('an upload is of one object, and is gone when it was given up', async () => {
    await start()
    const id = await begin()
    await sendPart(id, 1, Buffer.from('one'))
    expect(code(await lab.raw('GET', `/v1/objects/logs/other?upload=${id}`))).toEqual([404, 'unknown_upload'])
    expect(code(await lab.raw('GET', `${key}?upload=../..`))).toEqual([404, 'unknown_upload'])
    expect((await lab.raw('DELETE', `${key}?upload=${id}`)).status).toBe(204)
    expect(code(await sendPart(id, 2, Buffer.from('two')))).toEqual([404, 'unknown_upload'])
    expect(code(await lab.raw('POST', key))).toEqual([400, 'invalid_request'])
    expect(files('parts')).toEqual([])
  })

  test('If-None-Match is looked at when an upload begins, and when it ends', async () => {
    await start()
    const id = await begin({ 'if-none-match': '*' })
    await sendPart(id, 1, Buffer.from('one'))
    await lab.raw('PUT', key, {}, 'taken')
    expect(code(await complete(id, listed(Buffer.from('one'))))).toEqual([412, 'object_exists'])
    expect(code(await lab.raw('POST', `${key}?uploads`, { 'if-none-match': '*' }))).toEqual([412, 'object_exists'])
  })

  test('parts are not kept in plain text in an encrypted bucket, and a rotation means them too', async () => {
    await start({ form: encrypted(masterKey()), bucket: { encrypt: { keys: ['not used here'] } } })
    const id = await begin()
    await sendPart(id, 1, Buffer.from('brown secret '.repeat(100)))
    expect((await lab.raw('POST', '/v1/objects/logs?rotate')).json).toEqual({
      rewrapped: 0,
      current: 1,
      plain: 0,
      unreadable: 0,
      problems: [],
    })
    expect(JSON.stringify((await lab.raw('GET', '/v1/objects')).json)).not.toContain('not used here')
  })
})

test('keys of a bucket that is not encrypted are not rotated', async () => {
  await start()
  expect(code(await lab.raw('POST', '/v1/objects/logs?rotate'))).toEqual([400, 'invalid_request'])
})
