/** A rollup over a stream that is replayed: it corrects the buckets of the rows that were swapped, and only after a swap is done. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkConfig } from '../../src/config/check.ts'
import type { Column, RollupPlan } from '../../src/config/plan.ts'
import { checkOptions } from '../support/config-mistakes.ts'
import { Lab, trades, until, type LabEngine, type Row } from './engine-harness.ts'
import { apply, checksum, cleanPlan, post, target, TestTransform, tradesOn, type Code } from './replay-lab.ts'

const former: Code = ({ price, size, id }) => ({ id, value: Number(price) * Number(size) })
/** Some rows change, some vanish, and those of size 5 move to the day behind. */
const mended: Code = ({ size, id, _event_time }) => {
  if (size === 0) return undefined
  const later = new Date(Date.parse(_event_time) + 86_400_000).toISOString()
  return { id, value: size === 3 ? -1 : 1, ...(size === 5 && { _event_time: later }) }
}

const columns: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'value', type: { kind: 'double' } },
]

let lab: Lab
let transform: TestTransform
let engine: LabEngine

function rollups(): Record<string, RollupPlan> {
  const select = { n: 'count(*)', total: 'sum(value)' }
  const words = {
    streams: { [target]: {} },
    rollups: {
      seconds: { from: target, bucket: '10 seconds', select },
      days: { from: 'seconds', bucket: '1 day', select: { n: 'sum(n)', total: 'sum(total)' } },
    },
  }
  return checkConfig(words, checkOptions).rollups
}

beforeEach(async () => {
  lab = await Lab.open({
    streams: { trades, clean: cleanPlan({ columns, time: { field: 'at', unit: 'iso' } }) },
    plan: { lake: { flushIntervalMs: 20 } },
  })
  transform = new TestTransform(lab, former)
  engine = await lab.start({ transforms: transform, rollups: rollups() })
})

afterEach(() => lab.close())

async function settled(): Promise<void> {
  await until('the rollups are up to date', async () => {
    const all = await engine.sql('SELECT lag_ms, problem FROM freshet.rollups')
    const problem = all.find((row) => row['problem'] !== null)
    if (problem !== undefined) throw new Error(String(problem['problem']))
    return all.length === 2 && all.every((row) => row['lag_ms'] === 0)
  })
}

const recomputed = (unit: string): string =>
  `SELECT time_bucket(INTERVAL ${unit}, _event_time) AS bucket, count(*) AS n, sum(value) AS total FROM ${target} GROUP BY ALL`

/** What the rollups have, which is what their SELECTs give over all rows. */
async function equal(): Promise<Row[]> {
  await settled()
  const order = 'ORDER BY bucket'
  const [seconds, days] = await Promise.all(
    ['seconds', 'days'].map((name) => engine.sql(`SELECT bucket, n::BIGINT AS n, total FROM ${name} ${order}`)),
  )
  expect(seconds).toEqual(await engine.sql(`${recomputed('10 SECOND')} ${order}`))
  expect(days).toEqual(await engine.sql(`${recomputed('1 DAY')} ${order}`))
  return days!
}

test('an apply corrects its buckets, also where rows move to others, and an undo brings the former ones back', async () => {
  await lab.post('trades', tradesOn([7, 8, 12], 70))
  await transform.take()
  await engine.caughtUp('trades')
  await engine.caughtUp(target)
  const before = await equal()
  expect(before.map(({ n }) => n)).toEqual([70, 70, 70])
  const rows = await checksum(engine)
  transform.code = mended
  const done = await apply(engine)
  expect(done).toMatchObject({ state: 'applied', applied: { appear: 30, vanish: 60 } })
  // 60 rows a day are left, of which 10 are of the day behind.
  expect((await equal()).map(({ n }) => n)).toEqual([50, 60, 10, 50, 10])
  expect((await post(engine, `/v1/replays/${done.id}/undo`)).state).toBe('undone')
  expect(await checksum(engine)).toBe(rows)
  expect(await equal()).toEqual(before)
})
