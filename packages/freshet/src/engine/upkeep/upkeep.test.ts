/** The schedule around the jobs: when, in which order, what is noted, and what a failure or a stop does. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { rowsFrom, UpkeepLab } from '../../../test/support/upkeep-lab.ts'
import { checkConfig } from '../../config/check.ts'
import { rewriteFiles } from '../../lake/rewrite.ts'
import type { Timers } from '../../runtime/timers.ts'
import { Upkeep, type MaintenanceRun, type UpkeepDeps } from './upkeep.ts'

const minuteMs = 60_000
const day = '2026-03-09T00:00:00Z'

/** Time stands still but for sleeps, which pass at once as long as there are some left. */
class PassingTimers implements Timers {
  ms = 0
  sleeps = 0
  readonly slept: number[] = []
  monotonicMs = (): number => this.ms
  after = (): (() => void) => () => undefined
  every = (): (() => void) => () => undefined
  turn = async (): Promise<void> => undefined
  sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
    this.slept.push(ms)
    if (this.sleeps-- > 0) this.ms += ms
    else if (signal?.aborted !== true)
      await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()))
  }
}

let labs: UpkeepLab[] = []
let upkeep: Upkeep | undefined
afterEach(async () => {
  await upkeep?.stop()
  // Others share the lake of the first.
  await labs[0]?.close()
  labs = []
  upkeep = undefined
})

async function lab(name: string): Promise<UpkeepLab> {
  const opened = await UpkeepLab.open({ stream: { name }, ...(labs[0] && { beside: labs[0] }) })
  labs.push(opened)
  return opened
}

async function small(opened: UpkeepLab, files = 4): Promise<UpkeepLab> {
  for (let index = 0; index < files; index++) await opened.append(rowsFrom(`t${index}-`, 10, day))
  return opened
}

async function open(tables: UpkeepLab[], timers: PassingTimers, changes: Partial<UpkeepDeps> = {}): Promise<Upkeep> {
  const { deps, dir } = tables[0]!
  const plan = checkConfig(
    { upkeep: { interval: '1 min' }, lake: { snapshots: { keep: '1 day', min: 1 } } },
    { baseDir: dir, mode: 'start' },
  )
  upkeep = await Upkeep.open({
    ...deps,
    timers,
    plan,
    dir: join(dir, 'upkeep'),
    tables: () => tables,
    openDatabase: deps.database,
    ...changes,
  })
  return upkeep
}

async function done(run: MaintenanceRun): Promise<MaintenanceRun> {
  await expect.poll(() => upkeep!.find(run.run).state, { timeout: 20_000 }).toBe('done')
  return upkeep!.find(run.run)
}

const said = (rows: MaintenanceRun['rows']): string[] => rows.map(({ table, job, state }) => `${table} ${job} ${state}`)

test('a dry run says what would be done and why not, and changes nothing', async () => {
  const trades = await small(await lab('trades'))
  await open([trades], new PassingTimers())
  const { version } = trades.table!
  const run = await upkeep!.request({ dryRun: true })
  expect(run).toMatchObject({ state: 'done', dryRun: true })
  expect(said(run.rows)).toEqual([
    'trades retention skipped',
    'trades compaction planned',
    'trades manifests skipped',
    'trades expiry skipped',
    'trades orphans skipped',
  ])
  expect((await trades.reload()).version).toBe(version)
  expect(upkeep!.rows()).toEqual([])
})

test('a run does it, and what was done is kept for the next process', async () => {
  const trades = await small(await lab('trades'))
  await open([trades], new PassingTimers())
  const run = await done(await upkeep!.request({ job: 'compaction', dryRun: false }))
  expect(run.rows).toMatchObject([
    {
      state: 'done',
      partition: '2026-03-09',
      filesBefore: 4,
      filesAfter: 1,
      rows: 40,
      reason: expect.stringContaining('4 small files'),
    },
  ])
  expect(trades.files).toHaveLength(1)
  expect(said(upkeep!.rows())).toEqual(['trades compaction done'])
  await upkeep!.stop()
  await open([trades], new PassingTimers())
  expect(said(upkeep!.rows())).toEqual(['trades compaction done'])
})

test('the schedule works through all tables, newest partitions first, and says when it looks again', async () => {
  const [trades, orders] = [await lab('trades'), await lab('orders')]
  for (const date of ['2026-03-01', '2026-03-07'])
    for (let n = 0; n < 4; n++) await trades.append(rowsFrom(`${date}-${n}-`, 5, `${date}T00:00:00Z`))
  for (let n = 0; n < 4; n++) await orders.append(rowsFrom(`o${n}-`, 5, '2026-03-05T00:00:00Z'))
  const timers = new PassingTimers()
  timers.sleeps = 1
  await open([trades, orders], timers)
  upkeep!.start()
  await expect.poll(() => timers.slept.length, { timeout: 20_000 }).toBe(2)
  const finished = upkeep!.rows().filter(({ state }) => state === 'done')
  expect(finished.map(({ table, partition }) => [table, partition])).toEqual([
    ['trades', '2026-03-07'],
    ['orders', '2026-03-05'],
    ['trades', '2026-03-01'],
  ])
  const skipped = upkeep!.rows().filter(({ state }) => state === 'skipped')
  expect(new Set(said(skipped))).toEqual(
    new Set(
      ['trades', 'orders'].flatMap((name) =>
        ['retention', 'manifests', 'expiry', 'orphans'].map((job) => `${name} ${job} skipped`),
      ),
    ),
  )
  for (const { nextAt } of skipped) expect(Date.parse(nextAt!)).toBeGreaterThan(trades.clock.ms)
  for (const [index, ms] of timers.slept.entries())
    expect(ms / (index === 0 ? minuteMs / 4 : minuteMs)).toBeCloseTo(1, 0)
})

test('a job that fails is noted, waits longer each time, and stops no other', async () => {
  const [broken, sound] = [await small(await lab('broken')), await small(await lab('sound'))]
  const file = broken.files[0]!
  await writeFile(broken.path(file.key), 'damaged beyond reading')
  const timers = new PassingTimers()
  timers.sleeps = 12
  await open([broken, sound], timers)
  upkeep!.start()
  await expect.poll(() => timers.slept.length, { timeout: 20_000 }).toBe(13)
  expect(sound.files).toHaveLength(1)
  const failures = upkeep!.rows().filter(({ state }) => state === 'failed')
  expect(new Set(said(failures))).toEqual(new Set(['broken compaction failed']))
  expect(failures[0]!.reason).toContain(file.key)
  // 11 passes, one a minute: tried at once, then after at least 2, 4 and 8 minutes.
  expect(failures.length).toBeGreaterThanOrEqual(2)
  expect(failures.length).toBeLessThanOrEqual(4)
})

test('where a table changed under a task, the job is planned anew, and nothing is lost', async () => {
  const trades = await small(await lab('trades'), 5)
  let changes = 0
  const [gone] = trades.files
  trades.beforeChange = async () => {
    if (++changes > 1) return
    await rewriteFiles(trades.deps, { table: trades.table!, remove: [gone!.path], add: [], operation: 'delete' })
    await trades.reload()
  }
  await open([trades], new PassingTimers())
  const { rows } = await done(await upkeep!.request({ job: 'compaction', dryRun: false }))
  expect(rows.map(({ state, reason, filesBefore }) => [state, reason.slice(0, 12), filesBefore])).toEqual([
    ['failed', 'planned anew', 5],
    ['done', '4 small file', 4],
  ])
  expect(trades.files).toHaveLength(1)
  expect(await trades.ids()).toHaveLength(40)
})

test('what another engine committed is taken over, though nothing is loaded', async () => {
  const trades = await small(await lab('trades'), 2)
  const other = await UpkeepLab.open({ beside: trades })
  await other.append(rowsFrom('other', 5, day))
  expect(await trades.ids()).toHaveLength(20)
  await open([trades], new PassingTimers())
  await upkeep!.request({ dryRun: true })
  expect(await trades.ids()).toHaveLength(20)
  await done(await upkeep!.request({ job: 'retention', dryRun: false }))
  expect(await trades.ids()).toHaveLength(25)
})

test('while events come in, it pauses for as long as it worked', async () => {
  const trades = await lab('trades')
  for (const date of ['2026-03-01', '2026-03-07'])
    for (let n = 0; n < 4; n++) await trades.append(rowsFrom(`${date}-${n}-`, 5, `${date}T00:00:00Z`))
  const timers = new PassingTimers()
  timers.sleeps = 5
  trades.beforeChange = async () => {
    timers.ms += 700
    trades.position += 1n
  }
  await open([trades], timers)
  await done(await upkeep!.request({ job: 'compaction', dryRun: false }))
  expect(timers.slept).toEqual([700, 700])
})

test('one run works at a time; more than a few may not wait', async () => {
  const trades = await small(await lab('trades'))
  const hold = Promise.withResolvers<void>()
  trades.beforeChange = () => hold.promise
  await open([trades], new PassingTimers())
  const ask = (): Promise<MaintenanceRun> => upkeep!.request({ job: 'compaction', dryRun: false })
  const runs = [await ask(), await ask(), await ask(), await ask()]
  await expect.poll(() => runs.map(({ state }) => state)).toEqual(['running', 'waiting', 'waiting', 'waiting'])
  await expect.poll(() => said(upkeep!.rows())).toEqual(['trades compaction running'])
  await expect(ask()).rejects.toMatchObject({ code: 'overloaded' })
  hold.resolve()
  await done(runs[3]!)
  expect(said(runs[3]!.rows)).toEqual(['trades compaction skipped'])
  await done(await ask())
})

test('names that there are not are refused', async () => {
  await open([await small(await lab('trades'), 1)], new PassingTimers())
  await expect(upkeep!.request({ table: 'trade', dryRun: true })).rejects.toMatchObject({
    code: 'unknown_stream',
    hint: 'Did you mean "trades"?',
  })
  expect(() => upkeep!.find(7)).toThrow('There is no run 7 of upkeep.')
})

test('a stop ends a run at once, and leaves the table as it was', async () => {
  const trades = await small(await lab('trades'))
  const database = await trades.deps.database()
  await open([trades], new PassingTimers(), {
    openDatabase: async () => {
      void upkeep!.stop()
      return database
    },
  })
  const run = await upkeep!.request({ job: 'compaction', dryRun: false })
  await done(run)
  expect(run.rows).toEqual([])
  expect(trades.files).toHaveLength(4)
})

test('a clock that jumped keeps retention, expiry and orphans from working, and is named as the reason', async () => {
  const trades = await small(await lab('trades'))
  trades.stream = { ...trades.stream, retainMs: 86_400_000 }
  trades.clock.ms += 1000 * 86_400_000
  await open([trades], new PassingTimers())
  const run = await done(await upkeep!.request({ dryRun: false }))
  const held = run.rows.filter(({ reason }) =>
    /the clock says .* 1000\.0 days after the last time that was seen/.test(reason),
  )
  expect(held.map(({ job, state }) => [job, state])).toEqual([
    ['retention', 'skipped'],
    ['expiry', 'skipped'],
    ['orphans', 'skipped'],
  ])
  expect(trades.files).toHaveLength(1)
})

test('without a history, or a folder to write it to, the work is done all the same', async () => {
  const trades = await small(await lab('trades'))
  await writeFile(join(trades.dir, 'upkeep'), 'a file where the folder should be')
  await open([trades], new PassingTimers())
  await done(await upkeep!.request({ job: 'compaction', dryRun: false }))
  expect(trades.files).toHaveLength(1)
  await rm(join(trades.dir, 'upkeep'))
})
