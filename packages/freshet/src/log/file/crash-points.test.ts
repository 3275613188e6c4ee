/** One test for each crash point that partition-writer.ts and recovery.ts name. */
import { describe, expect, test } from 'vitest'
import {
  batch,
  codeOf,
  idsIn,
  isEnd,
  isSegment,
  makeDisk,
  numbered,
  once,
  openLog,
  partitionDir,
  readIds,
  recorder,
  seeds,
  small,
} from '../../../test/simulation/log-fixture.ts'
import type { Interfere, SimulatedDisk } from '../../../test/simulation/simulated-file-system.ts'
import { encodeFrame } from './frame.ts'
import type { FileLog } from './file-log.ts'

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

  const steps: [string, () => Interfere][] = [
    ['within the new .seen file', () => once('write', (path) => path.endsWith('.tmp'), 'dies within')],
    ['before .seen is synced', () => once('sync', (path) => path.endsWith('.tmp'), 'dies before')],
    ['before .seen gets its name', () => once('rename', () => true, 'dies before')],
    ['after .seen, before the new segment', () => once('open', isSegment, 'dies before')],
    ['after the new segment, before its name is synced', () => once('open', isSegment, 'dies after')],
    ['before its name is synced', () => once('syncDir', () => true, 'dies before')],
    ['after its name is synced', () => once('syncDir', () => true, 'dies after')],
    ['while an old .seen is removed', () => once('remove', () => true, 'dies after')],
    ['before the first write to it', () => once('write', isSegment, 'dies before')],
    ['within the first write to it', () => once('write', isSegment, 'dies within')],
    ['before the first sync of it', () => once('sync', isSegment, 'dies before')],
  ]
  test.each(steps)('at a roll, %s, loses nothing and ends in a log that goes on', async (_, crashing) => {
    for (const by of ['kill', 'power'] as const) {
      const disk = await makeDisk(seed)
      const before = disk.process()
      const log = await openLog(before, small)
      const sent = Array.from({ length: 5 }, (__, sequence) => numbered('a', sequence))
      for (const one of sent.slice(0, 4)) await log.append('trades', one)
      before.interfere(crashing())
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
    const [path] = (await disk.process().readDir(partitionDir))
      .filter(isSegment)
      .map((name) => `${partitionDir}/${name}`)
    const old = disk.file(path!)
    old.damage(old.length, Buffer.concat(encodeFrame(numbered('a', 1), old.length)))
    for (const name of await disk.process().readDir(partitionDir)) {
      if (name.endsWith('.seen')) disk.delete(`${partitionDir}/${name}`)
    }
    const { logger, reported } = recorder()
    const again = await openLog(disk.process(), { logger })
    expect(reported).toEqual([])
    expect(await readIds(again)).toEqual(idsIn(numbered('a', 0), numbered('a', 2)))
    expect((await again.read('trades', 0, 0n, 1_000_000)).file).toBeUndefined()
    expect((await again.append('trades', numbered('a', 1))).duplicate).toBe(false)
  })

  test('after a failed sync and before the cut, by a kill, keeps what the cache shows, or loses it before readers see it', async () => {
    const disk = await makeDisk(seed)
    const before = disk.process()
    const log = await openLog(before)
    await log.append('trades', numbered('a', 0))
    before.interfere((call, path) => {
      if (call === 'truncate') return 'dies before'
      return call === 'sync' && isSegment(path) ? { fails: 'EIO' } : 'goes on'
    })
    expect(await codeOf(log.append('trades', numbered('a', 1)))).not.toBe('fulfilled')
    const kept = await readIds(await openLog(disk.process()))
    disk.powerCut()
    expect(await readIds(await openLog(disk.process()))).toEqual(kept)
  })

  test('after a cut that reached the cache and not the disk brings nothing of the refused group back', async () => {
    for (let variant = 0; variant < 10; variant++) {
      const disk = await makeDisk(seed * 10 + variant)
      const before = disk.process()
      const log = await openLog(before)
      await log.append('trades', numbered('a', 0))
      before.interfere((call, path) => (call === 'sync' && isSegment(path) ? { fails: 'EIO' } : 'goes on'))
      const refused = ['u', 'v'].map((name) => codeOf(log.append('trades', batch(name))))
      expect(await Promise.all(refused)).toEqual(['log_unwritable', 'log_unwritable'])
      before.kill()
      // As long as the first of them was.
      await (await openLog(disk.process())).append('trades', batch('w'))
      disk.powerCut()
      expect(await readIds(await openLog(disk.process()))).toEqual(idsIn(numbered('a', 0), batch('w')))
    }
  })

  test('of a trim, which met a segment that its writer died on before its name was durable, forgets nothing', async () => {
    const disk = await makeDisk(seed)
    const before = disk.process()
    const log = await openLog(before, small)
    await log.append('trades', numbered('a', 0))
    await log.append('trades', numbered('a', 1))
    before.interfere(once('syncDir', () => true, 'dies before'))
    await codeOf(log.append('trades', numbered('b', 0, 12)))
    const trimming = disk.process(once('remove', () => true, 'dies after'))
    const reader = await openLog(trimming, { mode: 'read' })
    await codeOf(reader.trim('trades', await reader.ends('trades')))
    disk.powerCut()
    const again = await openLog(disk.process(), small)
    for (const sequence of [0, 1]) expect((await again.append('trades', numbered('a', sequence))).duplicate).toBe(true)
  })

  test('by power while old segments are trimmed leaves no hole, and no batch forgotten', async () => {
    for (let kept = 0; kept < 4; kept++) {
      const disk = await makeDisk(seed)
      const process = disk.process()
      const log = await openLog(process, small)
      for (let sequence = 0; sequence < 20; sequence++) await log.append('trades', numbered('a', sequence))
      let removed = 0
      process.interfere((call) => (call === 'remove' && removed++ === kept ? 'dies after' : 'goes on'))
      await codeOf(log.trim('trades', await log.ends('trades')))
      disk.powerCut()
      const { logger, reported } = recorder()
      const again = await openLog(disk.process(), { ...small, logger })
      for (let sequence = 0; sequence < 20; sequence++) {
        expect((await again.append('trades', numbered('a', sequence))).duplicate).toBe(true)
      }
      // Without the saved memory every segment that is left is read: there is no hole between them.
      await again.close()
      for (const name of await disk.process().readDir(partitionDir)) {
        if (name.endsWith('.seen')) disk.delete(`${partitionDir}/${name}`)
      }
      await openLog(disk.process(), { ...small, logger })
      for (const { message } of reported) expect(message).toContain('has a gap')
    }
  })
})
