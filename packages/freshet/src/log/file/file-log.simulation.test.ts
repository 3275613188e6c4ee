/**
 * Several producers append to a file log on a disk that fails and loses power, processes are killed and started again, and a
 * reader in another process follows. Everything is repeatable from the seed in the test's name.
 */
import { describe, expect, test } from 'vitest'
import { batch, idsIn, idsOf, numbered, openLog, partitionDir, recorder } from '../../../test/simulation/log-fixture.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import { SimulatedDisk, type Fate, type SimulatedProcess } from '../../../test/simulation/simulated-file-system.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { AppendBatch } from '../log.ts'
import type { FileLog } from './file-log.ts'

const seeds = Array.from({ length: 200 }, (_, seed) => seed)
const rounds = 6
const producers = ['a', 'b', 'c']
const batchesEach = 14

class World {
  readonly random
  readonly disk
  readonly segmentBytes
  /** Positions behind batches that were acknowledged, by the batch's first event. */
  readonly acknowledged = new Map<string, bigint>()
  /** Batches without marks that were refused by a process that lived on: they must never appear. */
  readonly refused = new Set<string>()
  readonly next = new Map(producers.map((id) => [id, 0]))
  /** What the reader has read, and where from. */
  readonly read: { ids: string[]; from: bigint; to: bigint }[] = []
  position = 0n
  process!: SimulatedProcess
  log!: FileLog
  reader!: FileLog
  unmarked = 0
  readonly trouble = recorder()

  constructor(seed: number) {
    this.random = seededRandom(seed)
    this.disk = new SimulatedDisk(this.random)
    this.segmentBytes = 300 + this.random.integer(1500)
  }

  chance(percent: number): boolean {
    return this.random.integer(100) < percent
  }

  async start(): Promise<void> {
    this.process = this.disk.process()
    this.log = await openLog(this.process, { segmentBytes: this.segmentBytes, logger: this.trouble.logger })
    this.reader = await openLog(this.disk.process(), { mode: 'read' })
  }

  /** From now on each step may end the process or fail. */
  misbehave(): void {
    const deadly = this.chance(70) ? 1 + this.random.integer(3) : 0
    const faulty = this.chance(40) ? 1 + this.random.integer(8) : 0
    this.process.interfere((call, path): Fate => {
      if (this.chance(deadly)) return (['dies before', 'dies within', 'dies after'] as const)[this.random.integer(3)]!
      // Opening anew after a failure waits for real time: left to tests of their own.
      const failing =
        path.startsWith(partitionDir) &&
        (call === 'write' || call === 'sync' || call === 'syncDir' || call === 'rename')
      if (failing && this.chance(faulty)) return { fails: this.chance(50) ? 'EIO' : 'ENOSPC' }
      return 'goes on'
    })
  }

  /** One append, sent again until it is acknowledged or its process ends. */
  async append(one: AppendBatch, key: string): Promise<boolean> {
    for (let attempt = 0; attempt < 4 && !this.process.ended; attempt++) {
      try {
        const { position, duplicate } = await this.log.append('trades', one)
        // A repeat's position is the end of the log, not the batch's own.
        if (!this.acknowledged.has(key)) this.acknowledged.set(key, duplicate ? -1n : position)
        return true
      } catch (error) {
        if (!(error instanceof FreshetError)) throw error
        if (!one.producer && !this.process.ended) {
          // Where cutting back failed too and power is lost next, nobody can know what the disk kept.
          if (!error.message.includes('cut back')) this.refused.add(key)
          return false
        }
      }
    }
    return false
  }

  async produce(id: string): Promise<void> {
    const window = 1 + this.random.integer(3)
    while (!this.process.ended && this.next.get(id)! < batchesEach) {
      const first = this.next.get(id)!
      const numbers = Array.from({ length: Math.min(window, batchesEach - first) }, (_, index) => first + index)
      if (this.chance(50)) numbers.reverse()
      // Some numbers are sent twice at once, and some once more after they were acknowledged.
      const again = this.chance(30) ? [numbers[0]!] : []
      const before = this.chance(20) && first > 0 ? [this.random.integer(first)] : []
      const done = await Promise.all(
        [...numbers, ...again, ...before].map((sequence) => this.append(numbered(id, sequence), `${id}:${sequence}`)),
      )
      if (done.every(Boolean)) this.next.set(id, first + numbers.length)
      else if (!this.process.ended) return
    }
  }

  async produceUnmarked(): Promise<void> {
    for (let index = 0; index < 3 && !this.process.ended; index++) {
      const name = `unmarked:${this.unmarked++}`
      await this.append(batch(name), name)
    }
  }

  /** Reads on, as the engine does: what was read once stays where it is. */
  async follow(): Promise<void> {
    for (;;) {
      const chunk = await this.reader.read('trades', 0, this.position, 1 + this.random.integer(6000))
      if (chunk.next === this.position) return
      const ids = idsOf(chunk.bytes)
      if (ids.length !== chunk.count) throw new Error(`a chunk of ${chunk.count} events holds ${ids.length}`)
      this.read.push({ ids, from: this.position, to: chunk.next })
      this.position = chunk.next
    }
  }
}

/** Runs a whole life and checks what must hold of it. */
async function run(seed: number): Promise<'holds'> {
  const world = new World(seed)
  await world.start()
  for (let round = 0; round < rounds; round++) {
    world.misbehave()
    const reading = (async () => {
      for (let turn = 0; turn < 30 && !world.process.ended; turn++) {
        await new Promise(setImmediate)
        await world.follow()
      }
    })()
    await Promise.all([...producers.map((id) => world.produce(id)), world.produceUnmarked(), reading])
    if (world.chance(30)) await world.reader.trim('trades', new Map([[0, world.position]]))
    if (world.chance(50)) world.disk.powerCut()
    else world.process.kill()
    await world.start()
  }
  for (const id of producers) await world.produce(id)
  await world.follow()

  const ids = world.read.flatMap((chunk) => chunk.ids)
  expect(new Set(ids).size, 'no event is there twice').toBe(ids.length)
  for (const id of producers) {
    expect(world.next.get(id)).toBe(batchesEach)
    for (let sequence = 0; sequence < batchesEach; sequence++) {
      expect(ids, 'what was acknowledged, or reported as a repeat, is there').toEqual(
        expect.arrayContaining(idsIn(numbered(id, sequence))),
      )
    }
  }
  for (const name of world.refused) expect(ids, 'what was refused is not there').not.toContain(`${name}/0`)
  for (const [name, position] of world.acknowledged) {
    expect(ids).toContain(`${name}/1`)
    const chunk = world.read.find((one) => one.ids.includes(`${name}/0`))!
    if (position < 0n) continue
    expect(position > chunk.from && position <= chunk.to, `${name} lies before its position`).toBe(true)
  }
  const placed = [...world.acknowledged]
    .filter(([, position]) => position >= 0n)
    .toSorted((a, b) => Number(a[1] - b[1]))
  const order = placed.map(([name]) => ids.indexOf(`${name}/0`))
  expect(order, 'positions are in the order of the events').toEqual(order.toSorted((a, b) => a - b))
  // What is left after trims reads the same as it did the first time.
  const names = await world.disk.process().readDir(partitionDir)
  const oldest = BigInt(names.find((name) => name.endsWith('.ndjson'))!.slice(0, 20))
  const start = world.read.findIndex((chunk) => chunk.from >= oldest)
  if (start >= 0) {
    const again = await openLog(world.disk.process(), { mode: 'read' })
    let at = world.read[start]!.from
    const reread: string[] = []
    while (at < world.position) {
      const chunk = await again.read('trades', 0, at, 2000)
      reread.push(...idsOf(chunk.bytes))
      at = chunk.next
    }
    expect(reread).toEqual(world.read.slice(start).flatMap((chunk) => chunk.ids))
  }
  expect(await world.log.streams()).toEqual(['trades'])
  const alarms = world.trouble.reported
    .map(({ message }) => message)
    .filter((message) => /damaged|gap|gone/.test(message))
  expect(alarms, 'a crash is not taken for damage').toEqual([])
  return 'holds'
}

describe('appends, crashes, power cuts, failing disks and trims (I1, I2, I7, I10)', () => {
  test.each(Array.from({ length: 10 }, (_, index) => index * 20))(
    'acknowledged batches are there once and in order, seeds %i and the 19 after it',
    async (firstSeed) => {
      for (const seed of seeds.slice(firstSeed, firstSeed + 20)) {
        await expect(run(seed), `seed ${seed}`).resolves.toBe('holds')
      }
    },
  )
})
