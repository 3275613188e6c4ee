/** What a server can answer, or not, that a real one does not do on demand. The contract itself is tested on a real server (test/interop/s3). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HandTimers, HttpLab, type Reply, type SeenRequest } from '../../../test/support/sink-lab.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import type { BucketSettings } from '../object-store.ts'
import { S3ObjectStore } from './s3-object-store.ts'

let server: HttpLab
let timers: HandTimers
let stores: S3ObjectStore[]
const secret = 'a-secret-that-nobody-sees'

beforeEach(async () => {
  server = await HttpLab.start()
  timers = new HandTimers()
  stores = []
})

afterEach(async () => {
  await Promise.all(stores.map((store) => store.close()))
  await server.stop()
})

function open(more: Partial<BucketSettings> = {}): S3ObjectStore {
  const settings = { bucket: 'events', endpoint: server.url, accessKeyId: 'key', secretAccessKey: secret, ...more }
  const store = new S3ObjectStore({ ...settings, timers, random: seededRandom(1) })
  stores.push(store)
  return store
}

/** An answer with a code, as S3 words it. */
function refusal(status: number, code: string, more = ''): Reply {
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>No.</Message>${more}</Error>`
  return { status, body, headers: { 'content-type': 'application/xml' } }
}

/** Answers in this order, the last one again and again. */
function answers(...replies: ((request: SeenRequest) => Reply)[]): void {
  let next = 0
  server.reply = (request) => replies[Math.min(next++, replies.length - 1)]!(request)
}

const markOf = ({ headers }: SeenRequest): string => headers['x-amz-meta-freshet-mark'] as string
const stored = (): Reply => ({ status: 200 })
const hangUp = (): Reply => ({ status: 200, hangUp: true })
const taken = (): Reply => refusal(412, 'PreconditionFailed')
const bytes = Buffer.from('{"n":1}\n')

describe('an object is put only where nothing is', () => {
  test('by the condition that the server keeps, below the prefix, with its mark', async () => {
    expect(await open({ prefix: 'a/b' }).putOnce('day/one', bytes, 'mark1')).toBe(true)
    const [request] = server.seen
    expect(request).toMatchObject({
      method: 'PUT',
      path: expect.stringMatching(/^\/events\/a\/b\/day\/one\b/) as string,
    })
    expect(request!.headers).toMatchObject({ 'if-none-match': '*', 'x-amz-meta-freshet-mark': 'mark1' })
    expect(request!.body).toEqual(bytes)
    expect(server.seen).toHaveLength(1)
  })

  test('and a taken place is not looked into, when no try before may have got through', async () => {
    answers(taken)
    expect(await open().putIfAbsent('one', bytes)).toBe(false)
    expect(server.seen).toHaveLength(1)
  })

  test('also when the answer was lost: what is there with the mark is this one', async () => {
    let mark = ''
    answers(
      (request) => {
        mark = markOf(request)
        return hangUp()
      },
      taken,
      () => ({ status: 200, headers: { 'x-amz-meta-freshet-mark': mark } }),
    )
    expect(await open().putIfAbsent('one', bytes)).toBe(true)
    expect(server.seen.map(({ method }) => method)).toEqual(['PUT', 'PUT', 'HEAD'])
    expect(timers.slept).toHaveLength(1)
  })

  test('and what is there with another mark is not', async () => {
    answers(hangUp, taken, () => ({ status: 200, headers: { 'x-amz-meta-freshet-mark': 'of-somebody' } }))
    expect(await open().putIfAbsent('one', bytes)).toBe(false)
  })

  test('a former process may have put it', async () => {
    answers(taken, () => ({ status: 200, headers: { 'x-amz-meta-freshet-mark': 'mark1' } }))
    expect(await open().putOnce('one', bytes, 'mark1')).toBe(true)
  })

  test('one that goes away while it is looked at is put again', async () => {
    answers(taken, () => ({ status: 404 }), stored)
    expect(await open().putOnce('one', bytes, 'mark1')).toBe(true)
    expect(server.seen.map(({ method }) => method)).toEqual(['PUT', 'HEAD', 'PUT'])
  })

  test('while another request for it is under way, it is tried again', async () => {
    answers(() => refusal(409, 'ConditionalRequestConflict'), stored)
    expect(await open().putOnce('one', bytes, 'mark1')).toBe(true)
  })

  test('and it is an error, never a no, when it stays open whether it is there', async () => {
    answers(hangUp)
    await expect(open().putIfAbsent('one', bytes)).rejects.toMatchObject({ code: 'object_store_unusable' })
    expect(server.seen).toHaveLength(4)
  })
})

describe('what may pass', () => {
  test.each([
    ['503', () => refusal(503, 'SlowDown')],
    ['500', () => refusal(500, 'InternalError')],
    ['429', () => refusal(429, 'TooManyRequests')],
    ['no answer', hangUp],
  ])('is tried again after waits that grow: %s', async (_, reply) => {
    answers(reply, reply, stored)
    await open().put('one', bytes)
    expect(server.seen).toHaveLength(3)
    const [first, second] = timers.slept
    expect(first).toBeGreaterThanOrEqual(100)
    expect(first).toBeLessThanOrEqual(200)
    expect(second).toBeGreaterThanOrEqual(200)
    expect(second).toBeLessThanOrEqual(400)
  })

  test('is an error in the end, which says where', async () => {
    answers(() => refusal(503, 'SlowDown'))
    await expect(open().put('one', bytes)).rejects.toThrow(
      `${server.url} did not put one in the bucket events: 503 SlowDown.`,
    )
    expect(server.seen).toHaveLength(4)
  })
})

describe('what does not pass is said at once, with how to mend it', () => {
  test.each([
    [refusal(404, 'NoSuchBucket'), 'There is no bucket events at ', 'Make it'],
    [
      refusal(403, 'AccessDenied'),
      'The credentials may not put one in the bucket events (403 AccessDenied).',
      's3:PutObject',
    ],
    [refusal(403, 'SignatureDoesNotMatch'), 'does not know these credentials', 'secretAccessKey'],
    [refusal(403, 'InvalidAccessKeyId'), 'does not know these credentials', 'accessKeyId'],
    [refusal(403, 'RequestTimeTooSkewed'), 'The clock of this machine', 'Set the clock'],
    [refusal(301, 'PermanentRedirect', '<Region>eu-west-1</Region>'), 'is in another region', '`region`'],
    [refusal(501, 'NotImplemented'), 'cannot do what is needed', 'If-None-Match'],
  ])('%j', async (reply, message, hint) => {
    answers(() => reply)
    const error = await open()
      .putOnce('one', bytes, 'mark1')
      .catch((reason: unknown) => reason as Error & { hint: string })
    expect(error).toMatchObject({ code: 'object_store_unusable' })
    expect((error as Error).message).toContain(message)
    expect((error as { hint: string }).hint).toContain(hint)
    expect(server.seen).toHaveLength(1)
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain(secret)
  })

  test('a server that is not there', async () => {
    const store = open()
    const { url } = server
    await server.stop()
    await expect(store.check()).rejects.toThrow(`${url} cannot be reached: ECONNREFUSED.`)
    server = await HttpLab.start()
  })
})

test('a key that would lead out of its place is refused before anything is sent', async () => {
  for (const key of ['../one', 'a//b', './a', '']) {
    await expect(async () => open({ prefix: 'own' }).put(key, bytes)).rejects.toThrow('keys must not have')
  }
  expect(server.seen).toEqual([])
})

test('closing it ends what is under way', async () => {
  answers(hangUp)
  const store = open()
  timers.sleep = () => store.close()
  await expect(store.put('one', bytes)).rejects.toMatchObject({ code: 'object_store_unusable' })
  expect(server.seen).toHaveLength(1)
})
