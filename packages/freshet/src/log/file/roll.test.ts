/** A new segment on request: what it promises, and one test for each crash point and failure of it. */
import { describe, expect, test } from 'vitest'
import {
  codeOf,
  idsIn,
  isSegment,
  makeDisk,
  numbered,
  once,
  openLog,
  partitionDir,
  readIds,
  seeds,
} from '../../../test/simulation/log-fixture.ts'
import type { Interfere, SimulatedProcess } from '../../../test/simulation/simulated-file-system.ts'
import type { Positions } from '../log.ts'

const sent = [0, 1, 2].map((sequence) => numbered('a', sequence))

async function bytesIn(process: SimulatedProcess): Promise<string> {
  const names = (await process.readDir(partitionDir)).filter(isSegment)
  const files = await Promise.all(names.map((name) => process.readFile(`${partitionDir}/${name}`)))
  return Buffer.concat(files).toString()
}

function positionIn(positions: Positions): bigint {
  const position = positions.get(0)
  if (position === undefined) throw new Error('there is no partition 0')
  return position
}

describe('a new segment on request', () => {
  test('lets all that was appended before be trimmed, and nothing behind it', async () => {
    const disk = await makeDisk(1)
    const process = disk.process()
    const log = await openLog(process)
    for (const one of sent) await log.append('trades', one)
    const rolled = await log.roll('trades')
    expect(rolled).toEqual(await log.ends('trades'))
    await log.append('trades', numbered('b', 0))
    await log.trim('trades', rolled)
    expect(await readIds(log, positionIn(rolled))).toEqual(idsIn(numbered('b', 0)))
    const left = await bytesIn(process)
    for (const id of idsIn(...sent)) expect(left).not.toContain(id)
    for (const one of sent) expect((await log.append('trades', one)).duplicate).toBe(true)
  })

  test('comes behind batches whose append was called before it, and before those called later', async () => {
    const disk = await makeDisk(2)
    const log = await openLog(disk.process())
    await log.append('trades', numbered('a', 0))
    const before = Array.from({ length: 20 }, (_, index) => log.append('trades', numbered('b', index)))
    const rolling = log.roll('trades')
    const again = log.roll('trades')
    const after = Array.from({ length: 20 }, (_, index) => log.append('trades', numbered('c', index)))
    const position = positionIn(await rolling)
    for (const appended of await Promise.all(before)) expect(appended.position).toBeLessThanOrEqual(position)
    for (const appended of await Promise.all(after)) expect(appended.from).toBeGreaterThanOrEqual(position)
    expect(positionIn(await again)).toBeGreaterThanOrEqual(position)
  })

  test('of a segment with nothing in it changes nothing, however often it is asked for', async () => {
    const disk = await makeDisk(3)
    const process = disk.process()
    const log = await openLog(process)
    await log.append('trades', numbered('a', 0))
    const first = await log.roll('trades')
    const names = await process.readDir(partitionDir)
    for (let times = 0; times < 5; times++) expect(await log.roll('trades')).toEqual(first)
    expect(await process.readDir(partitionDir)).toEqual(names)
  })

  test('of a stream without a log makes none', async () => {
    const disk = await makeDisk(4)
    const log = await openLog(disk.process())
    expect(await log.roll('trades')).toEqual(new Map())
    expect(await log.streams()).toEqual([])
  })

  test('is refused by a process that only reads', async () => {
    const disk = await makeDisk(5)
    const log = await openLog(disk.process())
    await log.append('trades', numbered('a', 0))
    const reader = await openLog(disk.process(), { mode: 'read' })
    expect(await codeOf(reader.roll('trades'))).toBe('log_unwritable')
  })
})

/** Each makes an interference of its own, since one dies once only. */
const steps: [string, () => Interfere][] = [
  ['within the new .seen file', () => once('write', (path) => path.endsWith('.tmp'), 'dies within')],
  ['before .seen is synced', () => once('sync', (path) => path.endsWith('.tmp'), 'dies before')],
  ['before .seen gets its name', () => once('rename', () => true, 'dies before')],
  ['after .seen, before the new segment', () => once('open', isSegment, 'dies before')],
  ['after the new segment, before its name is synced', () => once('open', isSegment, 'dies after')],
  ['before its name is synced', () => once('syncDir', () => true, 'dies before')],
  ['after its name is synced', () => once('syncDir', () => true, 'dies after')],
]

describe.each(seeds)('a crash in a roll that was asked for (I1, I10), seed %i', (seed) => {
  test.each(steps)('%s, loses nothing, and the roll can be asked for again', async (_, interfere) => {
    for (const by of ['kill', 'power'] as const) {
      const disk = await makeDisk(seed)
      const before = disk.process()
      const log = await openLog(before)
      for (const one of sent) await log.append('trades', one)
      before.interfere(interfere())
      expect(await codeOf(log.roll('trades'))).not.toBe('fulfilled')
      if (by === 'power') disk.powerCut()
      const process = disk.process()
      const again = await openLog(process)
      expect(await readIds(again)).toEqual(idsIn(...sent))
      for (const one of sent) expect((await again.append('trades', one)).duplicate).toBe(true)
      const rolled = await again.roll('trades')
      await again.append('trades', numbered('b', 0))
      await again.trim('trades', rolled)
      expect(await readIds(again, positionIn(rolled))).toEqual(idsIn(numbered('b', 0)))
      expect(await bytesIn(process)).not.toContain(idsIn(...sent)[0])
      for (const one of sent) expect((await again.append('trades', one)).duplicate).toBe(true)
    }
  })

  test('after it, with nothing in the new segment, leaves a log that goes on there', async () => {
    const disk = await makeDisk(seed)
    const log = await openLog(disk.process())
    for (const one of sent) await log.append('trades', one)
    const rolled = await log.roll('trades')
    await log.trim('trades', rolled)
    disk.powerCut()
    const again = await openLog(disk.process())
    expect(await again.ends('trades')).toEqual(rolled)
    for (const one of sent) expect((await again.append('trades', one)).duplicate).toBe(true)
    const { from } = await again.append('trades', numbered('b', 0))
    expect(from).toBe(positionIn(rolled))
  })

  test('a disk that fails refuses the roll, and appending goes on', async () => {
    for (const call of ['open', 'sync', 'syncDir', 'rename', 'write'] as const) {
      const disk = await makeDisk(seed)
      const process = disk.process()
      const log = await openLog(process)
      for (const one of sent) await log.append('trades', one)
      process.interfere(once(call, () => true, { fails: 'ENOSPC' }))
      expect(await codeOf(log.roll('trades'))).toBe('disk_full')
      await log.append('trades', numbered('b', 0))
      disk.powerCut()
      expect(await readIds(await openLog(disk.process()))).toEqual(idsIn(...sent, numbered('b', 0)))
    }
  })
})
