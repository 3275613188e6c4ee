import { expect, test } from 'vitest'
import { batch, logDir, makeDisk, nowMs, openLog, partitionDir } from '../../../test/simulation/log-fixture.ts'
import type { SimulatedProcess } from '../../../test/simulation/simulated-file-system.ts'
import { searchPartition, type PartitionSearch } from './search-partition.ts'

function search(process: SimulatedProcess, text: string, position = 0, untilMs = nowMs): Promise<PartitionSearch> {
  const place = { fileSystem: process, logDir, stream: 'trades', partition: 0 }
  return searchPartition({ ...place, needles: [Buffer.from(text)], untilMs, position })
}

test('tells where bytes are, in which batches, and what trimming has left', async () => {
  const disk = await makeDisk(1)
  const process = disk.process()
  const log = await openLog(process)
  await log.append('trades', batch('before'))
  await log.append('trades', batch('secret'))
  const rolled = await log.roll('trades')
  await log.append('trades', { ...batch('secret'), receivedAtMs: nowMs + 1 })
  const position = Number(rolled.get(0))

  const untrimmed = await search(process, 'secret/1', position)
  expect(untrimmed.found).toHaveLength(1)
  expect(untrimmed.found[0]).toMatch(/00\.ndjson:\d+$/)
  expect(untrimmed.below).toEqual([`${partitionDir}/00000000000000000000.ndjson`])
  expect(untrimmed.later).toBe(1)

  await log.trim('trades', rolled)
  expect(await search(process, 'secret/1', position)).toMatchObject({ found: [], below: [], later: 1, marks: [] })
  expect(await search(process, 'secret/1', position, nowMs + 1)).toMatchObject({ found: [expect.any(String)] })
})

test('finds bytes behind the last whole frame, and names of senders', async () => {
  const disk = await makeDisk(2)
  const process = disk.process()
  const log = await openLog(process)
  await log.append('trades', batch('a', { producer: { id: 'secret', sequence: 0 } }))
  const rolled = await log.roll('trades')
  await log.append('trades', batch('b'))
  await log.trim('trades', rolled)
  const file = disk.file(`${partitionDir}/${String(rolled.get(0)).padStart(20, '0')}.ndjson`)
  file.damage(file.length, Buffer.from('{"_frame":{"bytes":99,secret'))
  const { found, marks } = await search(process, 'secret')
  expect(found).toHaveLength(1)
  expect(marks).toHaveLength(1)
})

test('of a stream without a log finds nothing', async () => {
  const disk = await makeDisk(3)
  expect(await search(disk.process(), 'x')).toMatchObject({ files: 0, bytes: 0, found: [] })
})
