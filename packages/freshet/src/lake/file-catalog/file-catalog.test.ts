import { beforeEach, describe, expect, test } from 'vitest'
import { emptyTable, memoryLake, type Lake } from '../../../test/conformance/lake-fixture.ts'
import type { LoadedTable } from '../catalog.ts'

describe('the file catalog', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
  })

  const commits = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index++) table = await lake.catalog.commit(table, table.metadata)
  }
  const version = async (): Promise<number | undefined> => (await lake.catalog.load('trades'))?.version
  const set = (file: string, text: string): void =>
    void lake.store.objects.set(`trades/metadata/${file}`, Buffer.from(text))

  test("the layout is that of Iceberg's file-system tables", async () => {
    await commits(1)
    expect([...lake.store.objects.keys()].toSorted()).toEqual([
      'trades/metadata/v1.metadata.json',
      'trades/metadata/v2.metadata.json',
      'trades/metadata/version-hint.text',
    ])
    expect(lake.store.objects.get('trades/metadata/version-hint.text')?.toString()).toBe('2')
    expect(table.metadata.location).toBe('file:///lake/trades')
    expect(table.metadata['metadata-log'].map((entry) => entry['metadata-file'])).toEqual([
      'file:///lake/trades/metadata/v1.metadata.json',
    ])
  })

  for (const [what, hint] of [
    ['missing', undefined],
    ['old', '3'],
    ['far too old', '1'],
    ['garbage', 'v7!'],
    ['empty', ''],
    ['beyond the newest version', '999'],
  ] as const) {
    test(`a hint that is ${what} does not hide the newest version`, async () => {
      await commits(40)
      if (hint === undefined) lake.store.objects.delete('trades/metadata/version-hint.text')
      else set('version-hint.text', hint)
      expect(await version()).toBe(41)
    })
  }

  test('a good hint saves the listing, however many versions there were', async () => {
    await commits(120)
    lake.store.list = () => Promise.reject(new Error('listed'))
    expect(await version()).toBe(121)
  })

  test('a hint that cannot be written does not fail the commit', async () => {
    lake.store.put = () => Promise.reject(new Error('disk full'))
    await commits(2)
    expect(await version()).toBe(3)
  })

  test('a torn metadata file is reported by name, and no older version passes for the newest', async () => {
    await commits(1)
    set('v2.metadata.json', lake.store.objects.get('trades/metadata/v2.metadata.json')!.toString().slice(0, 200))
    await expect(lake.catalog.load('trades')).rejects.toMatchObject({
      code: 'corrupt_table',
      message: expect.stringContaining('trades/metadata/v2.metadata.json') as string,
    })
  })

  test('metadata of another format version is refused', async () => {
    set('v2.metadata.json', '{"format-version":3}')
    await expect(lake.catalog.load('trades')).rejects.toMatchObject({ code: 'unsupported_table' })
  })

  test('only the last hundred versions before the newest stay', async () => {
    await commits(130)
    const versions = [...lake.store.objects.keys()].filter((key) => key.endsWith('.metadata.json'))
    expect(versions).toHaveLength(101)
    expect(lake.store.objects.has('trades/metadata/v31.metadata.json')).toBe(true)
    expect(table.metadata['metadata-log'][0]?.['metadata-file']).toMatch(/v31\.metadata\.json$/)
  })

  test('a file left by a writer that died after sleeping through many commits is never taken for the table', async () => {
    await commits(150)
    set('v6.metadata.json', lake.store.objects.get('trades/metadata/v120.metadata.json')!.toString())
    set('version-hint.text', '6')
    expect(await version()).toBe(151)
  })
})
