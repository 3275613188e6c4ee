/** Replays of streams that are killed after each change of the store: an apply and an undo come to the same end as if nothing had happened. */
import { expect, test } from 'vitest'
import type { Catalog } from '../../src/lake/catalog.ts'
import { FreshetError } from '../../src/runtime/errors.ts'
import { killedAtEach, expectVerified } from './erasure-lab.ts'
import { Lab, trades, until, type EngineOptions, type LabEngine } from './engine-harness.ts'
import { balancedLedger } from './ledger-checks.ts'
import {
  apply,
  checksum,
  cleanPlan,
  lettersTable,
  post,
  target,
  TestTransform,
  tradesOn,
  type Code,
  type Replay,
} from './replay-lab.ts'
import { Freezer } from './store-faults.ts'

const former: Code = ({ price, size, id }) => {
  if (size === 5) throw new Error('size five')
  return { id, value: Number(price) * Number(size) }
}
/** A column more; rows that appear, change and vanish; and no letters. */
const mended: Code = ({ size, id }) =>
  size === 0 ? undefined : { id, value: size === 3 ? -1 : Number(size), of: 'mended' }

const options = { streams: { trades, clean: cleanPlan() }, plan: { lake: { flushIntervalMs: 20 } } }
const timeout = 600_000

/** What a lab has before anything is killed, and its transform. */
const prepared = new Map<Lab, { transform: TestTransform; rows: string; id: string }>()

async function prepare(own: Lab, isApplied: boolean): Promise<void> {
  const transform = new TestTransform(own, former)
  const engine = await own.start({ transforms: transform })
  await own.post('trades', tradesOn([7, 8], 14))
  await transform.take()
  for (const stream of ['trades', target, lettersTable]) await engine.committed(stream)
  const rows = await checksum(engine)
  transform.code = mended
  const id = isApplied ? (await apply(engine)).id : ''
  prepared.set(own, { transform, rows, id })
  await engine.stop()
}

async function newest(engine: LabEngine): Promise<Replay | undefined> {
  const { replays } = JSON.parse((await engine.send('GET', '/v1/replays')).text) as { replays: Replay[] }
  return replays.at(-1)
}

/** Starts an engine, asks it for something, and forgets it when it is done or frozen. @returns whether it was done */
async function killed(own: Lab, freezer: Freezer, path: string, state: string): Promise<boolean> {
  const engine = await own.start({ ...freezer.options, transforms: prepared.get(own)!.transform })
  await engine.caughtUp('trades')
  // A frozen engine answers late, if at all.
  engine.send('POST', path, {}, '{}').catch(() => undefined)
  await until('it is done or killed', async () => freezer.frozen || (await newest(engine))?.state === state)
  await until('it is taken down', async () => (await newest(engine)) !== undefined)
  const isOver = !freezer.frozen
  await engine.abandon()
  return isOver
}

async function restarted(own: Lab, state: string, others: EngineOptions = {}): Promise<LabEngine> {
  const engine = await own.start({ transforms: prepared.get(own)!.transform, ...others })
  await until(`it is ${state}`, async () => (await newest(engine))!.state === state)
  return engine
}

async function expectMended(engine: LabEngine): Promise<void> {
  const rows =
    await engine.sql(`select count(*) as n, count(distinct _event_id) as ids, count(*) filter (of = 'mended') as made,
    sum(value) as total from ${target}`)
  // Of 14 trades on a day two have each size from 0 to 6; those of size 3 have the value -1.
  expect(rows).toEqual([{ n: 24, ids: 24, made: 24, total: 4 * (1 + 2 - 1 + 4 + 5 + 6) }])
  expect(await engine.value(`select count(*) from ${lettersTable}`)).toBe(0)
}

test('an apply goes on at the next start, and can be undone', { timeout }, async () => {
  const killedAt = async (own: Lab, step: number): Promise<boolean> => {
    const isOver = await killed(own, new Freezer(step, 'after'), `/v1/streams/${target}/replays`, 'applied')
    const engine = await restarted(own, 'applied')
    await expectMended(engine)
    await balancedLedger(engine, target)
    const { id } = (await newest(engine))!
    expect((await post(engine, `/v1/replays/${id}/undo`)).state).toBe('undone')
    expect((await checksum(engine)).replaceAll(/,"of":null/g, '')).toBe(prepared.get(own)!.rows)
    await engine.stop()
    await expectVerified(own)
    return isOver
  }
  expect(await killedAtEach(options, (own) => prepare(own, false), killedAt)).toBeGreaterThan(15)
})

test('an undo goes on at the next start', { timeout }, async () => {
  const killedAt = async (own: Lab, step: number): Promise<boolean> => {
    const { id, rows } = prepared.get(own)!
    const isOver = await killed(own, new Freezer(step, 'after'), `/v1/replays/${id}/undo`, 'undone')
    const engine = await restarted(own, 'undone')
    expect((await checksum(engine)).replaceAll(/,"of":null/g, '')).toBe(rows)
    await balancedLedger(engine, target)
    await engine.stop()
    await expectVerified(own)
    return isOver
  }
  expect(await killedAtEach(options, (own) => prepare(own, true), killedAt)).toBeGreaterThan(8)
})

test('an apply whose code was changed while it was cut short is given up, and what it swapped can be undone', async () => {
  const own = await Lab.open(options)
  try {
    await prepare(own, false)
    const { transform, rows } = prepared.get(own)!
    let isSwapped = false
    const wrapCatalog = (catalog: Catalog): Catalog => ({
      tables: () => catalog.tables(),
      load: (name) => catalog.load(name),
      create: (name, metadata) => catalog.create(name, metadata),
      commit: async (base, next) => {
        if (isSwapped) throw new Error('the disk is away')
        const made = await catalog.commit(base, next)
        isSwapped = next.snapshots.some(({ summary }) => summary['freshet.replay'] !== undefined)
        return made
      },
    })
    const engine = await own.start({ transforms: transform, wrapCatalog })
    engine.send('POST', `/v1/streams/${target}/replays`, {}, '{}').catch(() => undefined)
    await until('one partition is swapped', async () => (await newest(engine))?.commits.length === 1)
    await engine.abandon()
    const other = cleanPlan()
    other.transform!.version = '000000000002'
    const streams = { trades, clean: other }
    const second = await own.start({ transforms: transform, streams })
    await until('it is given up', async () => (await newest(second))!.state === 'failed')
    const failed = (await newest(second))!
    expect(failed).toMatchObject({ waitingFor: expect.stringContaining('the code has changed'), commits: [{}] })
    expect(failed.undoUntil).not.toBeNull()
    expect((await post(second, `/v1/replays/${failed.id}/undo`)).state).toBe('undone')
    expect((await checksum(second)).replaceAll(/,"of":null/g, '')).toBe(rows)
    expect((await apply(second)).state).toBe('applied')
    await expectMended(second)
  } finally {
    await own.close()
  }
})

test('an undo whose former rows went while it waited is given up, and those behind it go on', async () => {
  const own = await Lab.open(options)
  try {
    await prepare(own, true)
    const { transform, id } = prepared.get(own)!
    const engine = await own.start({ transforms: transform })
    const pause = transform.pause.bind(transform)
    transform.pause = async () => {
      transform.pause = pause
      const { tags } = JSON.parse((await engine.send('GET', `/v1/tables/${target}/tags`)).text) as {
        tags: { name: string }[]
      }
      expect(tags).toHaveLength(2)
      for (const { name } of tags) await engine.send('DELETE', `/v1/tables/${target}/tags/${name}`)
      throw new FreshetError('worker_unavailable', 'The worker is away.')
    }
    await expect(post(engine, `/v1/replays/${id}/undo`)).rejects.toThrow('are kept no more')
    expect(await newest(engine)).toMatchObject({ state: 'failed', undoUntil: null })
    expect((await apply(engine)).state).toBe('applied')
    await expectMended(engine)
  } finally {
    await own.close()
  }
})
