/** I5: a run says of every id whether it holds it, by the id itself, and a damaged one is never believed. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { IdMemory } from './id-memory.ts'
import { IdTable } from './id-table.ts'
import { mergeRuns, writeRun } from './run-writer.ts'
import { Run, UnreadableRun, type Wanted } from './run.ts'
import { IdHash } from './scan.ts'

const seed = 77
let dir: string
let made = 0

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'freshet-run-'))
})

afterAll(() => {
  rmSync(dir, { recursive: true, force: true })
})

const newPath = (): string => join(dir, `${++made}.ids`)

/** Ids to look for, by their places in the list. `bits`: of how many bits the hashes are. */
class Ids implements Wanted {
  readonly low: Uint32Array
  readonly high: Uint32Array
  readonly #ids: readonly Buffer[]

  constructor(ids: readonly string[], bits = 32) {
    this.#ids = ids.map((id) => Buffer.from(id))
    const hashes = this.#ids.map((id) => {
      const hash = new IdHash(seed)
      hash.ofBytes(id, 0, id.length)
      const mask = bits === 32 ? 0xffff_ffff : (1 << bits) - 1
      return [(hash.low & mask) >>> 0, (hash.high & mask) >>> 0] as const
    })
    this.low = Uint32Array.from(hashes, ([low]) => low)
    this.high = Uint32Array.from(hashes, ([, high]) => high)
  }

  get all(): number[] {
    return this.#ids.map((_, index) => index)
  }

  same(index: number, bytes: Uint8Array, start: number, end: number): boolean {
    return this.#ids[index]!.equals(bytes.subarray(start, end))
  }

  table(): IdTable {
    const table = new IdTable()
    for (const [index, id] of this.#ids.entries()) {
      table.reserve(1, id.length)
      table.add(this.low[index]!, this.high[index]!, id, 0, id.length)
    }
    return table
  }
}

async function found(run: Run, wanted: Ids): Promise<number[]> {
  const indexes: number[] = []
  await run.find(wanted, run.suspects(wanted, wanted.all), (index) => indexes.push(index))
  return indexes.toSorted((a, b) => a - b)
}

const id = fc.oneof(
  fc.integer({ min: 0, max: 2000 }).map(String),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }),
  fc.integer({ min: 1, max: 512 }).map((length) => 'x'.repeat(length)),
)
const memories = fc.constantFrom(0, 2000, 1 << 30)

test('a run, written, opened again and merged, holds exactly its ids', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(id, { maxLength: 300 }),
      fc.array(id, { maxLength: 100 }),
      fc.constantFrom(0, 3, 32),
      memories,
      fc.integer({ min: 1, max: 3 }),
      async (held, others, bits, memoryBytes, parts) => {
        const memory = new IdMemory(memoryBytes)
        const bulk = Array.from({ length: bits === 32 ? parts * 900 : 0 }, (_, index) => `bulk ${index}`)
        const all = [...new Set([...held, ...bulk])]
        const wanted = new Ids([...others, ...all], bits)
        const known = new Set(all)
        const expected = wanted.all.filter((index) => known.has([...others, ...all][index]!))
        const runs: Run[] = []
        for (let part = 0; part < parts; part++) {
          const ids = new Ids(
            all.filter((_, index) => index % parts === part),
            bits,
          )
          runs.push(await writeRun(ids.table(), { path: newPath(), seed, memory, files: [`f${part}`] }))
        }
        const options = { path: newPath(), seed, memory, files: ['f'] }
        const merged = parts === 1 ? runs.pop()! : await mergeRuns(runs, options)
        expect(await found(merged, wanted)).toEqual(expected)
        merged.close()
        const again = Run.open(merged.path, seed, memory)!
        expect(again.shape.count).toBe(all.length)
        expect(await found(again, wanted)).toEqual(expected)
        for (const run of [...runs, again]) run.discard()
        expect(memory.bytes).toBe(0)
      },
    ),
    { numRuns: 60 },
  )
})

test('a run with one byte changed is refused, or says so when the page is read', async () => {
  const memory = new IdMemory(1 << 20)
  const ids = new Ids(Array.from({ length: 1000 }, (_, index) => `id ${index}`))
  const run = await writeRun(ids.table(), { path: newPath(), seed, memory, files: ['f'] })
  const whole = readFileSync(run.path)
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: whole.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const bytes = Buffer.from(whole)
      bytes[at] = bytes[at]! ^ change
      const path = newPath()
      writeFileSync(path, bytes)
      const opened = Run.open(path, seed, memory)
      if (opened === undefined) return
      await expect(found(opened, ids)).rejects.toThrow(UnreadableRun)
      opened.discard()
    }),
    { numRuns: 300 },
  )
  expect(Run.open(run.path, seed + 1, memory)).toBeUndefined()
  expect(await found(run, ids)).toHaveLength(1000)
  run.discard()
})

test('few ids that are not there get past the filter', async () => {
  const memory = new IdMemory(1 << 30)
  const ids = new Ids(Array.from({ length: 20_000 }, (_, index) => `id ${index}`))
  const run = await writeRun(ids.table(), { path: newPath(), seed, memory, files: ['f'] })
  const others = new Ids(Array.from({ length: 20_000 }, (_, index) => `no ${index}`))
  expect(run.suspects(others, others.all).length).toBeLessThan(300)
  // Without room for the filter it is read from disk, with the same result.
  const onDisk = Run.open(run.path, seed, new IdMemory(0))!
  expect(new Set(onDisk.suspects(others, others.all))).toEqual(new Set(run.suspects(others, others.all)))
  run.discard()
})
