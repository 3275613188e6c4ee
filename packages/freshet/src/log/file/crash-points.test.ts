/** One test for each crash point and failure that partition-writer.ts and recovery.ts name. */
import { describe, expect, test, vi } from 'vitest'
import { silentLogger } from '../../runtime/logging.ts'
import {
  batch,
  codeOf,
  idsIn,
  logDir,
  numbered,
  openLog,
  partitionDir,
  readIds,
} from '../../../test/simulation/log-fixture.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import {
  SimulatedDisk,
  type Call,
  type Fate,
  type Interfere,
  type SimulatedProcess,
} from '../../../test/simulation/simulated-file-system.ts'
import { readEnd } from './durable-end.ts'
import type { FileLog } from './file-log.ts'

const seeds = Array.from({ length: 8 }, (_, seed) => seed)
const small = { segmentBytes: 400 }

const isSegment = (path: string): boolean => path.endsWith('.ndjson')
const isEnd = (path: string): boolean => path.includes('/_ends/')

/** The fate of the first call of a kind on a path; all others go on. */
function once(call: Call, matches: (path: string) => boolean, fate: Fate): Interfere {
  let done = false
  return (called, path) => {
    if (done || called !== call || !matches(path)) return 'goes on'
    done = true
    return fate
  }
}

async function makeDisk(seed: number): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk(seededRandom(seed))
  const first = disk.process()
  await first.makeDir(logDir)
  first.kill()
  return disk
}

interface Crash {
  seed: number
  interfere: Interfere
  /** How the machine goes on: `kill` keeps the operating system's cache, `power` does not. */
  by: 'kill' | 'power'
}

/** Appends two batches, then a third that meets a crash, and starts again. */
async function crash({ seed, interfere, by }: Crash): Promise<{
  disk: SimulatedDisk
  log: FileLog
  third: string
  names: string[]
}> {
  const disk = await makeDisk(seed)
  const before = disk.process()
  const log = await openLog(before, small)
  for (const sequence of [0, 1]) await log.append('trades', numbered('a', sequence))
  before.interfere(interfere)
  const third = await codeOf(log.append('trades', numbered('a', 2)))
  expect(before.ended).toBe(true)
  if (by === 'power') disk.powerCut()
  const after = disk.process()
  const names = await after.readDir(partitionDir)
  return { disk, log: await openLog(after, small), third, names }
}

const first = idsIn(numbered('a', 0), numbered('a', 1))
const all = idsIn(numbered('a', 0), numbered('a', 1), numbered('a', 2))

/** What must hold after any crash: what was there is there, the third batch whole or not at all, and known if it is there. */
async function expectWhole(log: FileLog, kept: 'kept' | 'gone' | 'either'): Promise<void> {
  const ids = await readIds(log)
  if (kept === 'either') expect([first, all]).toContainEqual(ids)
  else expect(ids).toEqual(kept === 'kept' ? all : first)
  const again = await log.append('trades', numbered('a', 2))
  expect(again.duplicate).toBe(ids.length === all.length)
  expect(await log.append('trades', numbered('a', 1))).toMatchObject({ duplicate: true })
  expect(await readIds(log)).toEqual(all)
  await log.append('trades', numbered('a', 3))
  expect(await readIds(log)).toEqual([...all, ...idsIn(numbered('a', 3))])
}

describe.each(seeds)('a crash (I1, I10), seed %i', (seed) => {
  test.each(['kill', 'power'] as const)('before the write leaves nothing (%s)', async (by) => {
    const { log, third } = await crash({ seed, interfere: once('write', isSegment, 'dies before'), by })
    expect(third).not.toBe('fulfilled')
    await expectWhole(log, 'gone')
  })

  test.each(['kill', 'power'] as const)(
    'within the write leaves a torn or whole frame, which is cut off or kept (%s)',
    async (by) => {
      const { log, third } = await crash({ seed, interfere: once('write', isSegment, 'dies within'), by })
      expect(third).not.toBe('fulfilled')
      await expectWhole(log, 'either')
    },
  )

  test('before the sync, by a kill, leaves a whole frame, which is kept', async () => {
    const { log, third } = await crash({ seed, interfere: once('write', isSegment, 'dies after'), by: 'kill' })
    expect(third).not.toBe('fulfilled')
    await expectWhole(log, 'kept')
  })

  test('before the sync, by a power cut, leaves all of the frame or what can be told from it', async () => {
    const { log, third } = await crash({ seed, interfere: once('sync', isSegment, 'dies before'), by: 'power' })
    expect(third).not.toBe('fulfilled')
    await expectWhole(log, 'either')
  })

  test.each(['kill', 'power'] as const)(
    'after the sync, before the end is published, loses nothing (%s)',
    async (by) => {
      const { log } = await crash({ seed, interfere: once('write', isEnd, 'dies before'), by })
      await expectWhole(log, 'kept')
    },
  )

  const steps: [string, Interfere][] = [
    ['within the new .seen file', once('write', (path) => path.endsWith('.tmp'), 'dies within')],
    ['before .seen is synced', once('sync', (path) => path.endsWith('.tmp'), 'dies before')],
    ['before .seen gets its name', once('rename', () => true, 'dies before')],
    ['after .seen, before the new segment', once('open', isSegment, 'dies before')],
    ['after the new segment, before its name is synced', once('open', isSegment, 'dies after')],
    ['before its name is synced', once('syncDir', () => true, 'dies before')],
    ['after its name is synced', once('syncDir', () => true, 'dies after')],
    ['while an old .seen is removed', once('remove', () => true, 'dies after')],
    ['before the first write to it', once('write', isSegment, 'dies before')],
    ['within the first write to it', once('write', isSegment, 'dies within')],
    ['before the first sync of it', once('sync', isSegment, 'dies before')],
  ]
  test.each(steps)('at a roll, %s, loses nothing and ends in a log that goes on', async (_, interfere) => {
    for (const by of ['kill', 'power'] as const) {
      const disk = await makeDisk(seed)
      const before = disk.process()
      const log = await openLog(before, small)
      const sent = Array.from({ length: 5 }, (__, sequence) => numbered('a', sequence))
      for (const one of sent.slice(0, 4)) await log.append('trades', one)
      before.interfere(interfere)
      const big = numbered('b', 0, 12)
      await codeOf(log.append('trades', big))
      if (by === 'power') disk.powerCut()
      else before.kill()
      const again = await openLog(disk.process(), small)
      for (const one of sent.slice(0, 4)) expect((await again.append('trades', one)).duplicate).toBe(true)
      expect((await again.append('trades', sent[4]!)).duplicate).toBe(false)
      await again.append('trades', big)
      const ids = await readIds(again)
      expect(ids.slice(0, 8)).toEqual(idsIn(...sent.slice(0, 4)))
      expect(ids.toSorted()).toEqual(idsIn(...sent, big).toSorted())
      expect(await disk.process().readDir(partitionDir)).not.toContainEqual(expect.stringContaining('.tmp'))
    }
  })

  test('twice, the second time within recovery, loses nothing', async () => {
    for (const call of ['truncate', 'write', 'sync', 'syncDir', 'open', 'readFile', 'remove'] as const) {
      for (const fate of ['dies before', 'dies within', 'dies after'] as const) {
        const { disk } = await crash({ seed, interfere: once('write', isSegment, 'dies within'), by: 'power' })
        const recovering = disk.process(once(call, () => true, fate))
        await codeOf(openLog(recovering, small))
        disk.powerCut()
        await expectWhole(await openLog(disk.process(), small), 'either')
      }
    }
  })

  test('after a restart, of a segment whose name the crash before left undurable, loses nothing', async () => {
    const disk = await makeDisk(seed)
    const born = disk.process(once('open', isSegment, 'dies after'))
    await codeOf((await openLog(born, small)).append('trades', numbered('a', 0)))
    const log = await openLog(disk.process(), small)
    await log.append('trades', numbered('a', 0))
    disk.powerCut()
    expect(await readIds(await openLog(disk.process(), small))).toEqual(idsIn(numbered('a', 0)))
  })

  test('after a restart, of folders whose names the crash before left undurable, loses nothing', async () => {
    const disk = await makeDisk(seed)
    const born = disk.process(once('makeDir', (path) => path === partitionDir, 'dies within'))
    await codeOf((await openLog(born, small)).append('trades', numbered('a', 0)))
    const log = await openLog(disk.process(), small)
    await log.append('trades', numbered('a', 0))
    disk.powerCut()
    expect(await readIds(await openLog(disk.process(), small))).toEqual(idsIn(numbered('a', 0)))
  })

  test('after a refused group, whose cut the power took back, brings nothing of it into the log or the memory', async () => {
    const disk = await makeDisk(seed)
    const before = disk.process()
    const log = await openLog(before)
    await log.append('trades', numbered('a', 0))
    before.interfere(once('sync', isSegment, { fails: 'EIO' }))
    expect(await codeOf(log.append('trades', numbered('a', 1)))).toBe('log_unwritable')
    await log.append('trades', numbered('a', 2))
    disk.powerCut()
    // The cut is taken back: the refused frame stands behind the start of the next segment.
    const old = disk.file(`${partitionDir}/${'0'.repeat(20)}.ndjson`)
    old.damage(old.length, Buffer.from('{"_frame":{"bytes":0'))
    disk.delete(`${partitionDir}/${'0'.repeat(20)}.seen`)
    const again = await openLog(disk.process())
    expect(await readIds(again)).toEqual(idsIn(numbered('a', 0), numbered('a', 2)))
    expect((await again.append('trades', numbered('a', 1))).duplicate).toBe(false)
  })
})

// What waits for real time or writes megabytes is run for the first seeds only.
describe.each(seeds)('a failure, seed %i', (seed) => {
  const started = async (): Promise<{ disk: SimulatedDisk; process: SimulatedProcess; log: FileLog }> => {
    const disk = await makeDisk(seed)
    const process = disk.process()
    const log = await openLog(process)
    await log.append('trades', numbered('a', 0))
    return { disk, process, log }
  }

  /** The log holds these events, now and after a power cut. */
  const expectEvents = async (disk: SimulatedDisk, log: FileLog, expected: string[]): Promise<void> => {
    expect(await readIds(log)).toEqual(expected)
    disk.powerCut()
    expect(await readIds(await openLog(disk.process()))).toEqual(expected)
  }

  test('of a sync refuses the group, and later appends are durable in a new segment', async () => {
    const { disk, process, log } = await started()
    process.interfere(once('sync', isSegment, { fails: 'EIO' }))
    const refused = [1, 2, 3].map((sequence) => codeOf(log.append('trades', numbered('a', sequence))))
    expect(await Promise.all(refused)).toEqual(['log_unwritable', 'log_unwritable', 'log_unwritable'])
    expect(await readIds(log)).toEqual(idsIn(numbered('a', 0)))
    expect((await log.append('trades', numbered('a', 2))).duplicate).toBe(false)
    expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(false)
    expect((await process.readDir(partitionDir)).filter(isSegment)).toHaveLength(2)
    await expectEvents(disk, log, idsIn(numbered('a', 0), numbered('a', 2), numbered('a', 1)))
  })

  test.runIf(seed < 2)(
    'of a sync and of cutting back refuses everything queued, and the next append recovers what was acknowledged',
    async () => {
      for (const broken of ['truncate', 'sync'] as const) {
        const { disk, process, log } = await started()
        let failing = true
        process.interfere((call, path) =>
          failing && isSegment(path) && (call === 'sync' || call === broken) ? { fails: 'EIO' } : 'goes on',
        )
        const refused = [1, 2].map((sequence) => codeOf(log.append('trades', numbered('a', sequence))))
        const large = { ...numbered('b', 0), lines: [Buffer.alloc(9_000_000, 'x\n')] }
        refused.push(codeOf(log.append('trades', large)), codeOf(log.append('trades', numbered('a', 3))))
        expect(new Set(await Promise.all(refused))).toEqual(new Set(['log_unwritable']))
        failing = false
        // Nothing that was refused comes back, although the file could not be cut.
        expect((await log.append('trades', numbered('a', 2))).duplicate).toBe(false)
        expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(false)
        await expectEvents(disk, log, idsIn(numbered('a', 0), numbered('a', 2), numbered('a', 1)))
      }
    },
  )

  test('of a repeat shares the fate of the batch it repeats', async () => {
    const { process, log } = await started()
    process.interfere(once('sync', isSegment, { fails: 'EIO' }))
    const both = [numbered('a', 1), numbered('a', 1)].map((one) => codeOf(log.append('trades', one)))
    expect(await Promise.all(both)).toEqual(['log_unwritable', 'log_unwritable'])
    expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(false)
  })

  test.runIf(seed < 2)(
    'to publish the end delays readers only: what is durable is acknowledged, and known as taken',
    async () => {
      const { disk, process, log } = await started()
      process.interfere(once('write', isEnd, { fails: 'EIO' }))
      expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(false)
      expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(true)
      await vi.waitFor(async () => expect(await readIds(log)).toHaveLength(4), { timeout: 5000 })
      await expectEvents(disk, log, idsIn(numbered('a', 0), numbered('a', 1)))
    },
    20_000,
  )

  test('at any step of a roll refuses the group, and the old segment does not grow behind the start of a new one', async () => {
    const steps: [Call, (path: string) => boolean][] = [
      ['open', (path) => path.endsWith('.tmp')],
      ['write', (path) => path.endsWith('.tmp')],
      ['rename', () => true],
      ['open', isSegment],
      ['syncDir', () => true],
      ['write', isSegment],
      ['sync', isSegment],
    ]
    for (const [call, matches] of steps) {
      const disk = await makeDisk(seed)
      const process = disk.process()
      const log = await openLog(process, small)
      await log.append('trades', numbered('a', 0))
      process.interfere(once(call, matches, { fails: 'EIO' }))
      expect(await codeOf(log.append('trades', numbered('big', 0, 20)))).toBe('log_unwritable')
      // Small enough for the old segment.
      await log.append('trades', numbered('a', 1, 1))
      await log.append('trades', numbered('big', 0, 20))
      await expectEvents(disk, log, idsIn(numbered('a', 0), numbered('a', 1, 1), numbered('big', 0, 20)))
    }
  })

  test('for want of space in the middle of a group refuses it, and appends go on once there is space', async () => {
    const { disk, process, log } = await started()
    disk.capacityBytes = 1_000_000
    disk.capacityBytes -= disk.freeBytes() - 150
    const group = [1, 2, 3].map((sequence) => codeOf(log.append('trades', numbered('a', sequence))))
    expect(await Promise.all(group)).toEqual(['disk_full', 'disk_full', 'disk_full'])
    expect(await codeOf(log.append('trades', numbered('a', 1)))).toBe('disk_full')
    expect(await readIds(log)).toEqual(idsIn(numbered('a', 0)))
    const full = await process.readDir(partitionDir)
    for (let attempt = 0; attempt < 5; attempt++) await codeOf(log.append('trades', numbered('a', 1)))
    expect(await process.readDir(partitionDir)).toEqual(full)
    disk.capacityBytes = 1_000_000
    for (const sequence of [3, 1]) expect((await log.append('trades', numbered('a', sequence))).duplicate).toBe(false)
    await expectEvents(disk, log, idsIn(numbered('a', 0), numbered('a', 3), numbered('a', 1)))
  })

  test('for want of space, then a crash, then space: nothing refused is kept', async () => {
    const { disk, log } = await started()
    disk.capacityBytes = 1_000_000
    disk.capacityBytes -= disk.freeBytes() - 150
    expect(await codeOf(log.append('trades', numbered('a', 1)))).toBe('disk_full')
    disk.powerCut()
    const full = await openLog(disk.process())
    expect(await readIds(full)).toEqual(idsIn(numbered('a', 0)))
    disk.capacityBytes = 1_000_000
    await full.append('trades', numbered('a', 1))
    expect(await readIds(full)).toEqual(idsIn(numbered('a', 0), numbered('a', 1)))
  })

  test.runIf(seed < 2)(
    'to recover one stream leaves the others to work, and that one to be tried again',
    async () => {
      const { disk, log } = await started()
      await log.append('quotes', batch('q'))
      disk.powerCut()
      const process = disk.process(once('syncDir', (path) => path === partitionDir, { fails: 'EIO' }))
      const again = await openLog(process)
      await again.append('quotes', batch('r'))
      expect(await codeOf(again.append('trades', numbered('a', 1)))).toBe('log_unwritable')
      await vi.waitFor(() => again.append('trades', numbered('a', 1)), { timeout: 5000 })
      expect(await readIds(again)).toEqual(idsIn(numbered('a', 0), numbered('a', 1)))
    },
    20_000,
  )

  test('of power while old segments are trimmed leaves no hole, and no batch forgotten', async () => {
    for (let kept = 0; kept < 4; kept++) {
      const disk = await makeDisk(seed)
      const process = disk.process()
      const log = await openLog(process, small)
      for (let sequence = 0; sequence < 20; sequence++) await log.append('trades', numbered('a', sequence))
      let removed = 0
      process.interfere((call) => (call === 'remove' && removed++ === kept ? 'dies after' : 'goes on'))
      const end = readEnd(disk.process(), logDir, 'trades', 0)!
      await codeOf(log.trim('trades', new Map([[0, BigInt(end)]])))
      disk.powerCut()
      const errors: unknown[] = []
      const after = disk.process()
      for (const name of await after.readDir(partitionDir))
        if (name.endsWith('.seen') && kept % 2) disk.delete(`${partitionDir}/${name}`)
      const logger = Object.assign(Object.create(silentLogger) as typeof silentLogger, {
        error: (details: unknown, message: string) => errors.push({ details, message }),
      })
      const again = await openLog(after, { ...small, logger })
      expect(errors.filter((error) => (error as { message: string }).message === 'log damaged')).toEqual([])
      if (kept % 2 === 0) {
        for (let sequence = 0; sequence < 20; sequence++) {
          expect((await again.append('trades', numbered('a', sequence))).duplicate).toBe(true)
        }
      } else expect(errors).toContainEqual(expect.objectContaining({ message: expect.stringContaining('has a gap') }))
    }
  })
})
