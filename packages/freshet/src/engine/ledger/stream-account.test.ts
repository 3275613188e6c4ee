import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { emptyTable, memoryLake, type Lake } from '../../../test/conformance/lake-fixture.ts'
import type { Catalog, LoadedTable } from '../../lake/catalog.ts'
import { appendFiles } from '../../lake/commit.ts'
import { readLedger } from '../../lake/ledger.ts'
import { hourMs, LedgerSum, type LedgerRow } from '../../lake/ledger-rows.ts'
import { tablePositions } from '../../lake/metadata.ts'
import { tableSources } from '../../lake/sources.ts'
import type { LoggedBatch } from '../../log/log.ts'
import { otherSources, sourcesPerHourMax, StreamAccount } from './stream-account.ts'
import { outcomeOf, type FrozenRows } from '../stream-commit.ts'

function batch(count: number, source?: string, receivedAtMs = 0, eventTimeMaxMs?: number): LoggedBatch {
  return { count, source, receivedAtMs, eventTimeMaxMs }
}

const none = { repeats: [], deadLetters: [] }

describe('the account of a stream', () => {
  test('finds the batch that a repeat or a dead letter is in', () => {
    const account = new StreamAccount()
    account.note([batch(3, 'a'), batch(0, 'a'), batch(1, 'b'), batch(4, 'a', hourMs)], {
      repeats: [0, 2, 3, 7],
      deadLetters: [1, 4],
    })
    expect(account.uncommitted()).toEqual([
      { source: 'a', hour: 0, accepted: 3, committed: 0, deduplicated: 2, deadLettered: 1 },
      { source: 'b', hour: 0, accepted: 1, committed: 0, deduplicated: 1, deadLettered: 0 },
      { source: 'a', hour: 1, accepted: 4, committed: 2, deduplicated: 1, deadLettered: 1 },
    ])
  })

  test('what a flush has taken is frozen, what is loaded meanwhile is not in it, and both are hot until it is adopted', () => {
    const account = new StreamAccount()
    account.note([batch(2, 'a')], none)
    const frozen = account.freeze()
    account.note([batch(3, 'a')], none)
    expect(frozen.rows.map(({ accepted }) => accepted)).toEqual([2])
    expect(account.uncommitted()[0]?.accepted).toBe(5)
    account.adopted()
    expect(account.uncommitted()[0]?.accepted).toBe(3)
  })

  test('says how far each source has reported; a heartbeat counts, but is no event', () => {
    const account = new StreamAccount()
    account.note(
      [batch(1, 'a', 100, 50), batch(0, 'a', 120, 90), batch(0, 'b', 130, 40), batch(5, undefined, 140, 99)],
      none,
    )
    account.note([batch(2, 'a', 110, 30)], none)
    expect(account.sources).toEqual(
      new Map([
        ['a', { lastEventMs: 50, reportedThroughMs: 90, lastArrivalMs: 120 }],
        ['b', { lastEventMs: undefined, reportedThroughMs: 40, lastArrivalMs: 130 }],
      ]),
    )
    account.reset(undefined)
    expect(account.sources.size).toBe(0)
  })

  test('an hour has rows for a thousand sources; the others are counted together', () => {
    const account = new StreamAccount()
    const names = Array.from({ length: sourcesPerHourMax + 5 }, (_, index) => `s${index}`)
    account.note(
      names.map((name) => batch(1, name)),
      none,
    )
    account.note([batch(1, 's0'), batch(1, names.at(-1)), batch(1), batch(1, names.at(-1), hourMs)], none)
    const rows = account.uncommitted()
    expect(rows).toHaveLength(sourcesPerHourMax + 3)
    expect(rows.find(({ source }) => source === otherSources)?.accepted).toBe(6)
    expect(account.nameOf('s0', 0)).toBe('s0')
    expect(account.nameOf(names.at(-1)!, 0)).toBe(otherSources)
    expect(account.nameOf(names.at(-1)!, 1)).toBe(names.at(-1))
    expect(account.nameOf(null, 0)).toBeNull()
  })

  test('remembers a bounded number of sources, whatever is sent', () => {
    const account = new StreamAccount()
    for (let index = 0; index < 10_000; index++) account.note([batch(1, `s${index}`, index)], none)
    expect(account.sources.size).toBeLessThan(2000)
    expect(account.sources.has('s9999')).toBe(true)
  })
})

/** A batch of the model's log, and what becomes of its events. */
interface ModelBatch {
  source: 'a' | 'b' | undefined
  hour: number
  fates: ('loaded' | 'repeat' | 'dead')[]
}

type Step =
  | { do: 'load'; batches: number }
  | { do: 'flush'; answer: 'given' | 'lost' | 'refused' }
  | { do: 'other engine commits'; batches: number }
  | { do: 'foreign commit' }
  | { do: 'restart' }

/** A stream's table reduced to positions and account, with the rules of `StreamTable`. A position is a number of batches. */
class Model {
  readonly #lake: Lake = memoryLake()
  readonly #log: readonly ModelBatch[]
  readonly account = new StreamAccount()
  table: LoadedTable
  position = 0
  #frozen: FrozenRows | undefined

  static async open(log: readonly ModelBatch[]): Promise<Model> {
    const model = new Model(log, { name: 'trades', version: 0, metadata: emptyTable() })
    model.table = await model.#lake.catalog.create('trades', model.table.metadata)
    return model
  }

  private constructor(log: readonly ModelBatch[], table: LoadedTable) {
    this.#log = log
    this.table = table
  }

  async take(step: Step): Promise<void> {
    if (step.do === 'load') this.#load(step.batches)
    else if (step.do === 'flush') await this.#flush(step.answer)
    else if (step.do === 'restart') await this.#reload()
    else if (step.do === 'foreign commit') await this.#foreignCommit()
    else await this.#otherEngine(step.batches)
  }

  /** What the ledger has to say of all batches up to the position. */
  expected(): LedgerRow[] {
    return new LedgerSum(this.#log.slice(0, this.position).flatMap(rowOf)).rows()
  }

  async found(): Promise<LedgerRow[]> {
    const { rows } = await readLedger(this.#lake.store, this.table)
    return new LedgerSum([...rows, ...this.account.uncommitted()]).rows()
  }

  get checkpoint(): number {
    return Number(tablePositions(this.table.metadata).get(0) ?? 0n)
  }

  #load(count: number): void {
    const to = Math.min(this.position + count, this.#log.length)
    note(this.account, this.#log.slice(this.position, to))
    this.position = to
  }

  async #flush(answer: 'given' | 'lost' | 'refused'): Promise<void> {
    if (this.#frozen === undefined && this.position === this.checkpoint) return
    this.#frozen ??= {
      tables: [],
      columns: [],
      from: BigInt(this.checkpoint),
      to: BigInt(this.position),
      ledger: this.account.freeze(),
    }
    const frozen = this.#frozen
    const catalog = answering(this.#lake.catalog, answer)
    try {
      this.#adopt(await commit({ ...this.#lake, catalog }, this.table, frozen))
    } catch {
      const found = await outcomeOf(this.#lake.catalog, 'trades', frozen)
      if (found.outcome === 'made') this.#adopt(found.table)
      else if (found.outcome === 'overtaken') await this.#reload()
      else this.table = found.table!
    }
  }

  #adopt(table: LoadedTable): void {
    this.table = table
    this.account.adopted()
    this.#frozen = undefined
  }

  async #reload(): Promise<void> {
    this.table = (await this.#lake.catalog.load('trades'))!
    this.account.reset(this.table.metadata)
    this.#frozen = undefined
    this.position = this.checkpoint
  }

  async #foreignCommit(): Promise<void> {
    const now = (await this.#lake.catalog.load('trades'))!
    await this.#lake.catalog.commit(now, {
      ...now.metadata,
      properties: { ...now.metadata.properties, seen: String(now.version) },
    })
  }

  async #otherEngine(count: number): Promise<void> {
    const now = (await this.#lake.catalog.load('trades'))!
    const from = Number(tablePositions(now.metadata).get(0) ?? 0n)
    const to = Math.min(from + count, this.#log.length)
    const account = new StreamAccount()
    note(account, this.#log.slice(from, to))
    if (to === from) return
    await commit(this.#lake, now, {
      tables: [],
      columns: [],
      from: BigInt(from),
      to: BigInt(to),
      ledger: account.freeze(),
    })
  }
}

function note(account: StreamAccount, batches: readonly ModelBatch[]): void {
  const fates = batches.flatMap((each) => each.fates)
  const indexes = (fate: string): number[] => fates.flatMap((each, index) => (each === fate ? index : []))
  account.note(
    batches.map(({ fates: { length }, source, hour }) => batch(length, source, hour * hourMs, hour)),
    { repeats: indexes('repeat'), deadLetters: indexes('dead') },
  )
}

async function commit(lake: Lake, table: LoadedTable, { from, to, ledger }: FrozenRows): Promise<LoadedTable> {
  const request = { table, dataFiles: [], from: new Map([[0, from]]), to: new Map([[0, to]]), ledger: ledger! }
  return (await appendFiles(lake, request)).table
}

function answering(catalog: Catalog, answer: 'given' | 'lost' | 'refused'): Catalog {
  let silent = false
  return {
    tables: () => catalog.tables(),
    create: (...request) => catalog.create(...request),
    load: (name) => (silent ? Promise.reject(new Error('no answer')) : catalog.load(name)),
    commit: async (...request) => {
      if (answer === 'given') return catalog.commit(...request)
      silent = true
      if (answer === 'lost') await catalog.commit(...request)
      throw new Error('no answer')
    },
  }
}

function rowOf({ source, hour, fates }: ModelBatch): LedgerRow[] {
  const count = (fate: string): number => fates.filter((each) => each === fate).length
  const committed = count('loaded')
  const row = { source: source ?? null, hour, accepted: fates.length, committed }
  return fates.length === 0 ? [] : [{ ...row, deduplicated: count('repeat'), deadLettered: count('dead') }]
}

test('the ledger balances after any interleaving of loads, flushes, lost answers, conflicts and restarts (I6)', async () => {
  const modelBatch = fc.record({
    source: fc.constantFrom('a' as const, 'b' as const, undefined),
    hour: fc.integer({ min: 0, max: 2 }),
    fates: fc.array(fc.constantFrom('loaded' as const, 'repeat' as const, 'dead' as const), { maxLength: 4 }),
  })
  const step = fc.oneof(
    fc.record({ do: fc.constant('load' as const), batches: fc.integer({ min: 1, max: 4 }) }),
    fc.record({
      do: fc.constant('flush' as const),
      answer: fc.constantFrom('given' as const, 'lost' as const, 'refused' as const),
    }),
    fc.record({ do: fc.constant('other engine commits' as const), batches: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ do: fc.constant('foreign commit' as const) }),
    fc.record({ do: fc.constant('restart' as const) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(modelBatch, { maxLength: 30 }), fc.array(step, { maxLength: 25 }), async (log, steps) => {
      const model = await Model.open(log)
      for (const each of steps) {
        await model.take(each)
        expect(await model.found()).toEqual(model.expected())
      }
      const { totals, rows } = await readLedger(memoryLake().store, model.table)
      expect(new LedgerSum(rows).totals()).toEqual(totals)
      const reported = log.slice(0, model.checkpoint).flatMap(({ source }) => source ?? [])
      expect(new Set(tableSources(model.table.metadata).keys())).toEqual(new Set(reported))
    }),
    { numRuns: 200 },
  )
})
