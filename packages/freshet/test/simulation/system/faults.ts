/** What goes wrong in a world, and how often: each seed has its own mix. */
import { dirname } from 'node:path'
import type { Catalog } from '../../../src/lake/catalog.ts'
import type { FileCatalog } from '../../../src/lake/file-catalog/file-catalog.ts'
import { FreshetError } from '../../../src/runtime/errors.ts'
import type { Call, Fate } from '../simulated-file-system.ts'
import type { Checks } from './checks.ts'
import type { Machine, MachineProcess } from './machine.ts'
import type { Owner, World } from './world.ts'

/** Calls that may fail on their own. Removals and truncations are what repairs a failure; they may fail too, but seldom. */
const failing: ReadonlySet<Call> = new Set([
  'open',
  'write',
  'sync',
  'syncDir',
  'rename',
  'link',
  'remove',
  'truncate',
  'readFile',
])

export class Faults {
  readonly #world: World
  readonly #machine: Machine
  readonly #checks: Checks
  readonly #count: (what: string) => void
  /** Per 100,000 steps. */
  readonly #kills: number
  readonly #powerCuts: number
  /** Per 10,000 calls. */
  readonly #deaths: number
  readonly #failures: number
  readonly #failedSyncs: number
  readonly #lostCommits: number
  #on = false

  constructor(machine: Machine, checks: Checks, count: (what: string) => void) {
    const { world } = machine
    this.#world = world
    this.#machine = machine
    this.#checks = checks
    this.#count = count
    this.#kills = world.pick([0, 30, 80])
    this.#powerCuts = world.pick([0, 20, 50])
    this.#deaths = world.pick([0, 3, 8])
    this.#failures = world.pick([0, 0, 10, 40])
    this.#failedSyncs = world.pick([0, 0, 100, 400])
    this.#lostCommits = world.pick([0, 0, 150, 400])
  }

  begin(): void {
    this.#on = true
    this.#machine.interference = (process, call, path) => this.#fateOf(process, call, path)
    this.#world.beforeStep = (owner) => this.#beforeStep(owner)
  }

  end(): void {
    this.#on = false
    this.#machine.disk.capacityBytes = Number.POSITIVE_INFINITY
  }

  #beforeStep(owner: Owner): void {
    // Those that died within a call.
    for (const process of this.#machine.processes) if (process.ended) process.end()
    if (!this.#on || owner.name === 'client') return
    if (this.#world.random.integer(100_000) < this.#kills) {
      const alive = this.#machine.processes.filter(({ ended }) => !ended)
      if (alive.length > 0) this.#kill(this.#world.pick(alive))
    }
    if (this.#world.random.integer(100_000) < this.#powerCuts) this.powerCut()
  }

  #kill(process: MachineProcess): void {
    this.#world.note(`kill ${process.name}`)
    this.#count('kills')
    process.end()
    this.#machine.forgetEnded()
  }

  /** A disk that fails often takes the machine with it. */
  #cutPowerSoon(): void {
    const disk: Owner = { name: 'disk', ended: false }
    this.#world.after(disk, 'gives up', this.#world.random.integer(150), () => {
      if (this.#on) this.powerCut()
    })
  }

  powerCut(): void {
    this.#world.note('power cut')
    this.#count('powerCuts')
    this.#machine.powerCut()
    this.#world.hold(this.#checks.afterPowerCut().catch((error: unknown) => this.#world.fail(error)))
  }

  #fateOf(process: MachineProcess, call: Call, path: string): Fate {
    const { random } = this.#world
    if (!this.#on) return 'goes on'
    if (random.integer(10_000) < this.#deaths) {
      const fate = this.#world.pick(['dies before', 'dies within', 'dies after'] as const)
      this.#world.note(`${process.name} ${fate} ${call} ${path}`)
      this.#count('kills')
      return fate
    }
    const syncs = call === 'sync' || call === 'syncDir'
    // Power that goes just before something becomes durable tells most.
    if (syncs && random.integer(100_000) < this.#powerCuts * 20) {
      this.powerCut()
      return 'dies before'
    }
    if (failing.has(call) && random.integer(10_000) < (syncs ? this.#failedSyncs : this.#failures)) {
      const code = this.#world.pick(['EIO', 'ENOSPC'])
      this.#world.note(`${process.name} ${call} ${path} fails with ${code}`)
      this.#count(syncs ? 'failedSyncs' : 'failedCalls')
      if (syncs && this.#world.chance(300)) this.#cutPowerSoon()
      return { fails: code }
    }
    return 'goes on'
  }

  /** The disk is full for a while; the clock is set back, or forward. */
  async mischief(owner: Owner, until: () => boolean): Promise<void> {
    const { random } = this.#world
    while (!until()) {
      await this.#world.sleep(owner, 'mischief', 300 + random.integer(4000))
      if (until()) return
      if (random.integer(3) === 0) {
        this.#count('fullDisks')
        this.#machine.disk.capacityBytes = this.#machine.disk.usedBytes + random.integer(6000)
        await this.#world.sleep(owner, 'full disk', random.integer(1500))
        this.#machine.disk.capacityBytes = Number.POSITIVE_INFINITY
      } else if (random.integer(2) === 0) {
        this.#count('clockJumps')
        this.#machine.movedMs += (random.integer(2) - 0.7) * random.integer(7200) * 1000
      }
    }
  }

  /** A catalog whose answers to commits are lost now and then, or come as a conflict because the request was made twice. */
  losing(catalog: FileCatalog): FileCatalog {
    const lossy: Catalog = {
      tables: () => catalog.tables(),
      load: (name) => catalog.load(name),
      create: (name, metadata) => catalog.create(name, metadata),
      commit: async (base, next) => {
        const committed = await catalog.commit(base, next).catch((error: unknown) => {
          if (error instanceof FreshetError && error.code === 'commit_conflict') this.#count('conflicts')
          throw error
        })
        this.#count('commits')
        if (!this.#on || !this.#world.chance(this.#lostCommits)) return committed
        this.#count('lostCommitAnswers')
        if (this.#world.chance(500)) throw new Error('the answer to the commit was lost')
        return catalog.commit(base, next)
      },
    }
    return lossy as FileCatalog
  }
}

/** The stream whose table a metadata file belongs to; undefined for any other file. */
export function tableOf(path: string): string | undefined {
  return /\/v\d+\.metadata\.json$/.test(path) ? dirname(dirname(path)).split('/').at(-1) : undefined
}
