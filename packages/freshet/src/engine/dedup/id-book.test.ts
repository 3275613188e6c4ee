/** I5: the book reports exactly the repeats, whatever is loaded, committed, written out, damaged and forgotten in between. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { hourMs, Lab, type Step, type Stored } from '../../../test/support/id-lab.ts'
import { IdHash, type Scope } from './scan.ts'

let dir: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'freshet-ids-'))
})

afterEach(() => {
  rmSync(dir, { recursive: true, force: true })
})

/** Around 1970, and far enough apart for several months. */
const time = fc.oneof(
  fc.integer({ min: -3, max: 3 }).map((hours) => hours * hourMs + 7),
  fc.integer({ min: -40, max: 40 }).map((days) => days * 24 * hourMs),
)
const row = fc.record({
  id: fc.oneof(
    fc.integer({ min: 0, max: 30 }).map((n) => `id ${n}`),
    fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 3 })
      .filter((id) => !/\p{Cc}/u.test(id) && id.isWellFormed()),
  ),
  at: time,
})

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('load' as const),
      rows: fc.array(row, { maxLength: 12 }),
      fails: fc.boolean(),
      bulk: fc.constantFrom(0, 0, 0, 0, 0, 4096, 9000),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'rotate' as const,
        'rotate' as const,
        'commit' as const,
        'commit' as const,
        'commitElsewhere' as const,
        'replace' as const,
        'foreign' as const,
        'clear' as const,
        'restart' as const,
        'settle' as const,
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('compact' as const, 'compact' as const, 'erase' as const),
      which: fc.nat(5),
      count: fc.nat(3),
      isKnown: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('damage' as const), which: fc.nat(), byte: fc.nat() }) },
)

/** Makes hashes have so few values, while `work` runs, that distinct ids share them all the time. */
async function withWeakHashes<Result>(bits: number, work: () => Promise<Result>): Promise<Result> {
  const whole = Object.getOwnPropertyDescriptors(IdHash.prototype)
  const weaken = (hash: IdHash): void => {
    hash.low &= 1
    hash.high &= (1 << bits) - 1
  }
  IdHash.prototype.ofText = function (...given) {
    const end = whole.ofText.value!.apply(this, given)
    weaken(this)
    return end
  }
  IdHash.prototype.ofBytes = function (...given) {
    whole.ofBytes.value!.apply(this, given)
    weaken(this)
  }
  try {
    return await work()
  } finally {
    Object.defineProperties(IdHash.prototype, whole)
  }
}

async function run(scope: Scope, memoryBytes: number, steps: readonly Step[]): Promise<Lab> {
  const lab = new Lab(dir, scope, memoryBytes)
  for (const next of steps) await lab.take(next)
  await lab.book.settled()
  lab.book.close()
  return lab
}

const scopes = fc.constantFrom<Scope>('hour', 'day', 'month', 'table')
const memories = fc.constantFrom(0, 4000, 100_000, 1 << 30)
const steps = fc.array(step, { maxLength: 25 })

test('reports exactly the repeats', async () => {
  await fc.assert(
    fc.asyncProperty(scopes, memories, steps, async (scope, memoryBytes, taken) => {
      expect((await run(scope, memoryBytes, taken)).memory.bytes).toBe(0)
    }),
    { numRuns: 150 },
  )
})

test('reports exactly the repeats when most hashes collide', async () => {
  const small = steps.map((all) => all.map((one) => ({ ...one, bulk: 0 }) as Step))
  await fc.assert(
    fc.asyncProperty(
      scopes,
      memories,
      small,
      fc.integer({ min: 0, max: 3 }),
      async (scope, memoryBytes, taken, bits) => {
        expect((await withWeakHashes(bits, () => run(scope, memoryBytes, taken))).memory.bytes).toBe(0)
      },
    ),
    { numRuns: 150 },
  )
})

const ids = (name: string, count: number, at = 0): Stored[] =>
  Array.from({ length: count }, (_, index) => ({ id: `${name}-${index}`, at }))

test('finds everything after restarts without reading data files again, in few runs', async () => {
  const lab = new Lab(dir, 'day', 1 << 30)
  for (let flush = 0; flush < 20; flush++) {
    await lab.load(ids(`f${flush}`, 5000))
    lab.rotate()
    lab.commit()
    await lab.book.settled()
  }
  expect(lab.runs().length).toBeLessThan(14)
  for (let start = 0; start < 2; start++) {
    lab.restart()
    expect(await lab.load([...ids('f3', 5000), ...ids('f19', 5000)])).toHaveLength(10_000)
    expect(await lab.load(ids(`new ${start}`, 1000))).toEqual([])
    expect(lab.table.reads).toBe(0)
    lab.clear()
  }
  lab.book.close()
})

test('reads the data files again when what was remembered is gone, once', async () => {
  const lab = new Lab(dir, 'day', 1 << 30)
  await lab.load(ids('a', 5000))
  lab.rotate()
  lab.commit()
  await lab.book.settled()
  for (const path of lab.runs()) rmSync(path)
  lab.restart()
  expect(await lab.load(ids('a', 5000))).toHaveLength(5000)
  await lab.book.settled()
  lab.restart()
  expect(await lab.load(ids('a', 5000))).toHaveLength(5000)
  expect(lab.table.reads).toBe(1)
  lab.book.close()
})

test('keeps within its memory, many partitions and many ids, and still finds everything', async () => {
  const lab = new Lab(dir, 'hour', 300_000)
  const rows = (hour: number, part: number): Stored[] => ids(`${hour}-${part}`, 400, hour * hourMs)
  for (let part = 0; part < 6; part++) {
    for (let hour = 0; hour < 12; hour++) await lab.load(rows(hour, part))
    if (part % 2 === 1) lab.rotate()
    if (part % 3 === 2) lab.commit()
  }
  for (let hour = 0; hour < 12; hour++) expect(await lab.load(rows(hour, hour % 6))).toHaveLength(400)
  expect(lab.memory.peakBytes).toBeLessThanOrEqual(lab.memory.bytesMax)
  expect(lab.memory.peakBytes).toBeGreaterThan(0)
  lab.book.close()
})

test('one partition that is much larger than the memory is handled within it', async () => {
  const lab = new Lab(dir, 'table', 300_000)
  for (let part = 0; part < 30; part++) {
    await lab.load(ids(`p${part}`, 1000))
    if (part % 7 === 6) lab.rotate()
    if (part % 7 === 1) lab.commit()
  }
  const mixed = Array.from({ length: 30 }, (_, part) => ids(`p${part}`, 1000)[part]!)
  expect(await lab.load([...mixed, ...ids('new', 100)])).toHaveLength(30)
  await lab.book.settled()
  expect(lab.memory.peakBytes).toBeLessThanOrEqual(lab.memory.bytesMax)
  lab.restart()
  expect(await lab.load(ids('p1', 1000))).toHaveLength(1000)
  expect(lab.memory.peakBytes).toBeLessThanOrEqual(lab.memory.bytesMax)
  lab.book.close()
})

test.each(['removed', 'cut short', 'overwritten'])(
  'hot ids that were written out and are %s are read from the hot rows',
  async (how) => {
    const lab = new Lab(dir, 'day', 1000)
    await lab.load(ids('a', 2000))
    await lab.load(ids('b', 10))
    lab.rotate()
    await lab.load(ids('c', 2000))
    await lab.load(ids('d', 10))
    expect(lab.runs().length).toBeGreaterThan(1)
    for (const path of lab.runs()) {
      if (how === 'removed') rmSync(path)
      else if (how === 'cut short') truncateSync(path, 10)
      else writeFileSync(path, readFileSync(path).fill(7))
    }
    expect(await lab.load([...ids('c', 5), ...ids('a', 5), ...ids('e', 5)])).toHaveLength(10)
    lab.commit()
    lab.rotate()
    lab.commit()
    await lab.book.settled()
    expect(await lab.load([...ids('a', 2000), ...ids('d', 10), ...ids('e', 5)])).toHaveLength(2015)
    lab.book.close()
  },
)

test('files that are made of others are not read: what is remembered of those counts, after a restart too', async () => {
  const lab = new Lab(dir, 'day', 1 << 30)
  for (let flush = 0; flush < 12; flush++) {
    await lab.load(ids(`f${flush}`, 5000))
    lab.rotate()
    lab.commit()
    await lab.book.settled()
  }
  lab.compact(0, 2, true)
  lab.compact(0, 3, true)
  // Of compacted files, too, in two steps.
  lab.compact(lab.table.stored.length - 3, 2, true)
  for (let start = 0; start < 2; start++) {
    expect(await lab.load([...ids('f0', 5000), ...ids('f5', 5000), ...ids('f11', 5000)])).toHaveLength(15_000)
    expect(await lab.load(ids('new', 1000))).toEqual([])
    expect(lab.table.reads).toBe(0)
    lab.clear()
    lab.restart()
  }
  lab.book.close()
})

test('of several files that one was made of, the loss of what was remembered of one costs reading that one', async () => {
  const lab = new Lab(dir, 'day', 1 << 30)
  for (const name of ['a', 'b']) {
    await lab.load(ids(name, 5000))
    lab.rotate()
    lab.commit()
    await lab.book.settled()
  }
  const [first] = lab.runs()
  lab.compact(0, 2, true)
  writeFileSync(first!, 'torn')
  lab.restart()
  expect(await lab.load([...ids('a', 5000), ...ids('b', 5000), ...ids('c', 5)])).toHaveLength(10_000)
  expect(lab.table.reads).toBe(1)
  lab.book.close()
})

test.each(['removed', 'torn'])('a record of what came from what that is %s costs reading, no more', async (how) => {
  const lab = new Lab(dir, 'day', 1 << 30)
  for (const name of ['a', 'b', 'c']) {
    await lab.load(ids(name, 5000))
    lab.rotate()
    lab.commit()
    await lab.book.settled()
  }
  lab.compact(0, 2, true)
  const [lineage] = lab.files('lineage')
  if (how === 'removed') rmSync(lineage!)
  else truncateSync(lineage!, 30)
  lab.restart()
  expect(await lab.load([...ids('a', 5000), ...ids('c', 5000), ...ids('d', 5)])).toHaveLength(10_000)
  expect(lab.table.reads).toBe(1)
  await lab.book.settled()
  lab.compact(0, 2, true)
  lab.restart()
  expect(await lab.load(ids('b', 5000))).toHaveLength(5000)
  expect(lab.table.reads).toBe(1)
  lab.book.close()
})

test('ids that were erased are on disk no more, of partitions that nobody has touched either', async () => {
  const lab = new Lab(dir, 'day', 1 << 30)
  const day = 24 * hourMs
  for (const at of [0, day]) {
    await lab.load(ids(`kept and erased ${at}`, 10_000, at))
    lab.rotate()
    lab.commit()
    await lab.book.settled()
  }
  lab.compact(0, 0, true)
  lab.compact(0, 0, true)
  lab.restart()
  const onDisk = (id: string): boolean => lab.runs().some((path) => readFileSync(path).includes(id))
  expect([onDisk('erased 0-1'), onDisk(`erased ${day}-1`)]).toEqual([true, true])
  expect(await lab.load(ids('kept and erased 0', 1, 0))).toEqual([0])
  lab.erase(0, 2, true)
  expect([onDisk('erased 0-1'), onDisk(`erased ${day}-1`)]).toEqual([false, false])
  expect(await lab.load(ids('kept and erased 0', 4, 0))).toEqual([0, 2])
  expect(await lab.load(ids(`kept and erased ${day}`, 4, day))).toEqual([0, 2])
  await lab.book.settled()
  expect([onDisk(`erased ${day}-4`), onDisk(`erased ${day}-9999`)]).toEqual([true, false])
  lab.book.close()
})

test('an event that another writer removed from the table is new again', async () => {
  const lab = new Lab(dir, 'day', 1 << 30)
  for (const name of ['a', 'b']) {
    await lab.load(ids(name, 3))
    lab.rotate()
    lab.commit()
  }
  await lab.load(ids('c', 3))
  lab.rotate()
  lab.replace()
  expect(await lab.load(ids('a', 3))).toEqual([1, 2])
  lab.book.close()
})

test('ids of files that another writer removed while nothing ran are not remembered', async () => {
  const lab = new Lab(dir, 'day', 1 << 30)
  await lab.load(ids('a', 5000))
  lab.rotate()
  lab.commit()
  await lab.book.settled()
  expect(lab.runs()).toHaveLength(1)
  lab.table.stored = []
  lab.restart()
  expect(await lab.load(ids('a', 10))).toEqual([])
  expect(lab.runs()).toHaveLength(0)
  lab.book.close()
})

test('ids that were kept apart by days are not mistaken for those of hours', async () => {
  const lab = new Lab(dir, 'day', 1 << 30)
  await lab.load([...ids('a', 5000), { id: 'x', at: hourMs }])
  lab.rotate()
  lab.commit(false)
  await lab.book.settled()
  lab.changeScope('hour')
  expect(await lab.load([{ id: 'x', at: 0 }])).toEqual([])
  expect(await lab.load([{ id: 'x', at: hourMs }])).toEqual([0])
  lab.book.close()
})

test('an id hashes alike in a line and in a file', () => {
  const hash = new IdHash(9)
  const bytes = Buffer.from('"日\\"本"')
  expect(hash.ofText(bytes, 1)).toBe(bytes.length - 1)
  const inLine = [hash.low, hash.high]
  const plain = Buffer.from('日"本')
  hash.ofBytes(plain, 0, plain.length)
  expect([hash.low, hash.high]).toEqual(inLine)
})
