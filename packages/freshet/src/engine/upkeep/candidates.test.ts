import { expect, test } from 'vitest'
import { emptyTable } from '../../../test/conformance/lake-fixture.ts'
import type { LoadedTable } from '../../lake/catalog.ts'
import { withPartition } from '../../lake/metadata.ts'
import { partitionValueAt, type PartitionUnit, type TimePartition } from '../../lake/partition.ts'
import type { ScanFile } from '../../lake/scan.ts'
import { candidatesOf, deletesDoneWith } from './candidates.ts'

function table(unit: PartitionUnit, by: 'event_time' | 'received_at' = 'event_time'): LoadedTable {
  return { name: 'trades', version: 1, metadata: withPartition(emptyTable(), { by, unit }) }
}

const micros = (time: string): bigint => BigInt(Date.parse(time)) * 1000n

function file(unit: PartitionUnit, lower: string, upper: string, changes: Partial<ScanFile> = {}): ScanFile {
  const partition: TimePartition = { column: '_event_time', unit, name: `_event_time_${unit}` }
  const bounds = { lower: micros(lower), upper: micros(upper) }
  return {
    path: `${unit} ${lower}`,
    partition,
    partitionValue: partitionValueAt(unit, micros(lower)),
    recordCount: 10,
    bytes: 1000,
    eventTime: bounds,
    receivedAt: bounds,
    snapshotId: 1n,
    deletes: [],
    ...changes,
  } as ScanFile
}

const placesOf = (of: LoadedTable, files: ScanFile[]): unknown[] => {
  const { candidates, left } = candidatesOf(of, files)
  return [...candidates.map(({ partition }) => partition), ...left.map(({ reason }) => reason)]
}
const nine = partitionValueAt('day', micros('2026-03-09T00:00:00Z'))

test('after a change from hour to day, the hours belong to their day', () => {
  const files = [
    file('hour', '2026-03-09T10:00:00Z', '2026-03-09T10:59:00Z'),
    file('hour', '2026-03-09T23:00:00Z', '2026-03-09T23:59:00Z'),
    file('day', '2026-03-09T00:00:00Z', '2026-03-09T12:00:00Z'),
  ]
  expect(placesOf(table('day'), files)).toEqual([nine, nine, nine])
  // Also where nothing is known of the rows but their hour.
  const unknown = { eventTime: { lower: undefined, upper: undefined } }
  expect(placesOf(table('day'), [file('hour', '2026-03-09T10:00:00Z', '2026-03-09T10:59:00Z', unknown)])).toEqual([
    nine,
  ])
})

test('after a change from day to hour, a file that spans hours stays as it is; one that does not belongs to its hour', () => {
  const ten = partitionValueAt('hour', micros('2026-03-09T10:00:00Z'))
  const files = [
    file('day', '2026-03-09T10:05:00Z', '2026-03-09T10:55:00Z'),
    file('day', '2026-03-09T10:05:00Z', '2026-03-09T11:00:00Z'),
  ]
  expect(placesOf(table('hour'), files)).toEqual([
    ten,
    'of the former partitioning by day, and spans several partitions of the present one',
  ])
})

test('after a change to the time of arrival, its bounds decide', () => {
  const bounds = { lower: micros('2026-03-09T01:00:00Z'), upper: micros('2026-03-09T02:00:00Z') }
  const files = [
    file('day', '2020-01-01T00:00:00Z', '2020-01-02T00:00:00Z', { receivedAt: bounds }),
    file('day', '2020-01-01T00:00:00Z', '2020-01-01T00:00:00Z', { receivedAt: { lower: undefined, upper: undefined } }),
  ]
  expect(placesOf(table('day', 'received_at'), files)).toEqual([
    nine,
    'of the former partitioning by day, and spans several partitions of the present one',
  ])
})

test('what Freshet does not partition itself is left alone, and said once', () => {
  const others = [1, 2].map(() => file('day', '2026-03-09T10:00:00Z', '2026-03-09T10:00:00Z', { partition: undefined }))
  const nulls = file('day', '2026-03-09T10:00:00Z', '2026-03-09T10:00:00Z', { partitionValue: null })
  expect(candidatesOf(table('day'), [...others, nulls]).left).toEqual([
    { partition: null, files: 2, bytes: 2000, rows: 20, reason: 'partitioned in a way that Freshet does not write' },
    { partition: null, files: 1, bytes: 1000, rows: 10, reason: 'its rows have no time' },
  ])
  const bucketed = table('day')
  bucketed.metadata['partition-specs'] = [{ 'spec-id': bucketed.metadata['default-spec-id'], fields: [] }]
  expect(candidatesOf(bucketed, others)).toMatchObject({
    time: undefined,
    candidates: [],
    left: [{ files: 2, reason: 'the table is partitioned in a way that Freshet does not write' }],
  })
})

test('a delete file is done with once all files that it applies to are gone', () => {
  const deletes = (...names: string[]): Partial<ScanFile> =>
    ({ deletes: names.map((path) => ({ path })) }) as unknown as Partial<ScanFile>
  const time = '2026-03-09T10:00:00Z'
  const [a, b] = [
    file('day', time, time, { path: 'a', ...deletes('x', 'y') }),
    file('day', time, time, { path: 'b', ...deletes('y') }),
  ]
  expect(deletesDoneWith([a, b], [a])).toEqual(['x'])
  expect(deletesDoneWith([a, b], [a, b])).toEqual(['x', 'y'])
  expect(deletesDoneWith([a, b], [])).toEqual([])
})
