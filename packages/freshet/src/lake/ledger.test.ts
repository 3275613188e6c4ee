import { beforeEach, describe, expect, test } from 'vitest'
import {
  append,
  at,
  dataFile,
  dayStartMs,
  emptyTable,
  memoryLake,
  type Lake,
} from '../../test/conformance/lake-fixture.ts'
import type { Catalog, LoadedTable } from './catalog.ts'
import { appendFiles } from './commit.ts'
import { ledgerKey, ledgerTotals, readLedger, type LedgerDelta } from './ledger.ts'
import { presentRows, removedRow, type LedgerRow } from './ledger-rows.ts'
import { currentSnapshot, tablePositions } from './metadata.ts'
import { sourcesKey, tableSources } from './sources.ts'

const startHour = dayStartMs / 3_600_000

function row(source: string | null, hour: number, committed: number, deduplicated = 0, deadLettered = 0): LedgerRow {
  return { source, hour, accepted: committed + deduplicated + deadLettered, committed, deduplicated, deadLettered }
}

function delta(rows: readonly LedgerRow[], sources: LedgerDelta['sources'] = new Map()): LedgerDelta {
  return { rows, sources }
}

describe('the ledger of a table', () => {
  let lake: Lake
  let table: LoadedTable

  beforeEach(async () => {
    lake = memoryLake()
    table = await lake.catalog.create('trades', emptyTable())
  })

  /** Commits a delta without files on the newest state. */
  async function commit(ledger: LedgerDelta, deps: Lake = lake): Promise<LoadedTable> {
    const base = (await lake.catalog.load('trades'))!
    const from = tablePositions(base.metadata)
    const to = at(Number(from.get(0) ?? 0n) + 1)
    return (await appendFiles(deps, { table: base, dataFiles: [], from, to, ledger })).table
  }

  const rowsOf = async (): Promise<LedgerRow[]> =>
    (await readLedger(lake.store, (await lake.catalog.load('trades'))!)).rows
  const ledgerFiles = (): string[] =>
    [...lake.store.objects.keys()].filter((key) => key.includes('/ledger-')).toSorted()
  const filesNamed = (metadata = table.metadata): string[] =>
    (JSON.parse(metadata.properties[ledgerKey]!) as { files: { file: string }[] }).files
      .map(({ file }) => `trades/metadata/${file}`)
      .toSorted()

  test('is empty and complete before the first commit', async () => {
    const { begun, rows, totals } = await readLedger(lake.store, table)
    expect(rows).toEqual([])
    expect(begun).toEqual({ positions: new Map(), rows: 0 })
    expect(totals).toEqual({ accepted: 0, committed: 0, deduplicated: 0, deadLettered: 0 })
  })

  test('changes with the positions, in one commit (I6)', async () => {
    const ledger = delta([row('a', 5, 10, 2, 1), row(null, 5, 3)])
    const request = { table, dataFiles: [dataFile(table, 'f', 13)], from: at(0), to: at(100), ledger }
    const { table: next } = await appendFiles(lake, request)
    expect((await readLedger(lake.store, next)).rows).toEqual([row(null, 5, 3), row('a', 5, 10, 2, 1)])
    expect(ledgerTotals(next.metadata)).toEqual({ accepted: 16, committed: 13, deduplicated: 2, deadLettered: 1 })
    expect(next.metadata.properties[ledgerKey]).toContain('"positions":{"0":"100"}')
  })

  test('adds up what a source sent in an hour', async () => {
    await commit(delta([row('a', 5, 1), row('a', 6, 2, 1)]))
    await commit(delta([row('a', 6, 3, 0, 4), row('b', 6, 5)]))
    expect(await rowsOf()).toEqual([row('a', 5, 1), row('a', 6, 5, 1, 4), row('b', 6, 5)])
  })

  test('keeps what was removed beside what was committed, through files and merges', async () => {
    await commit(delta([row('a', 1, 10)]))
    await commit(delta([removedRow('a', 1, 4)]))
    for (let hour = 2; hour < 600; hour += 50)
      await commit(delta(Array.from({ length: 50 }, (_, index) => row('a', hour + index, 1))))
    await commit(delta([removedRow('a', 1, -1), removedRow('a', 2, 1)]))
    expect(ledgerFiles().length).toBeGreaterThan(0)
    const rows = await rowsOf()
    expect(rows.slice(0, 3)).toEqual([
      { ...row('a', 1, 10), removed: 3 },
      { ...row('a', 2, 1), removed: 1 },
      row('a', 3, 1),
    ])
    const totals = ledgerTotals((await lake.catalog.load('trades'))!.metadata)
    expect(totals.removed).toBe(4)
    expect(presentRows(totals)).toBe(rows.reduce((sum, one) => sum + one.committed, 0) - 4)
  })

  test('keeps sources apart whatever their names are', async () => {
    const names = [null, 'null', '', '5', '5 a', '*', '__proto__', 'a b', '"', '\\']
    await commit(delta(names.map((name, index) => row(name, 5, index + 1))))
    const rows = await rowsOf()
    expect(new Map(rows.map(({ source, committed }) => [source, committed]))).toEqual(
      new Map(names.map((name, index) => [name, index + 1])),
    )
  })

  test('is made anew on the winner of a conflict', async () => {
    const first = await commit(delta([row('a', 5, 1)]))
    const theirs = { owner: 'somebody', [sourcesKey]: '[["b",1,2,3]]' }
    const foreign = { ...first.metadata, properties: { ...first.metadata.properties, ...theirs } }
    await lake.catalog.commit(first, foreign)
    const ledger = delta([row('a', 5, 2)])
    const { table: next, conflicts } = await appendFiles(lake, {
      table: first,
      dataFiles: [],
      from: at(1),
      to: at(2),
      ledger,
    })
    expect(conflicts).toBe(1)
    expect(next.metadata.properties['owner']).toBe('somebody')
    expect(tableSources(next.metadata)).toEqual(new Map([['b', seen(1, 2, 3)]]))
    expect(await rowsOf()).toEqual([row('a', 5, 3)])
  })

  test('a commit that is refused leaves ledger and files as they were', async () => {
    const base = await commit(delta(hourRows(0, 300)))
    await commit(delta([row('a', 5, 1)]))
    const before = [...lake.store.objects.keys()].toSorted()
    const request = { table: base, dataFiles: [], from: at(1), to: at(9), ledger: delta(hourRows(300, 300)) }
    await expect(appendFiles(lake, request)).rejects.toMatchObject({ code: 'commit_conflict' })
    expect([...lake.store.objects.keys()].toSorted()).toEqual(before)
    expect(await rowsOf()).toHaveLength(301)
  })

  test('rows move to files, which a conflict leaves none too many of', async () => {
    const base = await commit(delta(hourRows(0, 300)))
    await lake.catalog.commit(base, { ...base.metadata, properties: { ...base.metadata.properties, owner: 'x' } })
    const ledger = delta(hourRows(300, 300))
    const { table: next } = await appendFiles(lake, { table: base, dataFiles: [], from: at(1), to: at(2), ledger })
    expect(ledgerFiles()).toEqual(filesNamed(next.metadata))
    expect(ledgerFiles()).toHaveLength(1)
    expect(await rowsOf()).toEqual(hourRows(0, 600))
  })

  test('history costs little: files and property stay few and small, rows are written a few times each', async () => {
    const perCommit = 500
    const commits = 200
    let bytesWritten = 0
    const put = lake.store.put.bind(lake.store)
    lake.store.put = async (key, body) => {
      if (key.includes('/ledger-')) bytesWritten += (body as Uint8Array).byteLength
      return put(key, body)
    }
    for (let index = 0; index < commits; index++) {
      table = await commit(delta(hourRows(index * perCommit, perCommit)))
      expect(filesNamed().length).toBeLessThanOrEqual(16)
      expect(table.metadata.properties[ledgerKey]!.length).toBeLessThan(40_000)
      for (const file of filesNamed()) expect(lake.store.objects.has(file)).toBe(true)
    }
    expect(ledgerFiles().length).toBeLessThanOrEqual(16 + 100)
    const rows = await rowsOf()
    expect(rows).toHaveLength(perCommit * commits)
    expect(ledgerTotals(table.metadata).committed).toBe(rows.reduce((sum, { committed }) => sum + committed, 0))
    const onePass = rows.reduce((sum, { source, hour }) => sum + `["${source}",${hour},1,1,0,0]\n`.length, 0)
    expect(bytesWritten).toBeLessThan(7 * onePass)
  })

  test('many sources in every commit of an hour do not pile up', async () => {
    const sources = Array.from({ length: 1001 }, (_, index) => `source-${index}`)
    for (let index = 0; index < 60; index++) {
      table = await commit(delta(sources.map((source) => row(source, startHour, 1))))
      expect(filesNamed().length).toBeLessThanOrEqual(16)
    }
    expect(ledgerFiles().length).toBeLessThan(200)
    expect(table.metadata.properties[ledgerKey]!.length).toBeLessThan(40_000)
    expect(await rowsOf()).toEqual(sources.toSorted().map((source) => row(source, startHour, 60)))
  })

  test('files that merging replaced stay for as long as older metadata names them, and go then', async () => {
    const versions: LoadedTable[] = []
    for (let index = 0; index < 130; index++) {
      versions.push(await commit(delta(hourRows(index * 401, 401))))
      for (const version of versions.slice(-100)) {
        for (const file of filesNamed(version.metadata)) expect(lake.store.objects.has(file)).toBe(true)
      }
    }
    expect(filesNamed(versions[2]!.metadata).some((file) => lake.store.objects.has(file))).toBe(false)
  })

  test('a damaged file is reported by name, is merged with no other, and keeps no commit away', async () => {
    for (let index = 0; index < 3; index++) table = await commit(delta(hourRows(index * 401, 401)))
    const [file] = filesNamed()
    const bytes = Buffer.from(lake.store.objects.get(file!)!)
    bytes[bytes.length - 3]! ^= 1
    lake.store.objects.set(file!, bytes)
    await expect(rowsOf()).rejects.toThrow(file)
    for (let index = 3; index < 40; index++) table = await commit(delta(hourRows(index * 401, 401)))
    expect(filesNamed()).toContain(file)
    await expect(rowsOf()).rejects.toMatchObject({ code: 'corrupt_table' })
    const all = hourRows(0, 40 * 401)
    expect(ledgerTotals(table.metadata).accepted).toBe(all.reduce((sum, { accepted }) => sum + accepted, 0))
    expect(filesNamed().length).toBeLessThan(16)
  })

  test.each([
    ['cut short', (bytes: Buffer) => bytes.subarray(0, -10)],
    ['without its last line', (bytes: Buffer) => bytes.subarray(0, bytes.lastIndexOf('[', -2))],
    ['empty', () => Buffer.alloc(0)],
    ['another file', () => Buffer.from('{"format":1,"rows":0,"crc":0}\n')],
  ])('a ledger file that is %s is found out', async (_, change) => {
    table = await commit(delta(hourRows(0, 401)))
    const [file] = filesNamed()
    lake.store.objects.set(file!, change(Buffer.from(lake.store.objects.get(file!)!)))
    await expect(rowsOf()).rejects.toMatchObject({ code: 'corrupt_table' })
  })

  test('a table from before begins its ledger where it is, and says so', async () => {
    const { table: old } = await append(lake, table, 'old', 70)
    expect(await readLedger(lake.store, old)).toMatchObject({ begun: { positions: at(70), rows: 10 }, rows: [] })
    table = await commit(delta([row('a', 5, 4)]))
    await commit(delta([row('a', 5, 1)]))
    const { begun, rows } = await readLedger(lake.store, (await lake.catalog.load('trades'))!)
    expect({ begun, rows }).toEqual({ begun: { positions: at(70), rows: 10 }, rows: [row('a', 5, 5)] })
  })

  test('a table that another engine rolled back begins a new one: the old one speaks of rows that are gone', async () => {
    const { table: first } = await appendFiles(lake, {
      table,
      dataFiles: [],
      from: at(0),
      to: at(5),
      ledger: delta([row('a', 5, 1)]),
    })
    const second = await commit(delta(hourRows(0, 401)))
    const rolledBack = {
      ...second.metadata,
      'current-snapshot-id': currentSnapshot(first.metadata)!['snapshot-id'],
      refs: first.metadata.refs,
    }
    await lake.catalog.commit(second, rolledBack)
    table = await commit(delta([row('a', 5, 7)]))
    expect(await rowsOf()).toEqual([row('a', 5, 7)])
    expect((await readLedger(lake.store, table)).begun).toEqual({ positions: at(5), rows: 0 })
    for (let index = 0; index < 101; index++) await commit(delta([]))
    expect(ledgerFiles()).toEqual([])
  })

  test('a damaged property is reported, and begun anew by the next commit', async () => {
    const first = await commit(delta([row('a', 5, 1)]))
    for (const text of ['', '{', '[]', 'null', '{"format":2}', '{"format":1}', '{"format":1,"positions":{"0":"x"}}']) {
      const now = (await lake.catalog.load('trades'))!
      const properties = { ...first.metadata.properties, [ledgerKey]: text, [sourcesKey]: text }
      const broken = await lake.catalog.commit(now, { ...now.metadata, properties })
      await expect(readLedger(lake.store, broken)).rejects.toMatchObject({ code: 'corrupt_table' })
      expect(tableSources(broken.metadata)).toEqual(new Map())
      const { metadata } = await commit(delta([row('b', 5, 2)], new Map([['b', seen(1, 2, 3)]])))
      expect(ledgerTotals(metadata).committed).toBe(2)
      expect(tableSources(metadata)).toEqual(new Map([['b', seen(1, 2, 3)]]))
    }
  })

  test('a crash between any two writes leaves ledger and positions agreeing (I6)', async () => {
    const base = await commit(delta(hourRows(0, 400)))
    for (let writes = 0, made = false; !made; writes++) {
      const crashing = memoryLake()
      for (const [key, object] of lake.store.objects) crashing.store.objects.set(key, object)
      const { store } = crashing
      let left = writes
      const crash = (): void => {
        if (left-- === 0) throw new Error('crashed')
      }
      const put = store.put.bind(store)
      const putIfAbsent = store.putIfAbsent.bind(store)
      store.put = async (key, body) => (crash(), put(key, body))
      store.putIfAbsent = async (key, body) => (crash(), putIfAbsent(key, body))
      const request = { table: base, dataFiles: [], from: at(1), to: at(2), ledger: delta(hourRows(400, 400)) }
      made = await appendFiles(crashing, request).then(
        () => true,
        () => false,
      )
      left = Number.POSITIVE_INFINITY
      const after = (await crashing.catalog.load('trades'))!
      const { rows } = await readLedger(store, after)
      expect([tablePositions(after.metadata).get(0), rows.length]).toEqual(made ? [2n, 800] : [1n, 400])
    }
  })

  test('a lost answer: what the commit added is in the ledger once', async () => {
    const { catalog } = lake
    const lost: Catalog = {
      tables: () => catalog.tables(),
      load: (name) => catalog.load(name),
      create: (name, metadata) => catalog.create(name, metadata),
      commit: async (base, next) => {
        await catalog.commit(base, next)
        throw new Error('connection reset')
      },
    }
    await commit(delta([row('a', 5, 2)]), { ...lake, catalog: lost })
    expect(await rowsOf()).toEqual([row('a', 5, 2)])
  })

  test('sources keep their latest times, and the thousand that were seen last are kept', async () => {
    await commit(
      delta(
        [],
        new Map([
          ['a', seen(10, 20, 100)],
          ['b', seen(undefined, 7, 90)],
        ]),
      ),
    )
    const next = await commit(
      delta(
        [],
        new Map([
          ['a', seen(5, 30, 80)],
          ['b', seen(3, undefined, 95)],
        ]),
      ),
    )
    expect(tableSources(next.metadata)).toEqual(
      new Map([
        ['a', seen(10, 30, 100)],
        ['b', seen(3, 7, 95)],
      ]),
    )
    const many = Array.from({ length: 999 }, (_, index) => [`s${index}`, seen(1, 1, 200 + index)] as const)
    const full = tableSources((await commit(delta([], new Map(many)))).metadata)
    expect([full.size, full.has('a'), full.has('b')]).toEqual([1000, true, false])
  })
})

function seen(lastEventMs: number | undefined, reportedThroughMs: number | undefined, lastArrivalMs: number) {
  return { lastEventMs, reportedThroughMs, lastArrivalMs }
}

/** Rows of `count` hours of one source. */
function hourRows(from: number, count: number): LedgerRow[] {
  return Array.from({ length: count }, (_, index) => row('site-1', startHour + from + index, 1 + ((from + index) % 3)))
}
