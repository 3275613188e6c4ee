import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sitesMax } from '../site-registry.ts'
import { SitesFile } from './sites-file.ts'
import { openSiteReader, openSiteRegistry } from './sqlite-site-registry.ts'

let dir: string
let file: string
const closing: { close(): void }[] = []
const clock = { nowMs: () => 1000 }

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'freshet-sites-'))
  file = join(dir, 'registry.db')
})

afterEach(() => {
  for (const one of closing.splice(0)) one.close()
  rmSync(dir, { recursive: true, force: true })
})

function registry(): ReturnType<typeof openSiteRegistry> {
  const opened = openSiteRegistry(file, clock)
  closing.push(opened)
  return opened
}

function reader(): ReturnType<typeof openSiteReader> {
  const opened = openSiteReader(file)
  closing.push(opened)
  return opened
}

/** Adds `site 2` to `site <count>` to a registry that has been made, all in one transaction. */
function fill(count: number): void {
  const database = new DatabaseSync(file)
  database.exec(`WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
    INSERT INTO site SELECT 'site ' || i, '"all"', 'active', 0, 0 FROM n`)
  database.close()
}

test('there are ten thousand sites at most, and those can still be changed', async () => {
  const sites = registry()
  await sites.put('first', { streams: 'all' })
  fill(sitesMax)
  expect(await sites.list()).toHaveLength(sitesMax)
  await expect(sites.put('one too many', { streams: 'all' })).rejects.toMatchObject({ code: 'too_many_sites' })
  await sites.put('first', { state: 'paused' })
  await sites.remove('site 2')
  await sites.put('one for one', { streams: 'all' })
  expect(await sites.list()).toHaveLength(sitesMax)
})

describe('what another process reads', () => {
  test('there is nothing before the first change, and no file is made', async () => {
    const reading = reader()
    expect(await reading.list()).toEqual([])
    expect(existsSync(file)).toBe(false)
    await registry().put('a', { streams: 'all' })
    expect(await reading.list()).toMatchObject([{ name: 'a' }])
  })

  test('a file that is replaced or removed is noticed on both sides', async () => {
    const sites = registry()
    const reading = reader()
    await sites.put('a', { streams: 'all' })
    copyFileSync(file, `${file}.copy`)
    await sites.put('b', { streams: 'all' })
    expect(await reading.list()).toHaveLength(2)
    rmSync(file)
    copyFileSync(`${file}.copy`, file)
    expect(await reading.list()).toMatchObject([{ name: 'a' }])
    expect(await sites.list()).toMatchObject([{ name: 'a' }])
    await sites.put('c', { streams: 'all' })
    expect(await reading.list()).toHaveLength(2)
    rmSync(file)
    expect(await reading.list()).toEqual([])
  })

  test('the folder may be called anything', async () => {
    const folder = join(dir, 'a b#c?mode=ro&d%41\u00fc')
    mkdirSync(folder)
    file = join(folder, 'registry.db')
    await registry().put('a', { streams: 'all' })
    expect(await reader().list()).toHaveLength(1)
    expect(readdirSync(folder)).toEqual(['registry.db'])
  })

  test('it cannot change anything', async () => {
    await registry().put('a', { streams: 'all' })
    const before = readFileSync(file)
    await reader().list()
    expect(readFileSync(file).equals(before)).toBe(true)
  })
})

describe('a crash in the middle of a change leaves what was acknowledged', () => {
  /** The files as a crash leaves them: the change half written, its journal still there. */
  async function crashed(): Promise<void> {
    const sites = registry()
    await sites.put('site 1', { streams: 'all' })
    sites.close()
    fill(300)
    const writer = new DatabaseSync(file)
    writer.exec('PRAGMA cache_size = 1; PRAGMA synchronous = EXTRA; BEGIN IMMEDIATE')
    writer.exec("UPDATE site SET state = 'paused'")
    const [half, journal] = [readFileSync(file), readFileSync(`${file}-journal`)]
    expect(half.includes('paused')).toBe(true)
    writer.close()
    rmSync(file)
    writeFileSync(file, half)
    writeFileSync(`${file}-journal`, journal)
  }

  test.each<[string, () => { list(): Promise<readonly { state: string }[]> }]>([
    ['for the one that changes', registry],
    ['for the one that reads, when it comes first', reader],
  ])('%s', async (_name, open) => {
    await crashed()
    const sites = await open().list()
    expect(sites).toHaveLength(300)
    expect(sites.every(({ state }) => state === 'active')).toBe(true)
    expect(existsSync(`${file}-journal`)).toBe(false)
  })
})

test('a change that has returned is synced, the removal of its journal too', () => {
  const sites = new SitesFile(file, 'write')
  closing.push(sites)
  const settings = sites.use((database) => [
    database.prepare('PRAGMA journal_mode').get(),
    database.prepare('PRAGMA synchronous').get(),
  ])
  const extra = 3
  expect(settings).toEqual([{ journal_mode: 'delete' }, { synchronous: extra }])
})

test('while the file is locked nothing can be changed, and what was read before still holds', async () => {
  const sites = registry()
  const reading = reader()
  await sites.put('a', { streams: 'all' })
  await reading.list()
  const other = new DatabaseSync(file)
  other.exec('BEGIN EXCLUSIVE')
  await expect(sites.put('b', { streams: 'all' })).rejects.toMatchObject({ code: 'sites_unavailable' })
  expect(await reading.list()).toMatchObject([{ name: 'a' }])
  await expect(reader().list()).rejects.toMatchObject({ code: 'sites_unavailable' })
  other.exec('ROLLBACK')
  other.close()
  await sites.put('b', { streams: 'all' })
  expect(await reading.list()).toHaveLength(2)
})

describe('a file that cannot be used', () => {
  test.each<[string, () => void]>([
    ['no database', () => writeFileSync(file, 'site,streams\nlondon,all\n'.repeat(1000))],
    [
      'a database of something else',
      () => {
        const other = new DatabaseSync(file)
        other.exec('CREATE TABLE site (name TEXT)')
        other.close()
      },
    ],
  ])('%s is refused, and left as it is', async (_name, make) => {
    make()
    const before = readFileSync(file)
    for (const sites of [registry(), reader()]) {
      await expect(sites.list()).rejects.toMatchObject({ code: 'sites_unavailable', retryable: true })
    }
    await expect(registry().put('a', { streams: 'all' })).rejects.toMatchObject({ code: 'sites_unavailable' })
    expect(readFileSync(file).equals(before)).toBe(true)
  })

  test('a page that was damaged is noticed', async () => {
    const sites = registry()
    await sites.put('site 1', { streams: 'all' })
    sites.close()
    fill(300)
    const bytes = readFileSync(file)
    expect(statSync(file).size).toBeGreaterThan(3 * 4096)
    bytes.fill(0xee, 4096, 3 * 4096)
    writeFileSync(file, bytes)
    await expect(reader().list()).rejects.toMatchObject({ code: 'sites_unavailable' })
    await expect(sites.put('a', { streams: 'all' })).rejects.toMatchObject({ code: 'sites_unavailable' })
  })

  test('a newer format is refused, and says so', async () => {
    await registry().put('a', { streams: 'all' })
    const database = new DatabaseSync(file)
    database.exec('PRAGMA user_version = 2')
    database.close()
    for (const sites of [registry(), reader()]) {
      await expect(sites.list()).rejects.toThrow(/has format 2; this version reads up to format 1/)
    }
  })

  test('works again once it is mended', async () => {
    const sites = registry()
    const reading = reader()
    writeFileSync(file, 'x'.repeat(5000))
    await expect(sites.list()).rejects.toMatchObject({ code: 'sites_unavailable' })
    await expect(reading.list()).rejects.toMatchObject({ code: 'sites_unavailable' })
    rmSync(file)
    await sites.put('a', { streams: 'all' })
    expect(await reading.list()).toHaveLength(1)
  })
})
