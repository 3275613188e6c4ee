/** One test for each failure of the disk that partition-writer.ts names, and what the writer does about it. */
import { describe, expect, test, vi } from 'vitest'
import {
  batch,
  codeOf,
  idsIn,
  isEnd,
  isSegment,
  logDir,
  makeDisk,
  numbered,
  once,
  openLog,
  partitionDir,
  readIds,
  seeds,
  small,
} from '../../../test/simulation/log-fixture.ts'
import type { Call, SimulatedDisk, SimulatedProcess } from '../../../test/simulation/simulated-file-system.ts'
import { endFile } from './durable-end.ts'
import type { FileLog } from './file-log.ts'

async function started(seed: number): Promise<{ disk: SimulatedDisk; process: SimulatedProcess; log: FileLog }> {
  const disk = await makeDisk(seed)
  const process = disk.process()
  const log = await openLog(process)
  await log.append('trades', numbered('a', 0))
  return { disk, process, log }
}

/** The log holds these events, now and after a power cut. */
async function expectEvents(disk: SimulatedDisk, log: FileLog, expected: string[]): Promise<void> {
  expect(await readIds(log)).toEqual(expected)
  disk.powerCut()
  expect(await readIds(await openLog(disk.process()))).toEqual(expected)
}

describe.each(seeds)('a failure, seed %i', (seed) => {
  test('of a sync refuses the group, and later appends are durable in a new segment', async () => {
    const { disk, process, log } = await started(seed)
    process.interfere(once('sync', isSegment, { fails: 'EIO' }))
    const refused = [1, 2, 3].map((sequence) => codeOf(log.append('trades', numbered('a', sequence))))
    expect(await Promise.all(refused)).toEqual(['log_unwritable', 'log_unwritable', 'log_unwritable'])
    expect(await readIds(log)).toEqual(idsIn(numbered('a', 0)))
    expect((await log.append('trades', numbered('a', 2))).duplicate).toBe(false)
    expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(false)
    expect((await process.readDir(partitionDir)).filter(isSegment)).toHaveLength(2)
    await expectEvents(disk, log, idsIn(numbered('a', 0), numbered('a', 2), numbered('a', 1)))
  })

  test('of a repeat shares the fate of the batch it repeats', async () => {
    const { process, log } = await started(seed)
    process.interfere(once('sync', isSegment, { fails: 'EIO' }))
    const both = [numbered('a', 1), numbered('a', 1)].map((one) => codeOf(log.append('trades', one)))
    expect(await Promise.all(both)).toEqual(['log_unwritable', 'log_unwritable'])
    expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(false)
  })

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
    const { disk, process, log } = await started(seed)
    disk.capacityBytes = 1_000_000
    disk.capacityBytes -= disk.freeBytes() - 210
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
    const { disk, log } = await started(seed)
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
})

// These wait for real time, or write megabytes.
describe.each(seeds.slice(0, 2))('a failure that takes longer, seed %i', (seed) => {
  test('of a sync and of cutting back refuses everything queued, and the next append recovers what was acknowledged', async () => {
    for (const broken of ['truncate', 'sync'] as const) {
      const { disk, process, log } = await started(seed)
      const failing: Call[] = ['sync', broken]
      process.interfere((call, path) => {
        if (!isSegment(path) || call !== failing[0]) return 'goes on'
        failing.shift()
        return { fails: 'EIO' }
      })
      const refused = [1, 2].map((sequence) => codeOf(log.append('trades', numbered('a', sequence))))
      const large = { ...numbered('b', 0), lines: [Buffer.alloc(9_000_000, 'x\n')] }
      refused.push(codeOf(log.append('trades', large)), codeOf(log.append('trades', numbered('a', 3))))
      expect(new Set(await Promise.all(refused))).toEqual(new Set(['log_unwritable']))
      expect(failing).toEqual([])
      // Nothing that was refused comes back, although the file could not be cut.
      expect((await log.append('trades', numbered('a', 2))).duplicate).toBe(false)
      expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(false)
      await expectEvents(disk, log, idsIn(numbered('a', 0), numbered('a', 2), numbered('a', 1)))
    }
  })

  test('to publish the end delays readers only: what is durable is acknowledged, and known as taken', async () => {
    const { disk, process, log } = await started(seed)
    process.interfere(once('write', isEnd, { fails: 'EIO' }))
    expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(false)
    expect((await log.append('trades', numbered('a', 1))).duplicate).toBe(true)
    await vi.waitFor(async () => expect(await readIds(log)).toHaveLength(4), { timeout: 5000 })
    await expectEvents(disk, log, idsIn(numbered('a', 0), numbered('a', 1)))
  }, 20_000)

  test('to recover one stream leaves the others to work, and that one to be tried again', async () => {
    const { disk, log } = await started(seed)
    await log.append('quotes', batch('q'))
    disk.powerCut()
    const process = disk.process(once('syncDir', (path) => path === partitionDir, { fails: 'EIO' }))
    const again = await openLog(process)
    await again.append('quotes', batch('r'))
    expect(await codeOf(again.append('trades', numbered('a', 1)))).toBe('log_unwritable')
    await vi.waitFor(() => again.append('trades', numbered('a', 1)), { timeout: 5000 })
    expect(await readIds(again)).toEqual(idsIn(numbered('a', 0), numbered('a', 1)))
  }, 20_000)

  test('to recover a stream is made good without an append: readers see what the crash left', async () => {
    const { disk } = await started(seed)
    disk.powerCut()
    // The end that readers are told is not synced: a power cut may set it back.
    if (disk.entry(endFile(logDir, 'trades', 0)) !== undefined) disk.delete(endFile(logDir, 'trades', 0))
    const again = await openLog(disk.process(once('syncDir', (path) => path === partitionDir, { fails: 'EIO' })))
    await vi.waitFor(async () => expect(await readIds(again)).toEqual(idsIn(numbered('a', 0))), { timeout: 5000 })
  }, 20_000)
})
