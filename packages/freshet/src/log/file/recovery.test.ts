import { describe, expect, test } from 'vitest'
import {
  batch,
  codeOf,
  idsIn,
  idsOf,
  logDir,
  nowMs,
  numbered,
  openLog,
  partitionDir,
  readIds,
  recorder,
  type Reported,
} from '../../../test/simulation/log-fixture.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import { SimulatedDisk } from '../../../test/simulation/simulated-file-system.ts'
import { encodeEnd, readEnd } from './durable-end.ts'
import type { FileLog } from './file-log.ts'
import { encodeFrame } from './frame.ts'
import { segmentPath } from './segments.ts'

const sent = [0, 1, 2].map((sequence) => numbered('a', sequence))
const frameLength = Buffer.concat(encodeFrame(sent[0]!, 0)).length
const endsFile = `${logDir}/_ends/trades.0`
const firstSegment = segmentPath(partitionDir, 0)

/** A log of three batches, closed. With small segments each batch has one of its own. */
async function written(segmentBytes?: number): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk(seededRandom(1))
  const log = await openLog(disk.process(), segmentBytes === undefined ? {} : { segmentBytes })
  for (const one of sent) await log.append('trades', one)
  await log.close()
  return disk
}

async function reopened(disk: SimulatedDisk): Promise<{ log: FileLog; reported: Reported[] }> {
  const { logger, reported } = recorder()
  return { log: await openLog(disk.process(), { logger }), reported }
}

const endOf = (disk: SimulatedDisk): number | undefined => readEnd(disk.process(), logDir, 'trades', 0)

function flip(disk: SimulatedDisk, path: string, offset: number): void {
  const file = disk.file(path)
  file.damage(offset, Buffer.from([file.read(offset, offset + 1)[0]! ^ 1]))
}

/** Where frame `index` begins. */
function startOf(disk: SimulatedDisk, index: number): number {
  const bytes = disk.file(firstSegment).read(0, 10_000)
  let at = 0
  for (let skipped = 0; skipped < index; skipped++) at = bytes.indexOf('{"_frame"', at + 1)
  return at
}

/** The log reads up to a damaged place, says so there, and goes on behind it. */
async function expectDamageAt(log: FileLog, index: number, place: { file: string; offset: number }): Promise<void> {
  let at = 0n
  const before: string[] = []
  for (let read = 0; read < index; read++) {
    const chunk = await log.read('trades', 0, at, 1)
    before.push(...idsOf(chunk.bytes))
    if (before.length >= index * 2) {
      at = chunk.next
      break
    }
    at = chunk.next
  }
  expect(before).toEqual(idsIn(...sent.slice(0, index)))
  for (let attempt = 0; attempt < 2; attempt++) {
    await expect(log.read('trades', 0, at, 1_000_000)).rejects.toMatchObject({ code: 'corrupt_log', extra: place })
  }
  const end = (await log.ends('trades')).get(0)!
  await log.append('trades', numbered('new', 0))
  expect(await readIds(log, end)).toEqual(idsIn(numbered('new', 0)))
}

describe('a torn tail', () => {
  test.each([
    [
      'a frame cut short in its header',
      (): Buffer => Buffer.concat(encodeFrame(numbered('torn', 0), 0)).subarray(0, 30),
    ],
    [
      'a frame cut short in its lines',
      (): Buffer => Buffer.concat(encodeFrame(numbered('torn', 0), 0)).subarray(0, -3),
    ],
    ['zeros', (): Buffer => Buffer.alloc(9000)],
    ['garbage', (): Buffer => Buffer.from(seededRandom(7).hex(5000), 'hex')],
    ['a frame with zeros in it', (): Buffer => Buffer.concat(encodeFrame(numbered('torn', 0), 0)).fill(0, 120, 130)],
    [
      'a bad frame and a whole one of the same group',
      (): Buffer =>
        Buffer.concat([
          ...encodeFrame(numbered('torn', 0), 0).fill(Buffer.alloc(60), 0, 1),
          ...encodeFrame(numbered('torn', 1), 3 * frameLength),
        ]),
    ],
  ])('of %s is cut off, and was not taken', async (_, tail) => {
    const disk = await written()
    const file = disk.file(firstSegment)
    const { length } = file
    file.damage(length, tail())
    const { log, reported } = await reopened(disk)
    expect(reported).toMatchObject([{ level: 'warn', file: firstSegment, offset: length, cutBytes: tail().length }])
    expect(file.length).toBe(length)
    expect(await readIds(log)).toEqual(idsIn(...sent))
    for (const sequence of [0, 1])
      expect((await log.append('trades', numbered('torn', sequence))).duplicate).toBe(false)
    expect(await readIds(log)).toEqual(idsIn(...sent, numbered('torn', 0), numbered('torn', 1)))
    expect((await reopened(disk)).reported).toEqual([])
  })

  test('is what a damaged last frame is taken for when nothing says that it was durable', async () => {
    const disk = await written()
    flip(disk, firstSegment, disk.file(firstSegment).length - 3)
    disk.delete(endsFile)
    const { log, reported } = await reopened(disk)
    expect(reported).toMatchObject([{ level: 'warn' }])
    expect((await log.append('trades', sent[2]!)).duplicate).toBe(false)
    expect(await readIds(log)).toEqual(idsIn(...sent))
  })
})

describe('damage', () => {
  const places: [string, number, (disk: SimulatedDisk) => number][] = [
    ['in the lines of the last frame', 2, (disk) => disk.file(firstSegment).length - 3],
    ['in the lines of a frame before it', 1, (disk) => startOf(disk, 2) - 3],
    ['in the length a header gives', 1, (disk) => startOf(disk, 1) + '{"_frame":{"bytes":'.length],
    ['in the opening of a header', 1, (disk) => startOf(disk, 1) + 3],
    ['in the first byte', 0, () => 0],
  ]
  test.each(places)(
    '%s is reported with file and offset, not skipped, and the log goes on behind it',
    async (_, index, where) => {
      const disk = await written()
      const offset = startOf(disk, index)
      flip(disk, firstSegment, where(disk))
      const end = endOf(disk)
      const { log, reported } = await reopened(disk)
      expect(reported).toMatchObject([{ level: 'error', file: firstSegment, offset }])
      expect(reported[0]!.error).toContain(`${firstSegment} holds`)
      expect(endOf(disk)).toBe(end)
      for (const [frame, one] of sent.entries()) {
        if (frame !== index) expect((await log.append('trades', one)).duplicate).toBe(true)
      }
      await expectDamageAt(log, index, { file: firstSegment, offset })
      expect(disk.file(firstSegment).length).toBe(end)
    },
  )

  test('before the last group is told from a torn tail without a published end', async () => {
    const disk = await written()
    const offset = startOf(disk, 1)
    flip(disk, firstSegment, offset + 100)
    disk.delete(endsFile)
    const { log, reported } = await reopened(disk)
    expect(reported).toMatchObject([{ level: 'error', file: firstSegment, offset }])
    await expectDamageAt(log, 1, { file: firstSegment, offset })
  })

  test('below the position of the newest .seen file is told from a torn tail without a published end', async () => {
    const disk = await written()
    const { length } = disk.file(firstSegment)
    // As after a crash between .seen and the segment it was saved for.
    await disk
      .process()
      .rename(
        segmentPath(partitionDir, 0).replace('.ndjson', '.seen'),
        segmentPath(partitionDir, length).replace('.ndjson', '.seen'),
      )
    flip(disk, firstSegment, length - 3)
    disk.delete(endsFile)
    const { reported } = await reopened(disk)
    expect(reported).toMatchObject([{ level: 'error', file: firstSegment, offset: startOf(disk, 2) }])
    expect(endOf(disk)).toBe(length)
  })

  test('in an earlier segment is found by readers, and the log goes on', async () => {
    const disk = await written(10)
    const second = segmentPath(partitionDir, disk.file(firstSegment).length)
    flip(disk, second, 150)
    const { log } = await reopened(disk)
    await expectDamageAt(log, 1, { file: second, offset: 0 })
    expect((await log.append('trades', sent[1]!)).duplicate).toBe(true)
  })

  test.each(['cut at the end of a frame', 'cut within a frame', 'empty'])(
    'of an earlier segment that is %s is found by readers',
    async (how) => {
      const disk = await written(2 * frameLength + 50)
      const { length } = disk.file(firstSegment)
      const offset = how === 'empty' ? 0 : startOf(disk, 1)
      disk.file(firstSegment).lose(how === 'cut within a frame' ? length - 5 : offset)
      const { log } = await reopened(disk)
      await expectDamageAt(log, how === 'empty' ? 0 : 1, { file: firstSegment, offset })
    },
  )

  test('that is mended, by putting the segment back, is read without a restart', async () => {
    const disk = await written()
    const whole = disk.file(firstSegment).read(0, 10_000)
    flip(disk, firstSegment, 100)
    const { log } = await reopened(disk)
    expect(await codeOf(readIds(log))).toBe('corrupt_log')
    disk.delete(firstSegment)
    const mending = disk.process()
    const file = await mending.open(firstSegment, 'create')
    await file.write([whole], 0)
    expect(await readIds(log)).toEqual(idsIn(...sent))
  })

  test('stays known over restarts, and no position is given out twice', async () => {
    const disk = await written()
    const end = endOf(disk)!
    flip(disk, firstSegment, 100)
    for (let restart = 0; restart < 3; restart++) {
      const { log, reported } = await reopened(disk)
      expect(reported).toMatchObject([{ level: 'error', offset: 0 }])
      expect(endOf(disk)).toBe(end)
      await log.close()
    }
    const { log } = await reopened(disk)
    await log.append('trades', numbered('new', 0))
    disk.powerCut()
    expect(await readIds((await reopened(disk)).log, BigInt(end))).toEqual(idsIn(numbered('new', 0)))
  })
})

describe('the published end', () => {
  test('ahead of the file is damage: the rest of the file is missing', async () => {
    const disk = await written()
    const end = endOf(disk)!
    const offset = startOf(disk, 2)
    disk.file(firstSegment).lose(offset)
    const { log, reported } = await reopened(disk)
    expect(reported).toMatchObject([{ level: 'error', file: firstSegment, offset }])
    expect(endOf(disk)).toBe(end)
    await expectDamageAt(log, 2, { file: firstSegment, offset })
  })

  test.each(['missing', 'damaged', 'behind'])('that is %s is published anew', async (how) => {
    const disk = await written()
    const end = endOf(disk)
    if (how === 'missing') disk.delete(endsFile)
    if (how === 'damaged') disk.file(endsFile).damage(0, Buffer.alloc(12))
    if (how === 'behind') disk.file(endsFile).damage(0, encodeEnd(startOf(disk, 1)))
    const { log, reported } = await reopened(disk)
    expect(reported).toEqual([])
    expect(endOf(disk)).toBe(end)
    expect(await readIds(log)).toEqual(idsIn(...sent))
  })
})

describe('the memory of seen batches', () => {
  const seenNames = async (disk: SimulatedDisk): Promise<string[]> =>
    (await disk.process().readDir(partitionDir))
      .filter((name) => name.endsWith('.seen'))
      .map((name) => `${partitionDir}/${name}`)

  test.each(['missing', 'damaged'])('that is %s is rebuilt from the segments', async (how) => {
    const disk = await written(10)
    for (const path of await seenNames(disk)) {
      if (how === 'missing') disk.delete(path)
      else flip(disk, path, 20)
    }
    const { log, reported } = await reopened(disk)
    expect(reported.map(({ file }) => file)).toEqual(how === 'missing' ? [] : (await seenNames(disk)).toReversed())
    for (const one of sent) expect((await log.append('trades', one)).duplicate).toBe(true)
  })

  test('falls back to the older file when the newer one is damaged', async () => {
    const disk = await written(10)
    const newest = (await seenNames(disk)).at(-1)!
    flip(disk, newest, 20)
    const { log, reported } = await reopened(disk)
    expect(reported).toMatchObject([{ level: 'error', file: newest }])
    for (const one of sent) expect((await log.append('trades', one)).duplicate).toBe(true)
  })

  test('that cannot be rebuilt, since the segments were trimmed, is reported', async () => {
    const disk = await written(10)
    const log = await openLog(disk.process())
    await log.trim('trades', await log.ends('trades'))
    for (const path of await seenNames(disk)) disk.delete(path)
    const { reported } = await reopened(disk)
    expect(reported).toMatchObject([{ level: 'error', from: 0, message: expect.stringContaining('has a gap') }])
  })

  test('is not lost by a trim when the file of the last roll was: its segments are kept until the next one', async () => {
    const disk = await written(10)
    disk.delete((await seenNames(disk)).at(-1)!)
    const log = await openLog(disk.process(), { segmentBytes: 10 })
    await log.trim('trades', await log.ends('trades'))
    await log.close()
    const { log: again, reported } = await reopened(disk)
    for (const one of sent) expect((await again.append('trades', one)).duplicate).toBe(true)
    expect(reported).toEqual([])
  })

  test('holds keys as well as sequences, up to what came after it was saved', async () => {
    const disk = new SimulatedDisk(seededRandom(1))
    const log = await openLog(disk.process(), { segmentBytes: 10 })
    const keyed = (key: string, checksum: number): ReturnType<typeof batch> =>
      batch(key, { idempotency: { key, checksum } })
    for (const key of ['k1', 'k2', 'k3']) await log.append('trades', keyed(key, 1))
    disk.powerCut()
    const again = await openLog(disk.process(), { clock: { nowMs: () => nowMs + 1000 } })
    for (const key of ['k1', 'k2', 'k3']) {
      expect((await again.append('trades', keyed(key, 1))).duplicate).toBe(true)
      expect(await codeOf(again.append('trades', keyed(key, 2)))).toBe('idempotency_conflict')
    }
  })
})

describe('a log folder that is gone', () => {
  test('in part: the segments; positions go on behind the published end, and the gap is reported to readers', async () => {
    const disk = await written()
    const end = endOf(disk)!
    disk.delete(`${logDir}/trades`)
    const reader = await openLog(disk.process(), { mode: 'read' })
    expect(await codeOf(reader.read('trades', 0, 0n, 1000))).toBe('corrupt_log')
    const { log } = await reopened(disk)
    await log.append('trades', numbered('new', 0))
    expect(await codeOf(reader.read('trades', 0, 0n, 1000))).toBe('log_trimmed')
    expect(await readIds(reader, BigInt(end))).toEqual(idsIn(numbered('new', 0)))
  })

  test('as a whole: a reader that was further on says so, before and after a new log has begun', async () => {
    const disk = await written()
    const end = BigInt(endOf(disk)!)
    disk.delete(logDir)
    const reader = await openLog(disk.process(), { mode: 'read' })
    await expect(reader.read('trades', 0, end, 1000)).rejects.toThrow(/deleted or replaced/)
    const { log } = await reopened(disk)
    await log.append('trades', numbered('new', 0))
    await expect(reader.read('trades', 0, end, 1000)).rejects.toThrow(/deleted or replaced/)
  })
})
