import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { dayMs, ObjectsLab } from '../../test/support/objects-lab.ts'
import { headOf } from './blob-format.ts'
import { blobPlace } from './blobs.ts'
import { openObjectReader } from './open-object-reader.ts'

let lab: ObjectsLab
beforeEach(async () => {
  lab = await ObjectsLab.open()
})
afterEach(() => lab.close())

const sha = (text: string): string => createHash('sha256').update(text).digest('hex')

describe('the sweep', () => {
  test('keeps what was removed or replaced for its time, and what is there for ever', async () => {
    await lab.put('a', 'one')
    await lab.put('a', 'two')
    await lab.put('b', 'one')
    await lab.put('gone', 'three')
    await lab.objects.buckets.remove('logs', 'gone', null)
    lab.nowMs += 6 * dayMs
    expect(await lab.objects.sweep()).toEqual({ changes: 0, blobs: 0, uploads: 0, orphans: 0 })
    const reader = openObjectReader(lab.store, lab.forms)
    expect((await reader.read('logs', sha('three')))?.toString()).toBe('three')
    lab.nowMs += 2 * dayMs
    // The put and the removal of "gone", and the first of "a", whose bytes "b" still has.
    expect(await lab.objects.sweep()).toEqual({ changes: 3, blobs: 1, uploads: 0, orphans: 0 })
    expect(await reader.read('logs', sha('three'))).toBeUndefined()
    expect((await lab.get('a')).toString()).toBe('two')
    expect((await lab.get('b')).toString()).toBe('one')
  })

  test('leaves neither bytes nor key of what was removed in any file', async () => {
    lab.forms.set('logs', { level: null, keys: null })
    await lab.restart()
    await lab.put('somebody-17', 'bytes of somebody')
    await lab.put('somebody-17', 'other bytes of somebody')
    await lab.put('else', 'bytes of another')
    const filesWith = async (text: string): Promise<number> => {
      await lab.objects.stop()
      const entries = await readdir(lab.dir, { recursive: true, withFileTypes: true })
      const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
      const contents = await Promise.all(files.map((path) => readFile(path)))
      await lab.start()
      return contents.filter((bytes) => bytes.includes(text)).length
    }
    expect([await filesWith('bytes of somebody'), await filesWith('somebody-17')]).toEqual([2, 1])
    await lab.objects.buckets.remove('logs', 'somebody-17', null)
    lab.nowMs += 8 * dayMs
    await lab.objects.sweep()
    expect([await filesWith('of somebody'), await filesWith('somebody-17')]).toEqual([0, 0])
    expect(await filesWith('bytes of another')).toBe(1)
  })

  test('the totals of a bucket are those of what is there', async () => {
    expect(await lab.objects.totals('logs')).toEqual({ objects: 0, bytes: 0, storedBytes: null, uploads: 0 })
    await lab.put('a', 'one')
    await lab.put('a', 'three')
    await lab.put('b', 'three')
    await lab.put('gone', 'four')
    await lab.objects.buckets.remove('logs', 'gone', null)
    const fields = { bucket: 'logs', key: 'c', type: 'text/plain', metadata: {}, source: null, onlyNew: false }
    await lab.objects.uploads.begin(fields)
    expect(await lab.objects.totals('logs')).toEqual({ objects: 2, bytes: 10, storedBytes: null, uploads: 1 })
    await lab.objects.sweep()
    const stored = (await lab.store.list('blobs/')).reduce((sum, { bytes }) => sum + bytes, 0)
    await lab.put('gone', 'again')
    await lab.restart()
    expect(await lab.objects.totals('logs')).toEqual({ objects: 3, bytes: 15, storedBytes: stored, uploads: 1 })
  })

  test('a version is not given again after its change was forgotten', async () => {
    await lab.put('a', 'one')
    await lab.objects.buckets.remove('logs', 'a', null)
    const latest = lab.log.events.at(-1)!.object.version
    lab.nowMs += 8 * dayMs
    await lab.objects.sweep()
    lab.nowMs -= 30 * dayMs
    expect((await lab.put('a', 'one')).object.version).toBeGreaterThan(latest)
  })

  test('removes what a crash left when it is a day old, and not before', async () => {
    await lab.put('a', 'one')
    const orphan = blobPlace('logs', sha('orphan'))
    await lab.store.put(orphan, Buffer.from('data without a head'))
    await lab.store.put('parts/logs/0123/1-ab', Buffer.from('data'))
    await lab.store.put(headOf('parts/logs/0123/1-ab'), Buffer.from('head'))
    lab.nowMs = Date.now()
    expect(await lab.objects.sweep()).toMatchObject({ orphans: 0 })
    lab.nowMs = Date.now() + 2 * dayMs
    expect(await lab.objects.sweep()).toMatchObject({ orphans: 2 })
    expect(await lab.store.list('parts/')).toEqual([])
    expect(await lab.blobFiles()).toHaveLength(2)
    expect((await lab.get('a')).toString()).toBe('one')
  })

  test('a put of bytes that are being removed keeps them', async () => {
    for (let round = 0; round < 20; round++) {
      await lab.put('a', `text ${round}`)
      await lab.objects.buckets.remove('logs', 'a', null)
      lab.nowMs += 8 * dayMs
      await Promise.all([lab.objects.sweep(), lab.put('b', `text ${round}`)])
      expect((await lab.get('b')).toString()).toBe(`text ${round}`)
    }
  })
})

describe('uploads that nobody goes on with', () => {
  const fields = { bucket: 'logs', key: 'a', type: 'text/plain', metadata: {}, source: null, onlyNew: false }

  test('are removed with their parts a week after something last happened', async () => {
    const { uploads, blobs } = lab.objects
    const upload = await uploads.begin(fields)
    lab.nowMs += 5 * dayMs
    const part = await blobs.receive('logs')
    await part.write(Buffer.from('one'))
    await uploads.putPart(upload, { number: 1, sha256: undefined }, part)
    lab.nowMs += 6 * dayMs
    expect(await lab.objects.sweep()).toMatchObject({ uploads: 0 })
    expect(await uploads.parts(upload.id)).toHaveLength(1)
    lab.nowMs += 2 * dayMs
    expect(await lab.objects.sweep()).toMatchObject({ uploads: 1 })
    expect(await lab.store.list('parts/')).toEqual([])
    await expect(uploads.find('logs', 'a', upload.id)).rejects.toMatchObject({ code: 'unknown_upload' })
  })

  test('a clock that jumped removes nothing', async () => {
    await lab.put('a', 'one')
    await lab.objects.buckets.remove('logs', 'a', null)
    await lab.objects.stop()
    lab.trust = () => ({ seenMs: undefined, look: () => ({ reason: 'the clock jumped' }) })
    await lab.start()
    lab.nowMs += 3000 * dayMs
    expect(await lab.objects.sweep()).toEqual({ changes: 0, blobs: 0, uploads: 0, orphans: 0 })
    expect(await lab.blobFiles()).toHaveLength(2)
  })
})
