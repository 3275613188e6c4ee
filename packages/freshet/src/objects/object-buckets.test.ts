import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { dayMs, ObjectsLab } from '../../test/support/objects-lab.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { objectEvent } from './object-event.ts'
import { eventIdOf, keyFault } from './object-key.ts'
import { openObjectReader } from './open-object-reader.ts'

let lab: ObjectsLab
beforeEach(async () => {
  lab = await ObjectsLab.open()
})
afterEach(() => lab.close())

const sha = (text: string): string => createHash('sha256').update(text).digest('hex')
const short = (text: string): string => sha(text).slice(0, 8)

describe('objects', () => {
  test('are put, replaced and removed, each change with its event', async () => {
    const first = await lab.put('a/b.log', 'one', { metadata: { host: 'web-1' }, source: 'site' })
    expect(first).toMatchObject({ created: true, object: { key: 'a/b.log', bytes: 3, sha256: sha('one') } })
    const second = await lab.put('a/b.log', 'two')
    expect(second).toMatchObject({ created: false })
    expect(second.object.version).toBeGreaterThan(first.object.version)
    expect((await lab.get('a/b.log')).toString()).toBe('two')
    await lab.objects.buckets.remove('logs', 'a/b.log', null)
    await expect(lab.get('a/b.log')).rejects.toMatchObject({ code: 'unknown_object' })
    expect(lab.log.told()).toEqual([`a/b.log ${short('one')}`, `a/b.log ${short('two')}`, `-a/b.log ${short('two')}`])
    expect(objectEvent(lab.log.events[0]!.object)).toEqual({
      id: `logs/a/b.log@${first.object.version}`,
      bucket: 'logs',
      key: 'a/b.log',
      sha256: sha('one'),
      size: 3,
      content_type: 'text/plain',
      metadata: { host: 'web-1' },
      version: first.object.version,
      put_at: '2025-11-26T00:00:00.000Z',
      deleted: false,
    })
    const older = await lab.objects.buckets.find('logs', 'a/b.log', first.object.version)
    expect(older.sha256).toBe(sha('one'))
  })

  test('the same again is no change, however often; other metadata is one', async () => {
    const { object } = await lab.put('a', 'one')
    for (let round = 0; round < 3; round++) {
      expect((await lab.put('a', 'one')).object.version).toBe(object.version)
      expect((await lab.put('a', 'one', { onlyNew: true })).object.version).toBe(object.version)
    }
    expect(lab.log.events).toHaveLength(1)
    await lab.put('a', 'one', { metadata: { x: '1' } })
    expect(lab.log.events).toHaveLength(2)
    await lab.objects.buckets.remove('logs', 'a', null)
    await lab.objects.buckets.remove('logs', 'a', null)
    expect(lab.log.events).toHaveLength(3)
    await lab.put('a', 'one')
    expect(lab.log.events).toHaveLength(4)
    await expect(lab.objects.buckets.remove('logs', 'never', null)).rejects.toMatchObject({ code: 'unknown_object' })
  })

  test('bytes that are put under many keys, at once too, are stored once', async () => {
    const bytes = randomBytes(700_000)
    await Promise.all(Array.from({ length: 20 }, (_, index) => lab.put(`k/${index}`, bytes)))
    expect(await lab.blobFiles()).toHaveLength(2)
    for (let index = 0; index < 20; index++) expect((await lab.get(`k/${index}`)).equals(bytes)).toBe(true)
    expect(lab.log.events).toHaveLength(20)
  })

  test('puts of one key at once come one after another, and the last is what is there', async () => {
    await Promise.all(Array.from({ length: 30 }, (_, index) => lab.put('k', `text ${index}`)))
    const versions = lab.log.events.map(({ object }) => object.version)
    expect(versions).toEqual(versions.toSorted((a, b) => a - b))
    expect(new Set(versions).size).toBe(30)
    expect(sha((await lab.get('k')).toString())).toBe(lab.log.events.at(-1)!.object.sha256)
  })

  test('a wrong checksum and a taken key leave nothing behind', async () => {
    await expect(lab.put('a', 'one', { sha256: sha('two') })).rejects.toMatchObject({ code: 'checksum_mismatch' })
    await lab.put('a', 'one', { sha256: sha('one') })
    await expect(lab.put('a', 'two', { onlyNew: true })).rejects.toMatchObject({ code: 'object_exists' })
    expect(await lab.blobFiles()).toHaveLength(2)
    expect(readdirSync(join(lab.dir, 'incoming'))).toEqual([])
    expect(lab.log.events).toHaveLength(1)
  })

  test('versions never come twice, when the clock is set back or the index comes from a copy', async () => {
    const { object } = await lab.put('a', 'one')
    lab.nowMs -= 3600_000
    expect((await lab.put('a', 'two')).object.version).toBeGreaterThan(object.version)
    lab.nowMs += 7200_000
    await lab.objects.stop()
    const copy = readFileSync(join(lab.dir, 'index.db'))
    await lab.start()
    const lost = await lab.put('a', 'three')
    await lab.objects.stop()
    writeFileSync(join(lab.dir, 'index.db'), copy)
    lab.nowMs += 1000
    await lab.start()
    const { object: later } = await lab.put('a', 'four')
    expect(later.version).toBeGreaterThan(lost.object.version)
    // The log took the event: its mark is none that was used before the copy was restored.
    expect(lab.log.told().at(-1)).toBe(`a ${short('four')}`)
  })

  test('the reader of other processes finds them by their hash, ranges too', async () => {
    const text = 'x'.repeat(600_000)
    await lab.put('a', text)
    const reader = openObjectReader(lab.store, lab.forms)
    expect((await reader.read('logs', sha(text)))?.toString()).toBe(text)
    const pieces = await reader.stream('logs', sha(text), { start: 299_999, end: 300_001 })
    expect((await buffer(pieces!)).toString()).toBe('xx')
    expect(await reader.read('logs', sha('other'))).toBeUndefined()
    expect(await reader.read('logs', '../../../index.db')).toBeUndefined()
    await expect(reader.read('lgos', sha(text))).rejects.toMatchObject({ code: 'unknown_bucket' })
  })
})

describe('a put that dies', () => {
  class Death extends Error {}

  /** The store, with a death at its n-th change, before it or after it. */
  function dying(inner: ObjectStore, at: number, when: 'before' | 'after'): ObjectStore {
    let changes = 0
    const step = async <T>(work: () => Promise<T>): Promise<T> => {
      const isIt = changes++ === at
      if (isIt && when === 'before') throw new Death()
      const result = await work()
      if (isIt) throw new Death()
      return result
    }
    return {
      get: (key, range) => inner.get(key, range),
      put: (key, body) => step(() => inner.put(key, body)),
      putIfAbsent: (key, body) => step(() => inner.putIfAbsent(key, body)),
      list: (prefix) => inner.list(prefix),
      delete: (keys) => step(() => inner.delete(keys)),
    }
  }

  const points: [string, () => void, number][] = [
    ['before the data is in place', () => (lab.store = dying(lab.store, 0, 'before')), 0],
    ['behind the data', () => (lab.store = dying(lab.store, 0, 'after')), 0],
    ['behind the head', () => (lab.store = dying(lab.store, 1, 'after')), 0],
    ['before the event is in the log', () => (lab.log.interrupt = dieOnce('before')), 1],
    ['before it is noted that the event is there', () => (lab.log.interrupt = dieOnce('after')), 1],
  ]

  function dieOnce(when: 'before' | 'after'): (at: 'before' | 'after') => void {
    return (at) => {
      if (at === when) throw new Death()
    }
  }

  test.each(points)(
    '%s is there after the start with its event, or not at all; its repeat makes one event',
    async (_, arm, isThere) => {
      const whole = lab.store
      arm()
      await lab.restart()
      await expect(lab.put('a', 'one')).rejects.toBeInstanceOf(Death)
      await lab.objects.stop()
      lab.store = whole
      lab.log.interrupt = undefined
      await lab.start()
      await expect.poll(() => lab.log.events.length).toBe(isThere)
      const { created } = await lab.put('a', 'one')
      expect(created).toBe(isThere === 0)
      expect((await lab.get('a')).toString()).toBe('one')
      expect(lab.log.told()).toEqual([`a ${short('one')}`])
      lab.nowMs += 30 * dayMs
      await lab.objects.sweep()
      expect((await lab.get('a')).toString()).toBe('one')
      expect(readdirSync(join(lab.dir, 'incoming'))).toEqual([])
    },
  )

  test('while the log refuses events they are sent again, in the order of versions, once', async () => {
    let refused = 0
    lab.log.interrupt = (when) => {
      if (when === 'before' && refused++ < 3) throw new Error('the disk is full')
    }
    await expect(lab.put('a', 'one')).rejects.toThrow('the disk is full')
    await expect(lab.put('a', 'two')).rejects.toThrow('the disk is full')
    await expect.poll(() => lab.log.told(), { timeout: 10_000 }).toEqual([`a ${short('one')}`])
    await lab.put('a', 'two')
    expect(lab.log.told()).toEqual([`a ${short('one')}`, `a ${short('two')}`])
  })
})

describe('keys', () => {
  test.each(['a', 'a/b.log', 'ü/\u{1f600}', 'a b', '%2e', 'a..b', '...', 'x'.repeat(1024), "'; drop table object"])(
    '%j is one',
    (key) => {
      expect(keyFault(key)).toBeUndefined()
    },
  )

  test.each([
    '',
    '/',
    'a/',
    '/a',
    'a//b',
    '.',
    '..',
    'a/..',
    '../a',
    'a/./b',
    'a\nb',
    'a\0',
    '\u0085',
    '\ud800',
    'ü'.repeat(513),
  ])('%j is none', (key) => {
    expect(keyFault(key)).toBeTypeOf('string')
  })

  test('ids stay within what an id may have, and apart', () => {
    const long = 'k'.repeat(1024)
    expect(eventIdOf('logs', 'a', 7)).toBe('logs/a@7')
    expect(Buffer.byteLength(eventIdOf('logs', long, 7))).toBeLessThan(512)
    expect(eventIdOf('logs', long, 7)).not.toBe(eventIdOf('logs', `${long.slice(1)}x`, 7))
  })
})
