import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  fullShare,
  planCompaction,
  quietAfterMs,
  type CandidateFile,
  type CompactionPolicy,
} from './plan-compaction.ts'

const MiB = 1024 * 1024
const policy: CompactionPolicy = { targetBytes: 128 * MiB, filesMax: 500 }
const minuteMs = 60_000
const dayMs = 1440 * minuteMs

let made = 0
function file(bytes: number, options: Partial<CandidateFile> = {}): CandidateFile {
  return { path: `f${++made}`, bytes, rows: Math.ceil(bytes / 100), partition: 0, deletes: 0, addedMs: 0, ...options }
}

describe('a partition', () => {
  test('of small files becomes one file', () => {
    const files = [1, 2, 2, 2, 2].map((size) => file(size * MiB))
    const { groups, skipped } = planCompaction(files, policy, 0)
    expect(groups).toMatchObject([
      { kind: 'merge', partition: 0, bytes: 9 * MiB, outputs: 1, reason: '5 small files, 9.0 MiB' },
    ])
    expect(new Set(groups[0]!.files)).toEqual(new Set(files))
    expect(skipped).toEqual([])
  })

  test('with a huge file has it split, and its small files merged beside it', () => {
    const huge = file(1000 * MiB)
    const { groups } = planCompaction([huge, file(MiB), file(MiB), file(MiB), file(MiB)], policy, 0)
    expect(groups.map(({ kind, files, outputs }) => [kind, files.length, outputs])).toEqual([
      ['split', 1, 8],
      ['merge', 4, 1],
    ])
    expect(groups[0]!.reason).toBe('1000 MiB in one file, target 128 MiB')
  })

  test('says why nothing is done', () => {
    const reason = (sizes: number[], nowMs = 0): string | undefined => {
      const { groups, skipped } = planCompaction(
        sizes.map((size) => file(size * MiB)),
        policy,
        nowMs,
      )
      expect(groups).toEqual([])
      return skipped[0]?.reason
    }
    expect(reason([100])).toBe('already at target size')
    expect(reason([100, 200])).toBe('all files are at target size')
    expect(reason([3])).toBe('only one small file')
    expect(reason([3, 100])).toBe('only one small file beside 1 at target size')
    expect(reason([30, 1])).toBe('2 small files, 31.0 MiB, of which 30.0 MiB in one: waits for more')
    expect(reason([30, 1], 2 * quietAfterMs)).toBe(
      '2 small files, 31.0 MiB, of which 30.0 MiB in one: that would be written again for little',
    )
  })

  test('that has become quiet is merged further', () => {
    const files = [file(10 * MiB), file(10 * MiB)]
    expect(planCompaction(files, policy, quietAfterMs).groups).toEqual([])
    expect(planCompaction(files, policy, quietAfterMs + 1).groups).toHaveLength(1)
  })

  test('has a file with delete files written anew, by itself where there is nothing to merge it with', () => {
    const deleted = file(100 * MiB, { deletes: 2 })
    expect(planCompaction([deleted, file(90 * MiB)], policy, 0).groups).toMatchObject([
      { kind: 'apply deletes', files: [deleted], reason: '2 delete files apply to it' },
    ])
    const small = file(MiB, { deletes: 1 })
    const { groups } = planCompaction([small, file(MiB), file(MiB), file(MiB)], policy, 0)
    expect(groups.map(({ kind }) => kind)).toEqual(['merge'])
  })
})

test('the newest partitions come first', () => {
  const files = [3, 9, 5].flatMap((partition) => [0, 1, 2, 3].map(() => file(MiB, { partition })))
  expect(planCompaction(files, policy, 0).groups.map(({ partition }) => partition)).toEqual([9, 5, 3])
})

test('no group reads more files than allowed', () => {
  const files = Array.from({ length: 1700 }, () => file(1000))
  const { groups } = planCompaction(files, policy, 0)
  expect(groups.map((group) => group.files.length)).toEqual([500, 500, 500, 200])
})

test('each file is in one group at most, and merges make files at most 1.2 times the target', () => {
  const someFile = fc.record({
    bytes: fc.oneof(fc.integer({ min: 1, max: MiB }), fc.integer({ min: 1, max: 500 * MiB })),
    partition: fc.integer({ min: -2, max: 2 }),
    deletes: fc.constantFrom(0, 0, 0, 1),
    addedMs: fc.constantFrom(undefined, 0, dayMs),
  })
  fc.assert(
    fc.property(fc.array(someFile, { maxLength: 60 }), fc.constantFrom(0, dayMs, 3 * dayMs), (described, nowMs) => {
      const files = described.map(({ bytes, ...options }) => file(bytes, options))
      const { groups, skipped } = planCompaction(files, policy, nowMs)
      const grouped = groups.flatMap((group) => group.files)
      expect(new Set(grouped).size).toBe(grouped.length)
      for (const group of groups) {
        expect(new Set(group.files.map(({ partition }) => partition))).toEqual(new Set([group.partition]))
        expect(group.bytes).toBe(group.files.reduce((sum, { bytes }) => sum + bytes, 0))
        if (group.kind === 'merge') expect(group.bytes).toBeLessThanOrEqual(2 * fullShare * policy.targetBytes)
        if (group.kind === 'merge') expect(group.files.length).toBeGreaterThan(1)
      }
      for (const one of files) if (one.deletes > 0) expect(grouped).toContain(one)
      const seen = new Set([...groups, ...skipped].map(({ partition }) => partition))
      expect(seen).toEqual(new Set(files.map(({ partition }) => partition)))
    }),
  )
})

/** A stream that is loaded and compacted, its files by partition; each file knows how often its rows were written. */
class Life {
  readonly partitions = new Map<number, (CandidateFile & { written: number })[]>()
  loaded = 0
  written = 0
  mostWritten = 1
  mostFiles = 0

  load(partition: number, bytes: number, nowMs: number): void {
    const one = { ...file(bytes, { partition, addedMs: nowMs }), written: 1 }
    this.partitions.set(partition, [...(this.partitions.get(partition) ?? []), one])
    this.loaded += bytes
  }

  /** @param shrinks size of a merged file by the sizes of what went into it */
  compact(partition: number, nowMs: number, shrinks: number): void {
    for (;;) {
      const files = this.partitions.get(partition) ?? []
      const { groups } = planCompaction(files, policy, nowMs)
      if (groups.length === 0) break
      for (const group of groups) {
        const gone = new Set<CandidateFile>(group.files)
        const before = this.partitions.get(partition)!
        const written = 1 + Math.max(...before.filter((one) => gone.has(one)).map((one) => one.written))
        const bytes = Math.ceil((group.bytes * shrinks) / group.outputs)
        const merged = Array.from({ length: group.outputs }, () => ({
          ...file(bytes, { partition, addedMs: nowMs }),
          written,
        }))
        this.partitions.set(partition, [...before.filter((one) => !gone.has(one)), ...merged])
        this.written += bytes * group.outputs
        this.mostWritten = Math.max(this.mostWritten, written)
      }
    }
    this.mostFiles = Math.max(this.mostFiles, this.partitions.get(partition)?.length ?? 0)
  }
}

describe('loads, one a minute, compacted every five', () => {
  test.each([
    { days: 365, loadBytes: 300_000, shrinks: 1 },
    { days: 60, loadBytes: 20_000, shrinks: 0.8 },
    { days: 60, loadBytes: 5 * MiB, shrinks: 0.9 },
  ])(
    'for $days days, of $loadBytes bytes, merged files $shrinks of the size',
    ({ days, loadBytes, shrinks }) => {
      const life = new Life()
      for (let minute = 0; minute < days * 1440; minute++) {
        const nowMs = minute * minuteMs
        const day = Math.floor(minute / 1440)
        // Sizes differ from load to load.
        life.load(day, Math.round(loadBytes * (0.5 + ((minute * 7919) % 1000) / 1000)), nowMs)
        // Late events: a small file for an old day, once an hour.
        const late = Math.max(0, day - 1 - (minute % 20))
        if (minute % 60 === 0) life.load(late, Math.round(loadBytes / 20), nowMs)
        if (minute % 5 !== 0) continue
        life.compact(day, nowMs, shrinks)
        life.compact(late, nowMs, shrinks)
        if (day > 0) life.compact(day - 1, nowMs, shrinks)
      }
      const smallest = loadBytes / 40
      const bound = 1 + Math.ceil(Math.log(policy.targetBytes / smallest) / Math.log(2 * shrinks))
      const byTier = Math.log(policy.targetBytes / loadBytes) / Math.log(4)
      expect(life.mostWritten - 1).toBeLessThanOrEqual(bound)
      expect(life.written / life.loaded).toBeLessThanOrEqual(byTier + 2)
      const files = [...life.partitions.values()].map((members) => members.length)
      const day = 1440 * loadBytes
      const full = Math.ceil(day / (fullShare * policy.targetBytes))
      expect(Math.max(...files)).toBeLessThanOrEqual(full + 3.5 * Math.log(policy.targetBytes / smallest))
      // At rest few are left besides the full ones.
      expect(files.reduce((sum, count) => sum + count, 0) / files.length).toBeLessThanOrEqual(full + 6)
    },
    120_000,
  )
})
