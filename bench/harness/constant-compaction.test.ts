import { expect, test } from 'vitest'
import { compactingShare } from './constant-compaction.ts'
import type { UpkeepRow } from './sql-client.ts'

const second = (at: number): string => new Date(at * 1000).toISOString()
const row = (from: number | null, to: number | null): UpkeepRow => ({
  state: 'done',
  reason: 'small files',
  filesBefore: 2,
  filesAfter: 1,
  bytesBefore: 100,
  startedAt: from === null ? null : second(from),
  finishedAt: to === null ? null : second(to),
})

test('the share of a time in which something was compacted counts what lies in it', () => {
  const span = { fromMs: 10_000, toMs: 20_000 }
  expect(compactingShare([], span)).toBe(0)
  expect(compactingShare([row(8, 12), row(14, 15), row(19, 30)], span)).toBeCloseTo(0.4)
  expect(compactingShare([row(1, 9), row(21, 22), row(12, null), row(null, null)], span)).toBe(0)
  expect(compactingShare([row(5, 25)], span)).toBe(1)
})
