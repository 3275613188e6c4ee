import { expect, test } from 'vitest'
import { partitionValueAt, type TimePartition } from '../../lake/partition.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { planRetention } from './plan-retention.ts'

const dayMs = 86_400_000
const nowMs = Date.parse('2026-03-10T12:00:00Z')

function file(path: string, unit: TimePartition['unit'], time: string | null): ScanFile {
  const partition: TimePartition = { column: '_event_time', unit, name: `_event_time_${unit}` }
  const value = time === null ? null : partitionValueAt(unit, BigInt(Date.parse(time)) * 1000n)
  return {
    key: path,
    path,
    partition,
    partitionValue: value,
    recordCount: 1,
    bytes: 1,
    eventId: { lower: undefined, upper: undefined },
    eventTime: { lower: undefined, upper: undefined },
    receivedAt: { lower: undefined, upper: undefined },
    snapshotId: 1n,
    sequenceNumber: 1,
    deletes: [],
  } as unknown as ScanFile
}

function past(files: ScanFile[], retainMs: number): [string, string[]][] {
  return planRetention(files, retainMs, nowMs).past.map((one) => [one.partition, one.files.map(({ path }) => path)])
}

test('whole partitions go, oldest first; one that the limit cuts across stays', () => {
  const files = [
    file('a', 'day', '2026-03-01T00:00:00Z'),
    file('b', 'day', '2026-02-28T00:00:00Z'),
    file('c', 'day', '2026-02-28T23:00:00Z'),
    // Ends at the limit.
    file('d', 'day', '2026-03-08T00:00:00Z'),
    file('e', 'day', '2026-03-09T00:00:00Z'),
  ]
  expect(past(files, 1.5 * dayMs)).toEqual([
    ['2026-02-28', ['b', 'c']],
    ['2026-03-01', ['a']],
    ['2026-03-08', ['d']],
  ])
  expect(past(files, 1.5 * dayMs + 1).at(-1)).toEqual(['2026-03-01', ['a']])
})

test('files of a former partitioning go by its width', () => {
  const files = [
    file('month', 'month', '2026-03-01T00:00:00Z'),
    file('february', 'month', '2026-02-01T00:00:00Z'),
    file('hour', 'hour', '2026-03-08T10:00:00Z'),
  ]
  expect(past(files, 2 * dayMs)).toEqual([
    ['2026-02', ['february']],
    ['2026-03-08-10', ['hour']],
  ])
})

test('files without a time, or of a partitioning nobody knows, stay, and it is said', () => {
  const unknown = { ...file('x', 'day', '2020-01-01T00:00:00Z'), partition: undefined }
  const plan = planRetention([file('n', 'day', null), unknown], dayMs, nowMs)
  expect(plan.past).toEqual([])
  expect(plan.reason).toBe(
    'no other partition ends before 2026-03-09T12:00:00.000Z; 2 files have no time partition that Freshet knows, and stay',
  )
})
