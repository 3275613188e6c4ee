import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Clock } from '../../src/runtime/clock.ts'
import type { SiteReader, SiteRegistry } from '../../src/sites/site-registry.ts'

export interface RegistryUnderTest {
  sites: SiteRegistry
  /** The same registry as another process reads it. */
  reading: SiteReader
  /** The same registry, opened anew. */
  reopen: () => SiteRegistry
  dispose: () => Promise<void>
}

/** What every site registry must do. `make` gives an empty one that takes its times from `clock`. */
export function siteRegistrySuite(backend: string, make: (clock: Clock) => Promise<RegistryUnderTest>): void {
  describe(`site registry: ${backend}`, () => {
    let sites: SiteRegistry
    let reading: SiteReader
    let reopen: () => SiteRegistry
    let dispose: () => Promise<void>
    let nowMs = 1000

    beforeEach(async () => {
      nowMs = 1000
      ;({ sites, reading, reopen, dispose } = await make({ nowMs: () => nowMs }))
    })

    afterEach(() => dispose())

    test('sites are added, changed and removed', async () => {
      expect(await sites.list()).toEqual([])
      expect(await sites.put('b', { streams: ['y', 'x', 'y'] })).toEqual({
        site: { name: 'b', streams: ['x', 'y'], state: 'active', addedAtMs: 1000, changedAtMs: 1000 },
        added: true,
      })
      nowMs = 2000
      expect(await sites.put('a', { streams: 'all', state: 'paused' })).toMatchObject({ added: true })
      expect(await sites.put('b', { state: 'paused' })).toEqual({
        site: { name: 'b', streams: ['x', 'y'], state: 'paused', addedAtMs: 1000, changedAtMs: 2000 },
        added: false,
      })
      expect((await sites.list()).map(({ name }) => name)).toEqual(['a', 'b'])
      await sites.remove('a')
      expect((await sites.list()).map(({ name }) => name)).toEqual(['b'])
    })

    test('a site that is put as it is stays as it is', async () => {
      await sites.put('a', { streams: ['x'] })
      nowMs = 2000
      expect((await sites.put('a', { streams: ['x'], state: 'active' })).site.changedAtMs).toBe(1000)
    })

    test('a name that is not registered is refused, the nearest one named', async () => {
      await sites.put('london-1', { streams: 'all' })
      const unknown = { code: 'unknown_site', hint: 'Did you mean "london-1"?' }
      await expect(sites.put('lodnon-1', { state: 'paused' })).rejects.toMatchObject(unknown)
      await expect(sites.remove('london-2')).rejects.toMatchObject(unknown)
      await expect(sites.remove('tokyo')).rejects.toMatchObject({ code: 'unknown_site' })
    })

    test('names are data, whatever they look like', async () => {
      const names = ["'; DROP TABLE site; --", '../../etc/passwd', '%2e%2e', '__proto__', 'a/b', '"']
      for (const name of names) await sites.put(name, { streams: 'all' })
      expect((await sites.list()).map(({ name }) => name)).toEqual(names.toSorted())
    })

    test('two changes at once are both made', async () => {
      await sites.put('a', { streams: ['x'] })
      await Promise.all([sites.put('a', { streams: ['y'] }), sites.put('a', { state: 'paused' })])
      expect(await sites.list()).toMatchObject([{ name: 'a', streams: ['y'], state: 'paused' }])
    })

    test('each change shows at once', async () => {
      await sites.put('a', { streams: 'all' })
      expect(await reading.list()).toMatchObject([{ state: 'active' }])
      await sites.put('a', { state: 'paused' })
      expect(await reading.list()).toMatchObject([{ state: 'paused' }])
      await sites.remove('a')
      expect(await reading.list()).toEqual([])
    })

    test('what was changed is there when it is opened anew', async () => {
      await sites.put('a', { streams: ['x'], state: 'paused' })
      await sites.put('b', { streams: 'all' })
      await sites.remove('b')
      sites.close()
      expect(await reopen().list()).toEqual([
        { name: 'a', streams: ['x'], state: 'paused', addedAtMs: 1000, changedAtMs: 1000 },
      ])
    })
  })
}
