import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemRandom } from '../../../src/runtime/random.ts'
import { systemTimers } from '../../../src/runtime/timers.ts'
import type { BucketSettings } from '../../../src/storage/object-store.ts'
import { S3ObjectStore } from '../../../src/storage/s3/s3-object-store.ts'
import { objectStoreSuite, remoteObjectStoreSuite } from '../../conformance/object-store-suite.ts'
import { S3Server } from './s3-server.ts'

let server: S3Server

beforeAll(async () => {
  server = await S3Server.make()
}, 600_000)

afterAll(() => server?.remove())

function open(settings: BucketSettings): S3ObjectStore {
  return new S3ObjectStore({ ...settings, timers: systemTimers, random: systemRandom })
}

async function make() {
  const store = open({ ...server.bucket(), prefix: 'the/lake' })
  return { store, dispose: () => store.close() }
}

objectStoreSuite('s3', make)
remoteObjectStoreSuite('s3', make)

describe('a bucket', () => {
  test('has more objects than one answer to a list', async () => {
    const store = open(server.bucket())
    const keys = Array.from({ length: 1100 }, (_, n) => `all/${String(n).padStart(4, '0')}`)
    for (let at = 0; at < keys.length; at += 50)
      await Promise.all(keys.slice(at, at + 50).map((key) => store.put(key, Buffer.from(key))))
    expect((await store.list('all/')).map(({ key }) => key)).toEqual(keys)
    await store.delete(keys)
    expect(await store.list('')).toEqual([])
    await store.close()
  })

  test('is said to be missing, and credentials to be wrong', async () => {
    const settings = server.bucket()
    await expect(open({ ...settings, bucket: 'elsewhere' }).check()).rejects.toMatchObject({
      code: 'object_store_unusable',
      message: `There is no bucket elsewhere at ${server.endpoint}.`,
    })
    await expect(open({ ...settings, secretAccessKey: 'wrong' }).check()).rejects.toThrow('SignatureDoesNotMatch')
    // This server has a code of its own for that.
    await expect(open({ ...settings, accessKeyId: 'who' }).check()).rejects.toThrow('No user exists')
  })
})
