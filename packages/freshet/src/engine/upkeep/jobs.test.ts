/** Each job on a table of real files: what it plans, what it does, and that the rows stay what they were (I3, I5). */
import { existsSync, readdirSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { rowsFrom, UpkeepLab } from '../../../test/support/upkeep-lab.ts'
import { readLedger } from '../../lake/ledger.ts'
import { currentSnapshot, tablePositions } from '../../lake/metadata.ts'
import { createTag } from '../../lake/refs.ts'
import { rewriteFiles } from '../../lake/rewrite.ts'
import { planCompactionJob } from './compaction.ts'
import { planExpiryJob } from './expiry.ts'
import { planManifestsJob } from './manifests.ts'
import { planOrphansJob } from './orphans.ts'
import { planRetentionJob } from './retention.ts'

let lab: UpkeepLab
afterEach(() => lab.close())

const day = '2026-03-09T00:00:00Z'
const quiet = (): void => {
  lab.clock.ms += 2 * 3_600_000
}

describe('compaction', () => {
  test('makes one sorted file of many small ones, with the same rows, positions and ledger', async () => {
    lab = await UpkeepLab.open()
    for (const start of ['10', '05', '20', '01', '15'])
      await lab.append(rowsFrom(`t${start}-`, 30, `2026-03-09T${start}:00:00Z`))
    const before = (await lab.ids()).toSorted()
    const [positions, ledger] = [tablePositions(lab.table!.metadata), await readLedger(lab.deps.store, lab.table!)]
    const plan = await planCompactionJob(lab.deps, lab)
    expect(plan.tasks.map(({ row }) => row)).toMatchObject([
      { table: 'trades', job: 'compaction', partition: '2026-03-09', state: 'planned', filesBefore: 5, rows: 150 },
    ])
    const outcome = await plan.tasks[0]!.run(new AbortController().signal)
    expect(outcome).toMatchObject({
      filesAfter: 1,
      rows: 150,
      snapshotId: String(lab.table!.metadata['current-snapshot-id']),
    })
    expect(lab.files).toHaveLength(1)
    expect((await lab.ids()).toSorted()).toEqual(before)
    expect(currentSnapshot(lab.table!.metadata)!.summary['operation']).toBe('replace')
    expect(tablePositions(lab.table!.metadata)).toEqual(positions)
    expect(await readLedger(lab.deps.store, lab.table!)).toEqual(ledger)
    const [stray] = await lab.sql(
      `SELECT count(*) FROM (SELECT _event_time AS t, lag(_event_time) OVER (ORDER BY file_row_number) AS p FROM read_parquet('${lab.path(lab.files[0]!.key)}', file_row_number = true)) WHERE t < p`,
    )
    expect(stray).toEqual([0n])
    expect((await planCompactionJob(lab.deps, lab)).skipped).toMatchObject([
      { partition: '2026-03-09', state: 'skipped', reason: 'only one small file' },
    ])
    expect(readdirSync(lab.deps.tmpDir)).toEqual([])
  })

  test('sorts by the chosen column first', async () => {
    lab = await UpkeepLab.open({ stream: { sort: 'symbol' } })
    for (let index = 0; index < 4; index++) await lab.append(rowsFrom(`t${index}-`, 30, day))
    await lab.runAll(await planCompactionJob(lab.deps, lab))
    const symbols = await lab.sql(
      `SELECT symbol FROM read_parquet('${lab.path(lab.files[0]!.key)}', file_row_number = true) ORDER BY file_row_number`,
    )
    expect(symbols.flat()).toEqual([...Array(40).fill('DIA'), ...Array(40).fill('QQQ'), ...Array(40).fill('SPY')])
  })

  test.each([
    ['by ranges of time', 1000, 8000],
    ['by place where all rows have one time', 0, 5000],
  ])('cuts a file that is much too large %s', async (_, stepMs, target) => {
    lab = await UpkeepLab.open({ targetFileBytes: target })
    await lab.append(rowsFrom('some-event-with-a-longer-id-', 6000, day, stepMs))
    const before = (await lab.ids()).toSorted()
    const bytes = lab.files[0]!.bytes
    const outputs = Math.round(bytes / target)
    expect(outputs).toBeGreaterThanOrEqual(3)
    const { tasks } = await planCompactionJob(lab.deps, lab)
    expect(tasks.map(({ row }) => row.reason)).toEqual([expect.stringContaining('in one file, target')])
    await tasks[0]!.run(new AbortController().signal)
    expect(lab.files).toHaveLength(outputs)
    for (const file of lab.files) expect(file.recordCount).toBeLessThan((1.5 * 6000) / outputs)
    expect((await lab.ids()).toSorted()).toEqual(before)
    if (stepMs === 0) return
    const ranges = lab.files.map(({ eventTime }) => eventTime).toSorted((a, b) => (a.lower! < b.lower! ? -1 : 1))
    for (const [index, { lower }] of ranges.slice(1).entries()) expect(lower! > ranges[index]!.upper!).toBe(true)
  })

  test('leaves out rows that position deletes take out, and the delete file', async () => {
    lab = await UpkeepLab.open()
    await lab.append(rowsFrom('a', 50, day))
    await lab.append(rowsFrom('b', 10, day))
    await lab.deleteRows(
      lab.files.find(({ recordCount }) => recordCount === 50)!,
      [0, 7, 49],
    )
    expect(await lab.ids()).toHaveLength(57)
    const before = (await lab.ids()).toSorted()
    const { tasks } = await planCompactionJob(lab.deps, lab)
    expect(tasks.map(({ row }) => row.reason)).toEqual(['1 delete file applies to it'])
    expect(await tasks[0]!.run(new AbortController().signal)).toMatchObject({ filesAfter: 1, rows: 47 })
    expect((await lab.ids()).toSorted()).toEqual(before)
    expect(lab.files.every(({ deletes }) => deletes.length === 0)).toBe(true)
    expect(currentSnapshot(lab.table!.metadata)!.summary['total-delete-files']).toBe('0')
  })

  test('goes on where others append meanwhile', async () => {
    lab = await UpkeepLab.open()
    for (let index = 0; index < 4; index++) await lab.append(rowsFrom(`t${index}-`, 10, day))
    const { tasks } = await planCompactionJob(lab.deps, lab)
    await lab.append(rowsFrom('later', 5, day))
    await tasks[0]!.run(new AbortController().signal)
    expect(lab.files).toHaveLength(2)
    expect(new Set(await lab.ids()).size).toBe(45)
  })

  test('changes nothing, and leaves no file, when another engine took one of its files meanwhile', async () => {
    lab = await UpkeepLab.open()
    for (let index = 0; index < 4; index++) await lab.append(rowsFrom(`t${index}-`, 10, day))
    const { tasks } = await planCompactionJob(lab.deps, lab)
    const gone = lab.files[0]!
    lab.beforeChange = async () => {
      await rewriteFiles(lab.deps, { table: lab.table!, remove: [gone.path], add: [], operation: 'delete' })
    }
    const before = readdirSync(lab.path('trades/data'), { recursive: true }).length
    await expect(tasks[0]!.run(new AbortController().signal)).rejects.toMatchObject({ code: 'commit_conflict' })
    lab.beforeChange = async () => undefined
    await lab.reload()
    expect(await lab.ids()).toHaveLength(30)
    expect(readdirSync(lab.path('trades/data'), { recursive: true })).toHaveLength(before)
    quiet()
    await lab.runAll(await planCompactionJob(lab.deps, lab))
    expect(lab.files).toHaveLength(1)
    expect(await lab.ids()).toHaveLength(30)
  })

  test('refuses files that do not have the rows that the table says', async () => {
    lab = await UpkeepLab.open()
    for (let index = 0; index < 5; index++) await lab.append(rowsFrom(`t${index}-`, 10 + index, day))
    const { tasks } = await planCompactionJob(lab.deps, lab)
    const [one, other] = lab.files
    await rename(lab.path(one!.key), lab.path(`${one!.key}.other`))
    await lab.sql(`COPY (FROM read_parquet('${lab.path(other!.key)}')) TO '${lab.path(one!.key)}' (FORMAT parquet)`)
    await expect(tasks[0]!.run(new AbortController().signal)).rejects.toThrow(/have \d+ rows, but the table says 60/)
    await rm(lab.path(one!.key))
    await writeFile(lab.path(one!.key), 'no parquet')
    await expect(tasks[0]!.run(new AbortController().signal)).rejects.toThrow('too small to be a Parquet file')
    expect(lab.files).toHaveLength(5)
  })

  test('is put off when it would fill the disk', async () => {
    lab = await UpkeepLab.open()
    for (let index = 0; index < 4; index++) await lab.append(rowsFrom(`t${index}-`, 10, day))
    lab.deps.fileSystem = { ...lab.deps.fileSystem, freeBytes: async () => 1000 }
    const { tasks } = await planCompactionJob(lab.deps, lab)
    const outcome = await tasks[0]!.run(new AbortController().signal)
    expect(outcome).toMatchObject({
      state: 'skipped',
      reason: expect.stringMatching(/^1000 bytes are free on the disk/),
    })
    expect(lab.files).toHaveLength(4)
  })

  test('that is told to stop does', async () => {
    lab = await UpkeepLab.open()
    for (let index = 0; index < 4; index++) await lab.append(rowsFrom(`t${index}-`, 10, day))
    const { tasks } = await planCompactionJob(lab.deps, lab)
    await expect(tasks[0]!.run(AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop')
    expect(lab.files).toHaveLength(4)
    expect(readdirSync(lab.deps.tmpDir)).toEqual([])
  })
})

describe('retention', () => {
  test('drops past partitions by one commit, and says in the ledger which rows went', async () => {
    lab = await UpkeepLab.open({ stream: { retainMs: 5 * 86_400_000 } })
    const hour = Date.parse('2026-03-01T00:00:00Z') / 3_600_000
    await lab.append(rowsFrom('old', 90, '2026-03-01T00:00:00Z'), [
      { source: 'site', hour, accepted: 60, committed: 60, deduplicated: 0, deadLettered: 0 },
      { source: 'site', hour: hour + 1, accepted: 30, committed: 30, deduplicated: 0, deadLettered: 0 },
    ])
    await lab.append(rowsFrom('cut', 10, '2026-03-05T00:00:00Z'))
    await lab.append(rowsFrom('new', 10, day))
    const { tasks } = await planRetentionJob(lab.deps, lab, lab.now)
    expect(tasks.map(({ row }) => row)).toMatchObject([{ partition: '2026-03-01', filesBefore: 1, rows: 90 }])
    expect(await tasks[0]!.run(new AbortController().signal)).toMatchObject({ filesAfter: 0, rows: 90 })
    expect(new Set(await lab.ids())).toEqual(
      new Set([...rowsFrom('cut', 10, day), ...rowsFrom('new', 10, day)].map(({ id }) => id)),
    )
    expect(currentSnapshot(lab.table!.metadata)!.summary['operation']).toBe('delete')
    const { rows, totals } = await readLedger(lab.deps.store, lab.table!)
    expect(totals).toMatchObject({ committed: 90, removed: 90 })
    expect(rows.map(({ hour: at, committed, removed }) => [at - hour, committed, removed])).toEqual([
      [0, 60, 60],
      [1, 30, 30],
    ])
    const { skipped } = await planRetentionJob(lab.deps, lab, lab.now)
    expect(skipped[0]!.reason).toBe('no other partition ends before 2026-03-05T12:00:00.000Z')
  })

  test('drops nothing while the clock cannot be trusted, and for a stream that keeps its events', async () => {
    lab = await UpkeepLab.open({ stream: { retainMs: 1000 } })
    await lab.append(rowsFrom('a', 10, '2020-01-01T00:00:00Z'))
    const doubtful = await planRetentionJob(lab.deps, lab, { reason: 'the clock jumped' })
    expect([doubtful.tasks, doubtful.skipped[0]!.reason]).toEqual([[], 'the clock jumped'])
    const { retainMs: _, ...forever } = lab.stream
    lab.stream = forever
    const kept = await planRetentionJob(lab.deps, lab, lab.now)
    expect([kept.tasks, kept.skipped[0]!.reason]).toEqual([[], 'the stream keeps its events for ever'])
  })
})

describe('expiry', () => {
  const expire = async (): Promise<void> => lab.runAll(await planExpiryJob(lab.deps, lab, lab.now))

  async function compacted(): Promise<string[]> {
    lab = await UpkeepLab.open()
    for (let index = 0; index < 4; index++) await lab.append(rowsFrom(`t${index}-`, 10, day))
    const former = lab.files.map(({ key }) => key)
    await lab.runAll(await planCompactionJob(lab.deps, lab))
    lab.clock.ms += 1000
    return former
  }

  test('removes the files that only former snapshots need, when queries that could read them have ended', async () => {
    const former = await compacted()
    const readers = Promise.withResolvers<void>()
    lab.readers = readers.promise
    const { tasks } = await planExpiryJob(lab.deps, lab, lab.now)
    expect(tasks[0]!.row.reason).toMatch(/^4 of 5 snapshots are older than /)
    const done = tasks[0]!.run(new AbortController().signal)
    await expect.poll(() => lab.table!.metadata.snapshots.length).toBe(1)
    // Loads go on meanwhile.
    await lab.append(rowsFrom('later', 5, day))
    expect(former.every((key) => existsSync(lab.path(key)))).toBe(true)
    readers.resolve()
    expect(await done).toMatchObject({ filesAfter: 0 })
    expect(former.some((key) => existsSync(lab.path(key)))).toBe(false)
    expect(await lab.ids()).toHaveLength(45)
  })

  test('that is told to stop waits for no query, and leaves the files to orphan removal', async () => {
    const former = await compacted()
    lab.readers = new Promise(() => undefined)
    const { tasks } = await planExpiryJob(lab.deps, lab, lab.now)
    const stop = new AbortController()
    const done = tasks[0]!.run(stop.signal)
    await expect.poll(() => lab.table!.metadata.snapshots.length).toBe(1)
    stop.abort(new Error('stop'))
    await expect(done).rejects.toThrow('stop')
    expect(former.every((key) => existsSync(lab.path(key)))).toBe(true)
    lab.clock.ms = Date.now() + 3 * 86_400_000
    await lab.runAll(await planOrphansJob(lab.deps, lab, lab.now))
    expect(former.some((key) => existsSync(lab.path(key)))).toBe(false)
  })

  test('leaves what a tag holds', async () => {
    const former = await compacted()
    const tagged = lab.table!.metadata.snapshots[1]!['snapshot-id']
    await createTag(lab.deps, lab.table!, 'kept', tagged)
    await lab.reload()
    await expire()
    expect(lab.table!.metadata.snapshots).toHaveLength(2)
    expect(former.filter((key) => existsSync(lab.path(key)))).toHaveLength(2)
  })

  test('leaves the newest, and says why nothing goes', async () => {
    await compacted()
    lab.deps.snapshots = { keepMs: 0, min: 10 }
    const { tasks, skipped } = await planExpiryJob(lab.deps, lab, lab.now)
    expect(tasks).toEqual([])
    expect(skipped[0]!.reason).toMatch(
      /^of 5 snapshots, none is older than .* and neither tagged nor among the newest 10$/,
    )
  })
})

test('manifests of many days, loaded in no order, are regrouped by day, and the rows stay', async () => {
  lab = await UpkeepLab.open()
  lab.deps.merge = { smallManifestsMax: 3, targetBytes: 8 << 20, filesMax: 8 }
  for (let index = 0; index < 24; index++) {
    await lab.append(rowsFrom(`t${index}-`, 3, `2026-03-0${1 + ((index * 5) % 6)}T00:00:00Z`))
  }
  const before = (await lab.ids()).toSorted()
  const { tasks } = await planManifestsJob(lab.deps, lab)
  expect(tasks.map(({ row }) => row.reason)).toEqual([
    expect.stringMatching(/manifests have partitions that others have/),
  ])
  const outcome = await tasks[0]!.run(new AbortController().signal)
  expect(outcome.filesBefore).toBe(tasks[0]!.row.filesBefore)
  expect((await lab.ids()).toSorted()).toEqual(before)
  const { skipped } = await planManifestsJob(lab.deps, lab)
  expect(skipped[0]!.reason).toMatch(/^its \d+ manifests are in order of partition$/)
})

describe('orphans', () => {
  const far = 3 * 86_400_000

  test('are removed when they are old; what is referred to, young or in flight stays', async () => {
    lab = await UpkeepLab.open()
    await lab.append(rowsFrom('a', 10, day))
    const old = await lab.stray('data/old.parquet')
    const manifest = await lab.stray('metadata/left-m0.avro')
    lab.clock.ms = Date.now() + far
    const { tasks } = await planOrphansJob(lab.deps, lab, lab.now)
    expect(tasks[0]!.row).toMatchObject({ filesBefore: 2, bytesBefore: 10 })
    // While a flush is under way nothing is removed; what it commits is not taken for an orphan.
    await tasks[0]!.run(new AbortController().signal)
    expect([old, manifest].map((key) => existsSync(lab.path(key)))).toEqual([false, false])
    expect(await lab.ids()).toHaveLength(10)
    const { skipped } = await planOrphansJob(lab.deps, lab, lab.now)
    expect(skipped[0]!.reason).toMatch(/^no file from before .* is without a reference$/)
    lab.clock.ms = Date.now()
    const young = await lab.stray('data/young.parquet')
    expect((await planOrphansJob(lab.deps, lab, lab.now)).tasks).toEqual([])
    expect(existsSync(lab.path(young))).toBe(true)
  })

  test('that were committed between the plan and the removal stay', async () => {
    lab = await UpkeepLab.open()
    await lab.append(rowsFrom('a', 10, day))
    const strays = await Promise.all(['data/one.parquet', 'data/other.parquet'].map((place) => lab.stray(place)))
    lab.clock.ms = Date.now() + far
    const { tasks } = await planOrphansJob(lab.deps, lab, lab.now)
    lab.beforeChange = async () => {
      // Another commit brings one of them in.
      const file = { ...lab.files[0]!, path: `${lab.table!.metadata.location}/data/one.parquet` }
      await lab.adopt(file)
    }
    expect(await tasks[0]!.run(new AbortController().signal)).toMatchObject({ filesBefore: 1 })
    expect(strays.map((key) => existsSync(lab.path(key)))).toEqual([true, false])
  })

  test('are not looked for while the clock cannot be trusted', async () => {
    lab = await UpkeepLab.open()
    await lab.append(rowsFrom('a', 10, day))
    const { tasks, skipped } = await planOrphansJob(lab.deps, lab, { reason: 'the clock jumped' })
    expect([tasks, skipped[0]!.reason]).toEqual([[], 'the clock jumped'])
  })
})
