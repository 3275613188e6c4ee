/** Damage in a log on disk is found at its place, and what a crash or a running writer leaves is not taken for damage. */
import { expect, test } from 'vitest'
import { logDir, numbered, openLog, partitionDir } from '../../../test/simulation/log-fixture.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import { SimulatedDisk, type Interfere } from '../../../test/simulation/simulated-file-system.ts'
import { problemsIn } from '../../runtime/finding.ts'
import { encodeEnd } from './durable-end.ts'
import { encodeFrame } from './frame.ts'
import { segmentPath } from './segments.ts'
import { verifyPartition, type PartitionCheck } from './verify-partition.ts'

const sent = [0, 1, 2, 3].map((sequence) => numbered('a', sequence))
const ends = `${logDir}/_ends/trades.0`
const first = segmentPath(partitionDir, 0)

/** A log of four batches, closed. With small segments each batch has one of its own. */
async function written(segmentBytes?: number): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk(seededRandom(1))
  const log = await openLog(disk.process(), segmentBytes === undefined ? {} : { segmentBytes })
  for (const one of sent) await log.append('trades', one)
  await log.close()
  return disk
}

function verify(disk: SimulatedDisk, interfere?: Interfere): Promise<PartitionCheck> {
  const fileSystem = disk.process(interfere)
  return verifyPartition({ fileSystem, logDir, stream: 'trades', partition: 0, onBytes: () => undefined })
}

async function bytesOf(disk: SimulatedDisk, path: string): Promise<Buffer> {
  return disk.process().readFile(path)
}

async function write(disk: SimulatedDisk, path: string, at: number, bytes: Uint8Array): Promise<void> {
  const file = await disk.process().open(path, 'create')
  await file.write([bytes], at)
  await file.close()
}

async function cut(disk: SimulatedDisk, path: string, length: number): Promise<void> {
  const file = await disk.process().open(path, 'write')
  await file.truncate(length)
  await file.close()
}

async function flip(disk: SimulatedDisk, path: string, at: number): Promise<void> {
  const bytes = await bytesOf(disk, path)
  await write(disk, path, at, Buffer.from([bytes[at]! ^ 1]))
}

async function segmentsOf(disk: SimulatedDisk): Promise<string[]> {
  const names = await disk.process().readDir(partitionDir)
  return names.filter((name) => name.endsWith('.ndjson')).map((name) => `${partitionDir}/${name}`)
}

async function frameStarts(disk: SimulatedDisk, path: string): Promise<number[]> {
  const text = (await bytesOf(disk, path)).toString('latin1')
  return [...text.matchAll(/\{"_frame":/g)].map(({ index }) => index)
}

test('a whole log is in order: every segment, frame and event is counted', async () => {
  expect(await verify(await written())).toMatchObject({ segments: 1, frames: 4, events: 8, start: 0, findings: [] })
  const several = await verify(await written(1))
  expect(several).toMatchObject({ segments: 4, frames: 4, events: 8, start: 0, findings: [] })
  expect(several.end).toBe(several.bytes)
})

test('nothing is written', async () => {
  const disk = await written(1)
  const changes = new Set(['makeDir', 'rename', 'link', 'remove', 'syncDir', 'write', 'sync', 'truncate'])
  const seen: string[] = []
  await verify(disk, (call, path) => {
    if (changes.has(call)) seen.push(`${call} ${path}`)
    return 'goes on'
  })
  expect(seen).toEqual([])
})

test('a changed byte is found in the frame that has it, in the last segment and in others', async () => {
  for (const segmentBytes of [undefined, 1]) {
    const disk = await written(segmentBytes)
    const [path = first] = segmentBytes === undefined ? [] : (await segmentsOf(disk)).slice(2)
    const offset = (await frameStarts(disk, path)).at(-1)!
    await flip(disk, path, offset + 150)
    const { findings } = await verify(disk)
    expect(findings).toMatchObject([{ severity: 'problem', check: 'log', stream: 'trades', file: path, offset }])
    expect(findings[0]!.what).toContain('a checksum that does not match')
  }
})

test('a segment that was cut is found where it ends, in the middle of a batch or between two', async () => {
  const disk = await written()
  const starts = await frameStarts(disk, first)
  for (const [length, offset] of [
    [starts[3]! + 20, starts[3]],
    [starts[2], starts[2]],
  ] as const) {
    await cut(disk, first, length!)
    const { findings } = await verify(disk)
    expect(findings).toMatchObject([{ severity: 'problem', file: first, offset }])
    expect(findings[0]!.what).toContain('are missing')
  }
})

test('a segment that is missing is found behind the one before it', async () => {
  const disk = await written(1)
  const [, before, gone] = await segmentsOf(disk)
  const size = (await bytesOf(disk, before!)).length
  const missing = (await bytesOf(disk, gone!)).length
  await disk.process().remove(gone!)
  const { findings } = await verify(disk)
  expect(findings).toMatchObject([{ severity: 'problem', file: before, offset: size }])
  const from = Number(before!.slice(-27, -7)) + size
  expect(findings[0]!.what).toContain(`positions ${from} to ${from + missing} are missing`)
})

test('a log without its newest segment, or without any, lacks what was acknowledged', async () => {
  const disk = await written(1)
  const segments = await segmentsOf(disk)
  await disk.process().remove(segments.pop()!)
  expect(problemsIn((await verify(disk)).findings)).toMatchObject([{ file: segments.at(-1) }])
  for (const path of segments) await disk.process().remove(path)
  expect(problemsIn((await verify(disk)).findings)).toMatchObject([{ file: partitionDir }])
})

test('segments that were trimmed are not missed', async () => {
  const disk = await written(1)
  const [oldest] = await segmentsOf(disk)
  await disk.process().remove(oldest!)
  const { findings, start, segments } = await verify(disk)
  expect({ findings, segments }).toEqual({ findings: [], segments: 3 })
  expect(start).toBeGreaterThan(0)
})

test('a segment that is trimmed while it is checked is not missed, damaged or not', async () => {
  const disk = await written(1)
  const [oldest, next] = await segmentsOf(disk)
  await flip(disk, oldest!, 150)
  const trimming = (when: (path: string) => boolean): Interfere => {
    let done = false
    return (call, path) => {
      if (!done && call === 'open' && when(path)) {
        done = true
        disk.folder(partitionDir).change(new Map([[oldest!.slice(-27), undefined]]))
      }
      return 'goes on'
    }
  }
  expect(
    (
      await verify(
        disk,
        trimming((path) => path === oldest),
      )
    ).findings,
  ).toEqual([])
  expect(
    (
      await verify(
        disk,
        trimming((path) => path === next),
      )
    ).findings,
  ).toEqual([])
})

test('what was not acknowledged behind the durable end is a note: whole batches, or a torn one', async () => {
  const disk = await written()
  const size = (await bytesOf(disk, first)).length
  const frame = Buffer.concat(encodeFrame(numbered('a', 4), size))
  await write(disk, first, size, Buffer.concat([frame, frame.subarray(0, 100)]))
  const { findings, frames, end } = await verify(disk)
  expect({ frames, end }).toEqual({ frames: 4, end: size })
  expect(findings).toMatchObject([{ severity: 'note', file: first, offset: size }])
  expect(findings[0]!.what).toContain('whole batches: 1, then a torn one')
})

test('a torn frame that later ones know as durable is damage, though the published end was lost', async () => {
  const disk = await written()
  const starts = await frameStarts(disk, first)
  await flip(disk, first, starts[1]! + 150)
  await write(disk, ends, 0, encodeEnd(starts[1]!))
  expect(problemsIn((await verify(disk)).findings)).toMatchObject([{ file: first, offset: starts[1] }])
})

test('a published end that a crash tore or emptied is a note: the log is checked without it', async () => {
  const disk = await written()
  const size = (await bytesOf(disk, first)).length
  const told = async (): Promise<unknown> =>
    (await verify(disk)).findings.map(({ severity, file }) => ({ severity, file }))
  const notes = [
    { severity: 'note', file: ends },
    { severity: 'note', file: first },
  ]
  await flip(disk, ends, 2)
  expect(await told()).toEqual(notes)
  await cut(disk, ends, 0)
  expect(await told()).toEqual(notes)
  await write(disk, ends, 0, encodeEnd(size))
  expect(await told()).toEqual([])
})

test('bytes of a refused batch behind the start of the next segment are a note', async () => {
  const disk = await written(1)
  const [, second] = await segmentsOf(disk)
  const size = (await bytesOf(disk, second!)).length
  await write(disk, second!, size, Buffer.from('refused'))
  const { findings } = await verify(disk)
  expect(findings).toMatchObject([{ severity: 'note', file: second, offset: size }])
})

test('a damaged memory of seen batches is a problem, a file left half written a note', async () => {
  const disk = await written(1)
  const seen = (await disk.process().readDir(partitionDir)).filter((name) => name.endsWith('.seen'))
  await flip(disk, `${partitionDir}/${seen.at(-1)}`, 20)
  await write(disk, `${partitionDir}/${'9'.repeat(20)}.seen.tmp`, 0, Buffer.from('{'))
  expect((await verify(disk)).findings).toMatchObject([
    { severity: 'problem', file: `${partitionDir}/${seen.at(-1)}` },
    { severity: 'note', file: `${partitionDir}/${'9'.repeat(20)}.seen.tmp` },
  ])
})

test('a disk that fails to read a segment is a problem of that segment, and the others are checked', async () => {
  const disk = await written(1)
  const [, second] = await segmentsOf(disk)
  const check = await verify(disk, (call, path) => (call === 'read' && path === second ? { fails: 'EIO' } : 'goes on'))
  expect(check.findings).toMatchObject([{ severity: 'problem', file: second }])
  expect(check.findings[0]!.what).toContain('EIO')
  expect(check.frames).toBe(3)
})

test('a segment that is damaged all over is told of a hundred times, not without end', async () => {
  const disk = new SimulatedDisk(seededRandom(1))
  const log = await openLog(disk.process())
  for (let sequence = 0; sequence < 150; sequence++) await log.append('trades', numbered('a', sequence))
  await log.close()
  for (const start of await frameStarts(disk, first)) await flip(disk, first, start + 150)
  const { findings } = await verify(disk)
  expect(findings).toHaveLength(101)
  expect(findings.at(-1)!.what).toContain('more bad places behind these: 50')
})

test('after any crash of the writer and its recovery, or before it, nothing is taken for damage', async () => {
  for (let seed = 0; seed < 60; seed++) {
    const disk = new SimulatedDisk(seededRandom(seed))
    await disk.process().makeDir(logDir)
    await disk.process().syncDir('/data')
    const random = seededRandom(seed + 1000)
    const doomed = disk.process((call) => (call !== 'read' && random.integer(40) === 0 ? 'dies within' : 'goes on'))
    const writing = async (): Promise<void> => {
      const log = await openLog(doomed, { segmentBytes: 500 })
      for (let sequence = 0; sequence < 20; sequence++) await log.append('trades', numbered('a', sequence))
    }
    await writing().catch(() => undefined)
    doomed.kill()
    if (seed % 2 === 0) disk.powerCut()
    expect({ seed, problems: problemsIn((await verify(disk)).findings) }).toEqual({ seed, problems: [] })
    const log = await openLog(disk.process(), { segmentBytes: 500 })
    await log.append('trades', numbered('a', 99))
    await log.close()
    expect({ seed, findings: problemsIn((await verify(disk)).findings) }).toEqual({ seed, findings: [] })
  }
})
