import { describe, expect, test } from 'vitest'
import {
  batch,
  codeOf,
  idsIn,
  idsOf,
  logDir,
  numbered,
  openLog,
  partitionDir,
  readIds,
} from '../../../test/simulation/log-fixture.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import { SimulatedDisk } from '../../../test/simulation/simulated-file-system.ts'
import { encodeEnd, readEnd } from './durable-end.ts'
import { encodeFrame } from './frame.ts'
import { PartitionReader } from './partition-reader.ts'
import { segmentPath } from './segments.ts'

const endsFile = `${logDir}/_ends/trades.0`
const makeReader = (disk: SimulatedDisk): PartitionReader => new PartitionReader(disk.process(), logDir, 'trades', 0)

async function written(count: number, segmentBytes = 1_000_000): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk(seededRandom(1))
  const log = await openLog(disk.process(), { segmentBytes })
  for (let sequence = 0; sequence < count; sequence++) await log.append('trades', numbered('a', sequence))
  return disk
}

describe('a reader', () => {
  test('gives no byte behind the published end (I2), although whole frames are there', async () => {
    const disk = await written(2)
    const file = disk.file(segmentPath(partitionDir, 0))
    const { length } = file
    file.write(length, Buffer.concat(encodeFrame(numbered('a', 2), length)))
    const reader = makeReader(disk)
    expect(idsOf((await reader.read(0, 1_000_000)).bytes)).toEqual(idsIn(numbered('a', 0), numbered('a', 1)))
    expect(await reader.read(length, 1_000_000)).toMatchObject({ count: 0, next: BigInt(length), receivedAtMs: 0 })
    disk.file(endsFile).write(0, encodeEnd(file.length))
    expect(idsOf((await reader.read(length, 1_000_000)).bytes)).toEqual(idsIn(numbered('a', 2)))
  })

  test('gives whole batches, at least one, about as many bytes as asked for', async () => {
    const disk = await written(100)
    const reader = makeReader(disk)
    const one = await reader.read(0, 1)
    expect(one.count % 2).toBe(0)
    expect(one.bytes.length).toBeLessThanOrEqual(4096)
    const more = await reader.read(0, 8000)
    expect(more.bytes.length).toBeLessThanOrEqual(8000)
    expect(more.bytes.length).toBeGreaterThan(7500)
    expect(idsOf(more.bytes)).toHaveLength(more.count)
  })

  test('gives a batch of 16 MB whole, however little is asked for', async () => {
    const disk = await written(1)
    const log = await openLog(disk.process())
    const line = `{"_event_id":"x","text":"${'y'.repeat(1000)}"}\n`
    const count = Math.ceil((16 * 1024 * 1024) / line.length)
    const start = readEnd(disk.process(), logDir, 'trades', 0)!
    await log.append('trades', { lines: [Buffer.from(line.repeat(count))], count, receivedAtMs: 77 })
    await log.append('trades', numbered('a', 1))
    const reader = makeReader(disk)
    const chunk = await reader.read(start, 1000)
    expect(chunk).toMatchObject({ count, receivedAtMs: 77 })
    expect(idsOf((await reader.read(Number(chunk.next), 1000)).bytes)).toEqual(idsIn(numbered('a', 1)))
  })

  test('follows from segment to segment, and may be asked from several places at once', async () => {
    const disk = await written(30, 400)
    const log = await openLog(disk.process(), { mode: 'read' })
    const expected = idsIn(...Array.from({ length: 30 }, (_, sequence) => numbered('a', sequence)))
    const all = await Promise.all([1, 300, 5000].map((maxBytes) => readIds(log, 0n, maxBytes)))
    for (const ids of all) expect(ids).toEqual(expected)
  })

  test('says which position is no longer there when its segment was trimmed', async () => {
    const disk = await written(10, 400)
    const log = await openLog(disk.process())
    await log.trim('trades', await log.ends('trades'))
    await expect(makeReader(disk).read(0, 1000)).rejects.toMatchObject({
      code: 'log_trimmed',
      message: expect.stringContaining('no longer holds position 0'),
    })
  })

  test('further on than a stale published end waits for the writer to recover (I10), and loses nothing', async () => {
    const disk = await written(5, 400)
    const end = readEnd(disk.process(), logDir, 'trades', 0)!
    const reader = makeReader(disk)
    for (const stale of [encodeEnd(0), encodeEnd(100), Buffer.alloc(12)]) {
      disk.file(endsFile).damage(0, stale)
      for (const at of [330, end]) {
        expect(await reader.read(at, 1000)).toMatchObject({ count: 0, next: BigInt(at) })
      }
    }
    disk.delete(endsFile)
    expect(await reader.read(end, 1000)).toMatchObject({ count: 0, next: BigInt(end) })
    const log = await openLog(disk.process())
    await log.append('trades', numbered('a', 5))
    expect(idsOf((await reader.read(end, 1000)).bytes)).toEqual(idsIn(numbered('a', 5)))
  })

  test('gives the newest arrival time in the chunk', async () => {
    const disk = new SimulatedDisk(seededRandom(1))
    const log = await openLog(disk.process())
    for (const receivedAtMs of [5, 9, 7]) await log.append('trades', batch('x', { receivedAtMs }))
    expect(await makeReader(disk).read(0, 1_000_000)).toMatchObject({ count: 6, receivedAtMs: 9 })
  })

  test('that is asked for a place within a batch says that no batch begins there', async () => {
    const disk = await written(2)
    expect(await codeOf(makeReader(disk).read(7, 1000))).toBe('corrupt_log')
  })
})

test('a segment that no longer grows and was read whole is named, for reading in place; the one being written is not', async () => {
  const disk = await written(6, 400)
  const names = (await disk.process().readDir(partitionDir)).filter((name) => name.endsWith('.ndjson'))
  const reader = makeReader(disk)
  const files: (string | undefined)[] = []
  const end = readEnd(disk.process(), logDir, 'trades', 0)!
  for (let at = 0; at < end;) {
    const chunk = await reader.read(at, 1_000_000)
    files.push(chunk.file)
    if (chunk.file !== undefined) expect(await disk.process().readFile(chunk.file)).toEqual(chunk.bytes)
    at = Number(chunk.next)
  }
  expect(files).toEqual([...names.slice(0, -1).map((name) => `${partitionDir}/${name}`), undefined])
})
