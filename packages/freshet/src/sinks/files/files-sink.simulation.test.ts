import { describe, expect, test } from 'vitest'
import { MemoryBucket } from '../../../test/conformance/memory-object-store.ts'
import { HandTimers, sinkDeps, sinkEvent } from '../../../test/support/sink-lab.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import { SimulatedBucket } from '../../../test/simulation/simulated-bucket.ts'
import {
  SimulatedDisk,
  type Fate,
  type Interfere,
  type SimulatedProcess,
} from '../../../test/simulation/simulated-file-system.ts'
import { SimulatedFile } from '../../../test/simulation/simulated-file.ts'
import { SimulatedFolder } from '../../../test/simulation/simulated-folder.ts'
import type { Random } from '../../runtime/random.ts'
import type { Sink, SinkEvent } from '../sink.ts'
import { filesKind } from './files-sink.ts'
import { filesSettings } from './settings.ts'
import type { FilesState } from './state.ts'

const hourMs = 3_600_000
const startMs = Date.UTC(2026, 10, 20, 20, 29)

/** Five batches of three events; with four events a segment, two of the cuts are within a batch. */
const batches: SinkEvent[][] = Array.from({ length: 5 }, (_, batch) =>
  Array.from({ length: 3 }, (_event, at) => sinkEvent(`e${batch * 3 + at}`, { kind: `k${at % 2}` })),
)
const ids = batches.flat().map(({ id }) => id)

class Ended extends Error {}

const places = ['folder', 'bucket'] as const
type Place = (typeof places)[number]

/** A disk and a bucket from which somebody takes files whenever they are looked at, and a runner that delivers what is not delivered yet. */
class Life {
  readonly disk: SimulatedDisk
  readonly bucket = new MemoryBucket()
  readonly place: Place
  readonly #random: Random
  /** What was taken away, by path, in order. */
  readonly taken: { path: string; text: string }[] = []
  nowMs = startMs

  constructor(place: Place, seed: number) {
    this.place = place
    this.#random = seededRandom(seed)
    this.disk = new SimulatedDisk(seededRandom(seed), {
      wait: async () => undefined,
      ended: () => Promise.reject(new Ended()),
    })
  }

  async open(process: SimulatedProcess): Promise<{ sink: Sink; timers: HandTimers }> {
    const timers = new HandTimers()
    const place = this.place === 'folder' ? { folder: 'out' } : { s3: { bucket: 'events' } }
    const words = { ...place, name: '{fields.kind}/{sequence}.{ext}', events: 4, done: true }
    const clock = { nowMs: () => this.nowMs }
    const openBucket = async () => new SimulatedBucket(this.bucket, process, this.#random)
    const more = {
      baseDir: '/',
      ownFolder: ownFolders.bucket,
      openBucket,
      fileSystem: process,
      clock,
      timers,
      random: this.#random,
    }
    return { sink: await filesKind.open(sinkDeps('files', filesSettings, words, more)), timers }
  }

  /** Delivers from the sink's own checkpoint on; what fails is tried again, as the runner does. */
  async run(process: SimulatedProcess): Promise<void> {
    const { sink } = await this.#again(process, () => this.open(process))
    await this.#again(process, async () => {
      // Asked anew after each failure, as by the runner.
      const from = Number((await sink.checkpoint()) || '0')
      for (let batch = from; batch < batches.length; batch++) await sink.deliver(batches[batch]!, String(batch + 1))
    })
    this.nowMs += hourMs
    await this.#again(process, () => sink.deliver([], String(batches.length)))
    // What could not be written then is tried again by the next one.
    await this.#again(process, () => sink.deliver([], String(batches.length)))
    await sink.close()
  }

  async #again<Result>(process: SimulatedProcess, act: () => Promise<Result>): Promise<Result> {
    for (let tries = 1; ; tries++) {
      try {
        return await act()
      } catch (error) {
        if (process.ended || tries === 3) throw error
      }
    }
  }

  /** What may be put once more is left: what the state names as not done. */
  #takeObjects(): void {
    const state = this.disk.entry(`${ownFolders.bucket}/state.json`)
    const { staged } =
      state instanceof SimulatedFile
        ? (JSON.parse(state.read(0, state.length).toString()) as FilesState)
        : { staged: null }
    const unsure = new Set((staged?.files ?? []).flatMap(({ path }) => [path, `${path}.done`]))
    for (const [path, object] of this.bucket.objects) {
      if (unsure.has(path)) continue
      this.taken.push({ path, text: object.toString() })
      this.bucket.objects.delete(path)
    }
  }

  /** Takes away what is in place: durably, as another program would. Markers have to stand beside what they mark. */
  take(): void {
    if (this.place === 'bucket') this.#takeObjects()
    const out = this.disk.entry('/out')
    if (!(out instanceof SimulatedFolder)) return
    for (const [folder, entries] of out.entries) {
      if (!(entries instanceof SimulatedFolder) || folder.startsWith('.')) continue
      for (const [name, file] of entries.entries) {
        if (name.startsWith('.') || !(file instanceof SimulatedFile)) continue
        this.taken.push({ path: `${folder}/${name}`, text: file.read(0, file.length).toString() })
        this.disk.delete(`/out/${folder}/${name}`)
      }
    }
  }
}

const ownFolders: Readonly<Record<Place, string>> = { folder: '/out/.freshet-out', bucket: '/data/sinks/out' }

/** Everything that holds in the end. */
function expectEachOnce({ taken, disk, place, bucket }: Life): void {
  const data = taken.filter(({ path }) => !path.endsWith('.done'))
  const markers = taken.filter(({ path }) => path.endsWith('.done'))
  const found = data
    .flatMap(({ text }) => text.trimEnd().split('\n'))
    .map((line) => JSON.parse(line) as { _event_id: string })
  expect(found.map(({ _event_id }) => _event_id).toSorted()).toEqual(ids.toSorted())
  for (const { path, text } of data) {
    const positions = [...text.matchAll(/"_event_id":"e(\d+)"/g)].map(([, number]) => Number(number))
    expect(positions).toEqual(positions.toSorted((a, b) => a - b))
    expect(path).toMatch(/^k[01]\/0000000[1-9]\.ndjson$/)
  }
  expect(markers.map(({ path }) => path).toSorted()).toEqual(data.map(({ path }) => `${path}.done`).toSorted())
  const left = [...disk.folder(ownFolders[place]).entries.keys()]
  expect(left).toEqual(['state.json'])
  expect([...bucket.objects.keys()]).toEqual([])
  if (place === 'bucket') expect(disk.entry('/out')).toBeUndefined()
  else for (const folder of ['k0', 'k1']) expect([...disk.folder(`/out/${folder}`).entries.keys()]).toEqual([])
}

/** Lets the call with a number meet its fate, and all others go on. */
function atCall(number: number, fate: Fate): { interfere: Interfere; calls: () => number } {
  let calls = 0
  return { interfere: () => (calls++ === number ? fate : 'goes on'), calls: () => calls }
}

async function callsOfOneLife(place: Place): Promise<number> {
  const life = new Life(place, 1)
  const { interfere, calls } = atCall(-1, 'goes on')
  await life.run(life.disk.process(interfere))
  life.take()
  expectEachOnce(life)
  return calls()
}

describe.each(places)('each event is in one file of a %s, whichever call', (place) => {
  const fates: readonly Fate[] = ['dies before', 'dies within', 'dies after']

  test.each(fates)('is the one that the process %s', async (fate) => {
    for (let call = 0, calls = await callsOfOneLife(place); call < calls; call++) {
      const life = new Life(place, call)
      const process = life.disk.process(atCall(call, fate).interfere)
      await expect(life.run(process), `call ${call}`).rejects.toBeInstanceOf(Ended)
      // Taken at once: what is in place must not be put there again.
      life.take()
      await life.run(life.disk.process())
      life.take()
      expectEachOnce(life)
    }
  })

  test.each(fates)('is the one that it %s, and the power fails', async (fate) => {
    for (let call = 0, calls = await callsOfOneLife(place); call < calls; call++) {
      for (const seed of [1, 2]) {
        const life = new Life(place, call * 10 + seed)
        const process = life.disk.process(atCall(call, fate).interfere)
        await expect(life.run(process), `call ${call}`).rejects.toBeInstanceOf(Ended)
        life.disk.powerCut()
        await life.run(life.disk.process())
        life.take()
        expectEachOnce(life)
      }
    }
  })

  test.each(['EIO', 'ENOSPC'])('fails with %s', async (fails) => {
    for (let call = 0, calls = await callsOfOneLife(place); call < calls; call++) {
      const life = new Life(place, call)
      await life.run(life.disk.process(atCall(call, { fails }).interfere))
      life.disk.powerCut()
      // What could only not be removed is removed by the next one.
      await life.run(life.disk.process())
      life.take()
      expectEachOnce(life)
    }
  })

  test('are those of several lives in a row', async () => {
    for (let seed = 0; seed < 80; seed++) {
      const life = new Life(place, seed)
      const random = seededRandom(seed)
      for (let lives = 0; lives < 6; lives++) {
        const process = life.disk.process(atCall(random.integer(60), fates[random.integer(3)]!).interfere)
        await life.run(process).catch((error: unknown) => {
          if (!process.ended) throw error
        })
        if (random.integer(2) === 0) life.disk.powerCut()
        else process.kill()
      }
      await life.run(life.disk.process())
      life.take()
      expectEachOnce(life)
    }
  })
})
