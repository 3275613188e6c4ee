import { afterEach, beforeEach, expect, test } from 'vitest'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { silentLogger } from '../runtime/logging.ts'
import { JobLoop } from './job-loop.ts'
import { JobRecords, type JobRecord } from './job-records.ts'

interface Job extends JobRecord {
  done: boolean
}

let dir: string
let records: JobRecords<Job>
let slept: number[]
let open: JobLoop<Job> | undefined
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'freshet-jobs-'))
  const place = { dir, fileSystem: nodeFileSystem, logger: silentLogger }
  records = await JobRecords.open<Job>({ ...place, isOver: ({ done }) => done, overMax: 2 })
  slept = []
})
afterEach(async () => {
  await open?.stop()
  open = undefined
  rmSync(dir, { recursive: true })
})

const job = (id: string, second: number): Job => ({
  format: 1,
  id,
  requestedAt: new Date(second * 1000).toISOString(),
  done: false,
})

const finish = (one: Job): Promise<void> => records.save({ ...one, done: true })

interface Acts {
  work: (one: Job, signal: AbortSignal) => Promise<void>
  failed?: (one: Job, error: unknown) => Promise<boolean>
}

function start({ work, failed = async () => false }: Acts): JobLoop<Job> {
  const timers = { sleep: async (ms: number) => void slept.push(ms) }
  open = new JobLoop<Job>({ records, work, failed, timers })
  open.start()
  return open
}

test('jobs are done in the order they were asked for, and the oldest of those that are over are forgotten', async () => {
  const order: string[] = []
  for (const [second, id] of ['c', 'a', 'b'].entries()) await records.save(job(id, second))
  const loop = start({
    work: async (one) => {
      order.push(one.id)
      await finish(one)
    },
  })
  await expect.poll(() => records.list().map(({ id }) => id)).toEqual(['a', 'b'])
  await records.save(job('d', 9))
  loop.wake()
  await expect.poll(() => order).toEqual(['c', 'a', 'b', 'd'])
})

test('one that fails is tried again, later each time, and those behind it wait', async () => {
  await records.save(job('first', 1))
  await records.save(job('second', 2))
  const order: string[] = []
  start({
    work: async (one) => {
      order.push(one.id)
      if (order.length < 9) throw new Error('not yet')
      await finish(one)
    },
  })
  await expect.poll(() => order.at(-1)).toBe('second')
  expect(order.slice(0, -1)).toEqual(Array.from({ length: 9 }, () => 'first'))
  expect(slept).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
})

test('one that is given up is not tried again, and is told as it was last saved', async () => {
  await records.save(job('first', 1))
  await records.save(job('second', 2))
  const order: string[] = []
  const told: Job[] = []
  start({
    work: async (one) => {
      order.push(one.id)
      if (one.id === 'second') return finish(one)
      await records.save({ ...one, requestedAt: new Date(1500).toISOString() })
      throw new Error('never')
    },
    failed: async (one) => {
      told.push(one)
      await finish(one)
      return true
    },
  })
  await expect.poll(() => order).toEqual(['first', 'second'])
  expect(told).toEqual([{ ...job('first', 1.5) }])
  expect(slept).toEqual([])
})

test('a stop ends the job that is under way, and leaves it', async () => {
  await records.save(job('first', 1))
  const begun = Promise.withResolvers<void>()
  const loop = start({
    work: async (_, signal) => {
      begun.resolve()
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
    },
  })
  await begun.promise
  await loop.stop()
  expect(records.next()).toEqual(job('first', 1))
})
