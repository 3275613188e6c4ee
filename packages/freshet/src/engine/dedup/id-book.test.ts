/** I5: the book reports exactly the repeats, whatever is loaded, committed, let go and forgotten in between. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sourceMax } from './fingerprints.ts'
import { IdBook, type FoundId, type IdFile, type IdSource } from './id-book.ts'
import { IdHash, partitionOf, type Scope } from './scan.ts'

interface Stored {
  id: string
  /** Days since 1970. */
  day: number
}

const dayMicros = 86_400_000_000n

/** A stream's table in memory: hot rows, frozen ones, and files by partition. */
class FakeTable implements IdSource {
  readonly scope: Scope
  hot: Stored[] = []
  frozen: Stored[] = []
  readonly stored: { file: IdFile; rows: Stored[] }[] = []
  /** How many files were looked into for single ids. */
  looks = 0

  constructor(scope: Scope) {
    this.scope = scope
  }

  files(): IdFile[] {
    return this.stored.map(({ file }) => file)
  }

  async findHot(ids: readonly string[]): Promise<FoundId[]> {
    return found([...this.hot, ...this.frozen], ids)
  }

  async findInFiles(keys: readonly string[], ids: readonly string[]): Promise<FoundId[]> {
    this.looks += keys.length
    const known = new Set(this.stored.map(({ file }) => file.key))
    for (const key of keys) if (!known.has(key)) throw new Error(`there is no file ${key}`)
    return found(
      this.stored.filter(({ file }) => keys.includes(file.key)).flatMap(({ rows }) => rows),
      ids,
    )
  }

  async readIds(key: string | undefined, partition: number, onPiece: (ids: Buffer) => void): Promise<void> {
    const rows =
      key === undefined
        ? [...this.hot, ...this.frozen].filter(({ day }) => this.scope === 'table' || day === partition)
        : this.stored.find(({ file }) => file.key === key)!.rows
    for (let at = 0; at < rows.length; at += 3)
      onPiece(
        Buffer.from(
          rows
            .slice(at, at + 3)
            .map(({ id }) => `${id}\n`)
            .join(''),
        ),
      )
  }

  /** Moves the frozen rows into files, one a day, and returns those. */
  commit(known: boolean): IdFile[] {
    const days = new Set(this.frozen.map(({ day }) => day))
    const added = [...days].map((day) => {
      const file = {
        key: `f${this.stored.length}-${day}`,
        partition: known && this.scope !== 'table' ? day : undefined,
      }
      return { file, rows: this.frozen.filter((row) => row.day === day) }
    })
    for (const [index, entry] of added.entries()) entry.file.key = `f${this.stored.length + index}`
    this.stored.push(...added)
    this.frozen = []
    return added.map(({ file }) => file)
  }
}

function found(rows: readonly Stored[], ids: readonly string[]): FoundId[] {
  const wanted = new Set(ids)
  return rows.filter(({ id }) => wanted.has(id)).map(({ id, day }) => ({ id, timeMicros: BigInt(day) * dayMicros }))
}

function chunkOf(rows: readonly Stored[]): Buffer {
  const lines = rows.map(({ id, day }) => {
    const time = new Date(day * 86_400_000).toISOString()
    return `{"_event_id":${JSON.stringify(id)},"_event_time":"${time}"}\n`
  })
  return Buffer.from(lines.join(''))
}

const day = fc.integer({ min: -2, max: 2 })
const row = fc.record({
  id: fc.oneof(
    fc.integer({ min: 0, max: 30 }).map((n) => `id ${n}`),
    fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 3 })
      .filter((id) => !/\p{Cc}/u.test(id) && id.isWellFormed()),
  ),
  day,
})

type Step =
  | { kind: 'load'; rows: Stored[]; fails: boolean }
  | { kind: 'rotate' | 'commit' | 'commitElsewhere' | 'clear' | 'restart' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('load' as const),
      rows: fc.array(row, { maxLength: 12 }),
      fails: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'rotate' as const,
        'commit' as const,
        'commit' as const,
        'commitElsewhere' as const,
        'clear' as const,
        'restart' as const,
      ),
    }),
  },
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

/** Takes the steps, expecting of each load that the repeats in it are found; returns how many there were. */

async function run(scope: Scope, budgetBytes: number, steps: readonly Step[]): Promise<number> {
  const table = new FakeTable(scope)
  const open = (): IdBook => new IdBook({ scope, source: table, seed: 5, budgetBytes })
  let book = open()
  let frozenNumber: number | undefined
  let repeated = 0
  for (const next of steps) {
    switch (next.kind) {
      case 'load': {
        const bytes = chunkOf(next.rows)
        const events = book.scan(bytes, next.rows.length)
        const repeats = await book.repeats(bytes, events)
        const seen = new Set(
          [...table.hot, ...table.frozen, ...table.stored.flatMap(({ rows }) => rows)].map(nameIn(scope)),
        )
        const wanted = next.rows.flatMap((one, index) => {
          const name = nameIn(scope)(one)
          if (seen.has(name)) return [index]
          seen.add(name)
          return []
        })
        expect(repeats).toEqual(wanted)
        repeated += repeats.length
        // When the insert fails, the same rows come again later; some of them perhaps never.
        if (!next.fails) table.hot.push(...next.rows.filter((_, index) => !repeats.includes(index)))
        break
      }
      case 'rotate':
        if (frozenNumber !== undefined) break
        table.frozen = table.hot
        table.hot = []
        frozenNumber = book.rotate()
        break
      case 'commit':
      case 'commitElsewhere':
        if (frozenNumber === undefined) break
        book.committed(frozenNumber, table.commit(next.kind === 'commit'))
        frozenNumber = undefined
        break
      case 'clear':
        if (frozenNumber === undefined) book.clear()
        break
      case 'restart':
        table.hot = []
        table.frozen = []
        frozenNumber = undefined
        book = open()
    }
  }
  return repeated
}

function nameIn(scope: Scope): (row: Stored) => string {
  return ({ id, day: at }) => `${partitionOf(BigInt(at) * dayMicros, scope)} ${id}`
}

const scopes = fc.constantFrom<Scope>('day', 'table')
const budgets = fc.constantFrom(0, 2000, 1 << 30)
const steps = fc.array(step, { maxLength: 25 })

test('reports exactly the repeats', async () => {
  await fc.assert(
    fc.asyncProperty(scopes, budgets, steps, async (scope, budget, taken) => {
      expect(await run(scope, budget, taken)).toBeGreaterThanOrEqual(0)
    }),
    { numRuns: 1000 },
  )
})

test('reports exactly the repeats when most hashes collide', async () => {
  await fc.assert(
    fc.asyncProperty(scopes, steps, fc.integer({ min: 0, max: 3 }), async (scope, taken, bits) => {
      expect(await withWeakHashes(bits, () => run(scope, 1 << 30, taken))).toBeGreaterThanOrEqual(0)
    }),
    { numRuns: 1000 },
  )
})

test('finds an id again that was new although its hash was known, after the commit of its rows', async () => {
  const load = (id: string): Step => ({ kind: 'load', rows: [{ id, day: 0 }], fails: false })
  const commit: Step[] = [{ kind: 'rotate' }, { kind: 'commit' }]
  const taken = [load('a'), ...commit, load('b'), load('b'), ...commit, load('b'), load('a')]
  expect(await withWeakHashes(0, () => run('day', 1 << 30, taken))).toBe(3)
})

test('finds an id whose first insert failed and whose second one succeeded after a commit', async () => {
  const load = (fails: boolean): Step => ({ kind: 'load', rows: [{ id: 'a', day: 0 }], fails })
  const commit: Step[] = [{ kind: 'rotate' }, { kind: 'commit' }]
  expect(await run('day', 1 << 30, [load(true), ...commit, load(false), load(false), ...commit, load(false)])).toBe(2)
})

test('goes on when it has no source numbers left', async () => {
  const table = new FakeTable('day')
  const book = new IdBook({ scope: 'day', source: table, seed: 1, budgetBytes: 1 << 30 })
  const load = async (rows: Stored[]): Promise<number[]> => {
    const bytes = chunkOf(rows)
    const repeats = await book.repeats(bytes, book.scan(bytes, rows.length))
    table.hot.push(...rows.filter((_, index) => !repeats.includes(index)))
    return repeats
  }
  const commit = (): void => {
    table.frozen = table.hot
    table.hot = []
    const number = book.rotate()
    book.committed(number, table.commit(true))
  }
  await load([{ id: 'first', day: 0 }])
  commit()
  for (let flush = 0; flush < sourceMax + 2; flush++) book.committed(book.rotate(), [])
  await load([{ id: 'last', day: 0 }])
  expect(await load([{ id: 'last', day: 0 }])).toEqual([0])
  commit()
  expect(
    await load([
      { id: 'last', day: 0 },
      { id: 'first', day: 0 },
      { id: 'new', day: 0 },
    ]),
  ).toEqual([0, 1])
})

test('looks only into the files that an id may have come from', async () => {
  const table = new FakeTable('day')
  const book = new IdBook({ scope: 'day', source: table, seed: 1, budgetBytes: 1 << 30 })
  const load = (rows: Stored[]): Promise<number[]> => {
    const bytes = chunkOf(rows)
    return book.repeats(bytes, book.scan(bytes, rows.length))
  }
  for (let flush = 0; flush < 20; flush++) {
    const rows = Array.from({ length: 50 }, (_, index) => ({ id: `${flush}-${index}`, day: 0 }))
    await load(rows)
    table.frozen = rows
    book.committed(book.rotate(), table.commit(true))
  }
  expect(table.looks).toBe(0)
  expect(
    await load([
      { id: '3-7', day: 0 },
      { id: '3-8', day: 0 },
      { id: 'new', day: 0 },
    ]),
  ).toEqual([0, 1])
  expect(table.looks).toBe(1)
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
