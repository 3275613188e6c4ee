import { describe, expect, test } from 'vitest'
import {
  batch,
  codeOf,
  idsIn,
  logDir,
  logOptions,
  numbered,
  openLog,
  partitionDir,
  readIds,
} from '../../../test/simulation/log-fixture.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import { SimulatedDisk, type Call, type SimulatedProcess } from '../../../test/simulation/simulated-file-system.ts'
import { PartitionWriter, type WriterOptions } from './partition-writer.ts'

async function makeWriter(
  changes: Partial<WriterOptions> = {},
): Promise<{ disk: SimulatedDisk; process: SimulatedProcess; writer: PartitionWriter; calls: Call[] }> {
  const disk = new SimulatedDisk(seededRandom(3))
  const calls: Call[] = []
  const process = disk.process((call, path) => {
    if (path.endsWith('.ndjson')) calls.push(call)
    return 'goes on'
  })
  await process.makeDir(`${logDir}/_ends`)
  const { dir, mode: _, ...rest } = logOptions(process)
  const writer = await PartitionWriter.open({ ...rest, logDir: dir, stream: 'trades', partition: 0, ...changes })
  return { disk, process, writer, calls }
}

describe('group commit', () => {
  test('writes and syncs batches that arrive together once, and what arrives meanwhile once more', async () => {
    const { writer, calls } = await makeWriter()
    await writer.append(numbered('a', 0))
    calls.length = 0
    const group = Array.from({ length: 50 }, (_, index) => writer.append(numbered('a', index + 1)))
    const positions = (await Promise.all(group)).map(({ position }) => position)
    expect(calls).toEqual(['write', 'sync'])
    expect(positions).toEqual(positions.toSorted((a, b) => Number(a - b)))
    expect(positions.at(-1)).toBe(BigInt(writer.end))
  })

  test('bounds one write, however much is waiting', async () => {
    const { writer, calls, process } = await makeWriter({ segmentBytes: 1e9 })
    const line = Buffer.from(`{"_event_id":"${'x'.repeat(1_000_000)}"}\n`)
    const sent = Array.from({ length: 20 }, () => writer.append({ lines: [line], count: 1, receivedAtMs: 1 }))
    await Promise.all(sent)
    expect(calls.filter((call) => call === 'sync').length).toBe(3)
    expect(await readIds(await openLog(process, { mode: 'read' }))).toHaveLength(20)
  })
})

describe('the place of a batch', () => {
  const sharedFrom = async (nowMs: number, times: readonly number[], together: boolean): Promise<unknown[]> => {
    const { writer } = await makeWriter({ clock: { nowMs: () => nowMs } })
    const append = (receivedAtMs: number) => writer.append({ ...numbered('a', receivedAtMs), receivedAtMs })
    const unmarked = (receivedAtMs: number) => writer.append({ ...batch('x'), receivedAtMs })
    const appended = []
    if (together) appended.push(...(await Promise.all(times.map(unmarked))))
    else for (const time of times) appended.push(await unmarked(time))
    // Marks make no difference.
    await append(times.at(-1)!)
    return appended.map(({ from, place }) =>
      place?.sameArrivalFrom === undefined ? 'none' : from - place.sameArrivalFrom === 0n ? 'itself' : 'before',
    )
  }

  test('says that no other arrived at the same time only where none can come any more', async () => {
    expect(await sharedFrom(100, [10, 20, 20, 30], true)).toEqual(['none', 'itself', 'before', 'none'])
    expect(await sharedFrom(30, [10, 20, 20, 30], true)).toEqual(['none', 'itself', 'before', 'itself'])
    // The clock was set back: arrival times wait for it.
    expect(await sharedFrom(5, [10, 20, 20, 30], true)).toEqual(['none', 'itself', 'before', 'itself'])
    expect(await sharedFrom(20, [10, 20, 20, 30], false)).toEqual(['none', 'itself', 'before', 'itself'])
  })
})

describe('a writer', () => {
  test('keeps appends in order over many segments, and starts a new one only when the last is full', async () => {
    const { writer, process } = await makeWriter({ segmentBytes: 1000 })
    const sent = Array.from({ length: 40 }, (_, sequence) => numbered('a', sequence))
    for (const one of sent) await writer.append(one)
    expect(await readIds(await openLog(process, { mode: 'read' }))).toEqual(idsIn(...sent))
    const names = await process.readDir(partitionDir)
    const segments = names.filter((name) => name.endsWith('.ndjson'))
    expect(segments.length).toBeGreaterThan(5)
    expect(segments.length).toBeLessThan(12)
    expect(names.filter((name) => name.endsWith('.seen'))).toHaveLength(2)
    for (const name of segments)
      expect((await process.readFile(`${partitionDir}/${name}`)).length).toBeLessThanOrEqual(1000)
  })

  test('puts a batch that is larger than a segment in one of its own', async () => {
    const { writer, process } = await makeWriter({ segmentBytes: 1000 })
    const sent = [numbered('a', 0), numbered('a', 1, 500), numbered('a', 2)]
    for (const one of sent) await writer.append(one)
    expect(await readIds(await openLog(process, { mode: 'read' }))).toEqual(idsIn(...sent))
    expect((await process.readDir(partitionDir)).filter((name) => name.endsWith('.ndjson'))).toHaveLength(3)
  })

  test('refuses appends while the disk is nearly full, and takes them again when it is not', async () => {
    let free = 0
    const process = new SimulatedDisk(seededRandom(3)).process()
    process.freeBytes = async () => free
    const log = await openLog(process, { diskFreeBytesMin: 1000 })
    expect(await codeOf(log.append('trades', numbered('a', 0)))).toBe('disk_full')
    free = 1000
    expect(await log.append('trades', numbered('a', 0))).toMatchObject({ duplicate: false })
  })

  test('finishes what is queued when it is closed, then refuses', async () => {
    const { writer, process } = await makeWriter()
    const queued = [0, 1].map((sequence) => writer.append(numbered('a', sequence)))
    await writer.close()
    await writer.close()
    expect(await Promise.all(queued)).toHaveLength(2)
    expect(await codeOf(writer.append(numbered('a', 2)))).toBe('shutting_down')
    expect(await readIds(await openLog(process, { mode: 'read' }))).toEqual(idsIn(numbered('a', 0), numbered('a', 1)))
  })

  test('that cannot be opened says so with a code, and leaves no file open', async () => {
    const { process, writer } = await makeWriter()
    await writer.append(numbered('a', 0))
    await writer.close()
    const { dir, mode: _, ...rest } = logOptions(process)
    for (const [fails, code] of [
      ['ENOSPC', 'disk_full'],
      ['EROFS', 'log_unwritable'],
    ] as const) {
      process.interfere((call, path) => (call === 'write' && path.includes('_ends') ? { fails } : 'goes on'))
      expect(await codeOf(PartitionWriter.open({ ...rest, logDir: dir, stream: 'trades', partition: 0 }))).toBe(code)
    }
    expect(process.openFiles).toBe(0)
  })
})
