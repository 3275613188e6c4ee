/** `freshet verify` finds each kind of damage at its place, and takes nothing else for damage. */
import { cp, mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { appendFiles } from '../../src/lake/commit.ts'
import { readManifest, readManifestList } from '../../src/lake/manifest.ts'
import { currentSnapshot, tablePositions } from '../../src/lake/metadata.ts'
import { keyOf, pathOf } from '../../src/lake/table-paths.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import type { Finding } from '../../src/runtime/finding.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { columnStart, flip, FolderCopy, replaceRows, verifyLab } from './verify-lab.ts'

const lab = await verifyLab()
let folder: FolderCopy

beforeEach(async () => {
  folder = await FolderCopy.of(lab)
})

afterEach(() => folder.remove())
afterAll(() => lab.close())

test('log: a changed byte, a cut, and a missing segment are found in their segment', async () => {
  const segments = await folder.filesIn('log/trades', '.ndjson')
  expect(segments.length).toBeGreaterThan(3)
  const [path] = segments.slice(-2)
  const whole = await readFile(path!)
  await flip(path!, whole.length - 100)
  expect(await folder.problems()).toMatchObject([
    { check: 'log', stream: 'trades', file: path, offset: whole.lastIndexOf('{"_frame"') },
  ])
  await truncate(path!, whole.length - 100)
  expect(await folder.problems()).toMatchObject([{ check: 'log', file: path, offset: whole.lastIndexOf('{"_frame"') }])
  await rm(path!)
  expect(await folder.problems()).toMatchObject([{ check: 'log', file: segments.at(-3) }])
})

test('log: what is below the position of the table may be trimmed, what is above it not (I7)', async () => {
  const [oldest, second] = await folder.filesIn('log/trades', '.ndjson')
  await rm(oldest!)
  await rm(second!)
  expect(await folder.problems()).toMatchObject([{ check: 'position', stream: 'trades' }])
})

test('log: a log that was deleted or replaced does not reach the position of the table', async () => {
  await rm(join(folder.dir, 'log'), { recursive: true })
  const [found] = await folder.problems()
  expect(found).toMatchObject({ check: 'position', stream: 'trades' })
  expect(found!.what).toContain('deleted or replaced')
})

test('log: a position that no batch begins at is found, where the log was replaced by another one', async () => {
  const newest = await folder.newestMetadata()
  const text = await readFile(newest, 'utf8')
  const at = /"freshet.positions":"\{\\"0\\":\\"(\d+)\\"/.exec(text)![1]!
  await writeFile(newest, text.replaceAll(`\\"${at}\\"`, `\\"${Number(at) + 7}\\"`))
  expect(await folder.problems()).toMatchObject([{ check: 'position', stream: 'trades' }])
})

test('log: a torn tail and stray files are notes', async () => {
  const last = (await folder.filesIn('log/trades', '.ndjson')).at(-1)!
  const size = (await stat(last)).size
  await writeFile(last, '{"_frame":{"bytes":10,', { flag: 'a' })
  await writeFile(join(folder.dir, 'log/trades/0/left.tmp'), '')
  const report = await folder.verify()
  expect(report).toMatchObject({
    ok: true,
    notes: [{ file: last, offset: size }, { file: join(folder.dir, 'log/trades/0/left.tmp') }],
  })
})

test('table: a data file that is missing, has another size, or has other rows is found', async () => {
  const [path] = await folder.filesIn('lake/trades', '.parquet')
  const whole = await readFile(path!)
  await replaceRows(path!, 'SELECT * FROM {file} LIMIT 7')
  expect(await folder.problems()).toMatchObject([{ check: 'table', stream: 'trades', file: path }])
  expect((await folder.problems())[0]!.what).toMatch(/has 7 rows; its manifest says \d+/)
  await writeFile(path!, Buffer.concat([whole, Buffer.from('x')]))
  expect((await folder.problems())[0]).toMatchObject({
    file: path,
    what: expect.stringContaining(`${whole.length + 1} bytes`) as string,
  })
  await rm(path!)
  expect(await folder.problems()).toMatchObject([
    { check: 'table', file: path, what: expect.stringContaining('is missing') as string },
  ])
  await writeFile(path!, Buffer.alloc(whole.length))
  expect(await folder.problems()).toMatchObject([
    { check: 'table', file: path, what: expect.stringContaining('is damaged') as string },
  ])
})

test('table: in depth, damaged values and rows of another day are found, though size and row count are right', async () => {
  const [path] = await folder.filesIn('lake/trades', '.parquet')
  const whole = await readFile(path!)
  const page = await columnStart(path!, 'price')
  await writeFile(path!, Buffer.from(whole).fill(0, page, page + 20))
  expect(await folder.problems()).toEqual([])
  expect(await folder.problems({ deep: true })).toMatchObject([{ check: 'table', file: path }])
  // Where the ids are: found without reading in depth too.
  await writeFile(path!, Buffer.from(whole).fill(0, 20, 200))
  expect(await folder.problems()).toMatchObject([{ check: 'table', file: path }])
  const moved =
    'SELECT _event_id, _event_time - INTERVAL 40 DAY AS _event_time, _received_at, _source, _tenant FROM {file}'
  await writeFile(path!, whole)
  await replaceRows(path!, moved)
  expect(await folder.problems()).toEqual([])
  expect(await folder.problems({ deep: true })).toMatchObject([
    { file: path, what: expect.stringContaining('outside') as string },
  ])
})

test('table: a damaged or missing manifest, and a missing manifest list, are found for every snapshot that is kept', async () => {
  const [path] = await folder.manifestsOfCurrent()
  const whole = await readFile(path!)
  await flip(path!, whole.length - 20)
  expect(await folder.problems()).toMatchObject([{ check: 'table', stream: 'trades', file: path }])
  await truncate(path!, 100)
  expect(await folder.problems()).toMatchObject([{ check: 'table', file: path }])
  await rm(path!)
  expect(await folder.problems()).toMatchObject([{ check: 'table', file: path }])
  await writeFile(path!, whole)
  const table = (await folder.lake().catalog.load('trades'))!
  const list = join(folder.dir, 'lake', keyOf(table, table.metadata.snapshots[0]!['manifest-list']))
  await rm(list)
  expect(await folder.problems()).toMatchObject([{ check: 'table', file: list }])
})

test('table: damaged metadata and a missing version are found; older damage and a wrong hint are notes', async () => {
  const newest = await folder.newestMetadata()
  const whole = await readFile(newest)
  await truncate(newest, 100)
  expect(await folder.problems()).toMatchObject([{ check: 'table', stream: 'trades', file: newest }])
  await writeFile(newest, whole)
  const older = newest.replace(/v\d+/, 'v2')
  await writeFile(older, '{}')
  await writeFile(join(folder.dir, 'lake/trades/metadata/version-hint.text'), '77')
  const report = await folder.verify()
  expect(report).toMatchObject({
    ok: true,
    notes: [{ file: older }, { file: expect.stringContaining('version-hint') as string }],
  })
  await rm(older)
  expect(await folder.problems()).toMatchObject([{ check: 'table', file: older }])
})

test('table: rows that another writer added once more are found, and that they are in no ledger (I5, I6)', async () => {
  const { store, catalog } = folder.lake()
  const table = (await catalog.load('trades'))!
  const list = await readManifestList(store, keyOf(table, currentSnapshot(table.metadata)!['manifest-list']))
  const [entry] = await readManifest(store, keyOf(table, list[0]!.path), list[0]!)
  const place = 'data/again.parquet'
  await cp(join(folder.dir, 'lake', keyOf(table, entry!.file.path)), join(folder.dir, 'lake/trades', place))
  const at = tablePositions(table.metadata)
  const dataFiles = [{ ...entry!.file, path: pathOf(table, place) }]
  const deps = { catalog, store, clock: systemClock, random: systemRandom, logger: silentLogger }
  await appendFiles(deps, { table, dataFiles, from: at, to: at })
  const found = await folder.problems()
  expect(found.map(({ check }) => check)).toEqual(['duplicates', 'ledger'])
  expect(found[0]!.what).toContain(`${entry!.file.recordCount} rows too many`)
})

test('ledger: numbers that the files do not bear out are found, by source and hour (I6)', async () => {
  const newest = await folder.newestMetadata()
  const text = await readFile(newest, 'utf8')
  const metadata = JSON.parse(text) as { properties: Record<string, string> }
  type Row = [string | null, number, number, number, number, number]
  const change = async (edit: (row: Row, ledger: { totals: number[] }) => void): Promise<Finding[]> => {
    const ledger = JSON.parse(metadata.properties['freshet.ledger']!) as { recent: Row[]; totals: number[] }
    edit(
      ledger.recent.find(([source]) => source === 'site-1')!,
      ledger,
    )
    const properties = { ...metadata.properties, 'freshet.ledger': JSON.stringify(ledger) }
    await writeFile(newest, JSON.stringify({ ...(JSON.parse(text) as object), properties }))
    return folder.problems()
  }
  const moved = await change((row) => {
    row[3]--
    row[4]++
  })
  expect(moved.map(({ check }) => check)).toEqual(['ledger', 'ledger', 'ledger'])
  expect(moved.map(({ what }) => what).join()).toContain('source "site-1"')
  const unbalanced = await change((row) => row[2]++)
  expect(unbalanced).toMatchObject([{ check: 'ledger', what: expect.stringContaining('does not balance') as string }])
  const buried = await change((row, ledger) => {
    row[3]--
    row[5]++
    ledger.totals[1]!--
    ledger.totals[3]!++
  })
  expect(buried.map(({ what }) => what).join()).toContain('its dead letters do not agree')
})

test('ledger: one that began later says so, and is no problem', async () => {
  const newest = await folder.newestMetadata()
  const metadata = JSON.parse(await readFile(newest, 'utf8')) as { properties: Record<string, string> }
  delete metadata.properties['freshet.ledger']
  await writeFile(newest, JSON.stringify(metadata))
  expect(await folder.verify()).toMatchObject({ ok: true, notes: [{ check: 'ledger', stream: 'trades' }] })
})

test('ledger: where the dead letters are damaged, that is the problem, and the ledger is compared without them', async () => {
  const [path] = await folder.filesIn('lake/trades_dead_letters', '.parquet')
  await rm(path!)
  const all = await folder.verify()
  expect(all.problems).toMatchObject([{ check: 'table', stream: 'trades_dead_letters', file: path }])
  expect(all.notes).toMatchObject([{ check: 'ledger', stream: 'trades' }])
  expect(await folder.verify({ streams: ['trades'] })).toMatchObject({ ok: true, notes: [{ check: 'ledger' }] })
})

test('files that nothing refers to, whole or being written, are counted and no problem', async () => {
  await mkdir(join(folder.dir, 'lake/trades/data/_event_time_day=2013-10-07'), { recursive: true })
  await writeFile(join(folder.dir, 'lake/trades/data/_event_time_day=2013-10-07/orphan.parquet'), 'PAR1')
  await writeFile(join(folder.dir, 'lake/trades/metadata/.tmp-0123'), 'xy')
  const report = await folder.verify()
  expect(report).toMatchObject({ ok: true, streams: [{ table: { orphans: { files: 2, bytes: 6 } } }, {}] })
  expect(report.notes[0]!.what).toContain('orphan.parquet')
  expect(report.notes[0]!.what).toContain('.tmp-0123')
})
