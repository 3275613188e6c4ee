/** One simulated life, from a seed: start, trouble, calm, end. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../../../src/runtime/errors.ts'
import { silentLogger, type Logger } from '../../../src/runtime/logging.ts'
import { Checks } from './checks.ts'
import { EngineHost } from './engine-host.ts'
import { people, SimulatedErasures } from './erasures.ts'
import { Faults, tableOf } from './faults.ts'
import { GatewayHost } from './gateway-host.ts'
import { Machine, type MachineProcess } from './machine.ts'
import { StreamModel, type LedgerLine } from './model.ts'
import { noBug, type Plant } from './plant.ts'
import { Producer, type Network } from './producers.ts'
import { scratchRoot } from './scratch-root.ts'
import { RollupChecks } from './rollup-checks.ts'
import { databasesAtRest } from './simulated-database.ts'
import { makePlan } from './streams.ts'
import { startWorker } from './worker-host.ts'
import { Violation, World, type Owner } from './world.ts'

export type Counts = Record<string, number>

export interface SeedResult {
  seed: number
  counts: Counts
  steps: number
  /** Hash of everything that happened. */
  digest: string
  /** Set when an invariant did not hold. */
  failure?: { invariant: string; message: string; trace: readonly string[] }
}

const stepsMax = 200_000
const batchesEach = 10
const actor: Owner = { name: 'world', ended: false }

export async function runSeed(seed: number, plant: Plant = noBug): Promise<SeedResult> {
  const folder = join(scratchRoot(), 'world')
  const life = new Life(seed, folder, plant)
  try {
    await life.run()
    return life.result()
  } catch (error) {
    return life.result(error)
  } finally {
    life.machine.endAll()
    await databasesAtRest()
    rmSync(folder, { recursive: true, force: true })
  }
}

class Life {
  readonly world: World
  readonly machine: Machine
  readonly #seed: number
  readonly #plant: Plant
  readonly #hasZombies: boolean
  readonly #plan
  readonly #models: ReadonlyMap<string, StreamModel>
  readonly #checks: Checks
  readonly #rollups: RollupChecks
  readonly #faults: Faults
  readonly #counts: Counts = {}
  readonly #engines = new Set<EngineHost>()
  readonly #erasures: SimulatedErasures
  #gateway: GatewayHost | undefined
  #over = false

  constructor(seed: number, folder: string, plant: Plant) {
    this.#seed = seed
    this.#plant = plant
    this.world = new World(seed)
    this.machine = new Machine(this.world, folder)
    this.#hasZombies = this.world.chance(500)
    this.#plan = makePlan(this.world, !this.#hasZombies, seed % 2 === 1)
    this.#models = new Map(Object.keys(this.#plan.streams).map((name) => [name, new StreamModel(name)]))
    this.#checks = new Checks(this.machine, this.#models, this.#plan)
    this.#rollups = new RollupChecks(this.machine, this.#plan.rollups)
    this.#faults = new Faults(this.machine, this.#checks, (what) => this.#count(what))
    this.machine.syncMsMax = this.world.pick([0, 5, 40])
    this.world.stepMsMax = this.world.pick([0.2, 1, 4])
    this.#erasures = new SimulatedErasures({
      world: this.world,
      machine: this.machine,
      models: this.#models,
      gateway: () => this.#gateway,
      engine: () => [...this.#engines].find(({ process }) => !process.ended),
      count: (what) => this.#count(what),
    })
    this.machine.beforeRemove = (_, path) => {
      if (path.endsWith('.ndjson')) this.#count('trimmedSegments')
      if (path.endsWith('.seen')) this.#count('rolledSegments')
      if (path.includes('/snap-')) this.#count('expiredSnapshots')
      if (path.startsWith('/data/lake/') && path.endsWith('.parquet')) this.#count('removedFiles')
      return this.#guard(this.#checks.beforeRemove(path))
    }
    this.machine.afterLink = async (_, path) => {
      await this.#guard(this.#checkTable(tableOf(path) ?? ''))
    }
  }

  async #checkTable(name: string): Promise<void> {
    const model = this.#models.get(name)
    if (model !== undefined) await this.#checks.table(model)
    await this.#rollups.table(name)
  }

  run(): Promise<void> {
    return this.world.run(this.#live(), stepsMax)
  }

  async #live(): Promise<void> {
    const setup = this.machine.start('setup')
    for (const path of ['/data/log', '/data/lake', '/data/tmp', '/data/run']) await setup.makeDir(path)
    setup.end()
    this.#faults.begin()
    const actors = [
      this.#keepGateway(),
      this.#keepEngine(),
      this.#keepWorker(),
      this.#faults.mischief(actor, () => this.#over),
      this.#query(),
      this.#zombies(),
      this.#erase(),
    ]
    for (const one of actors) one.catch((error: unknown) => this.world.fail(error))
    await this.#produce()
    this.#faults.end()
    this.#over = true
    await this.#calm()
  }

  async #produce(): Promise<void> {
    const { world } = this
    const network: Network = {
      world,
      gateway: () => this.#gateway,
      lossPerThousand: world.pick([0, 20, 100]),
      twicePerThousand: world.pick([0, 50, 200]),
      delayMsMax: world.pick([2, 20, 100]),
      count: (what) => this.#count(what),
      people,
      personPerThousand: this.#hasZombies ? 0 : world.pick([0, 150]),
    }
    let serial = 0
    const posted = Object.values(this.#plan.streams).filter(({ transform }) => transform === undefined)
    const producers = posted.flatMap((stream) => {
      const model = this.#models.get(stream.name)!
      const shared: { n: number; text: string }[] = []
      return (['sequence', 'key', 'none'] as const).map(
        (marks) =>
          new Producer(network, {
            stream,
            model,
            shared,
            name: `${stream.name}-${marks}`,
            marks,
            serial: () => ++serial,
          }),
      )
    })
    await Promise.all(producers.map((producer) => producer.run(batchesEach)))
  }

  async #keepGateway(): Promise<void> {
    for (;;) {
      const process = this.machine.start('gateway')
      await this.#alive(process, async () => {
        this.#gateway = await GatewayHost.start(process, this.#plan, this.#logger(process), this.#plant)
      })
      this.#gateway = undefined
      await this.world.sleep(actor, 'restart of the gateway', this.world.random.integer(200))
    }
  }

  async #keepEngine(): Promise<void> {
    for (;;) {
      await this.#runEngine('cache')
      await this.world.sleep(actor, 'restart of the engine', this.world.random.integer(200))
    }
  }

  async #keepWorker(): Promise<void> {
    if (Object.values(this.#plan.streams).every(({ transform }) => transform === undefined)) return
    for (;;) {
      const process = this.machine.start('worker')
      await this.#alive(process, () =>
        startWorker(process, {
          plan: this.#plan,
          logger: this.#logger(process),
          plant: this.#plant,
          gateway: () => this.#gateway,
        }),
      )
      await this.world.sleep(actor, 'restart of the worker', this.world.random.integer(200))
    }
  }

  async #runEngine(cache: string): Promise<void> {
    const process = this.machine.start('engine')
    let host: EngineHost | undefined
    await this.#alive(process, async () => {
      host = await EngineHost.start(process, {
        plan: this.#plan,
        logger: this.#logger(process),
        plant: this.#plant,
        models: this.#models,
        positions: await this.#checks.positions(),
        gateway: () => this.#gateway,
        cacheDir: join(this.machine.realDir, cache),
        wrapCatalog: (catalog) => this.#faults.losing(catalog),
      })
      this.#engines.add(host)
    })
    if (host !== undefined) this.#engines.delete(host)
  }

  /** Runs a process until it ends, by itself or by force. */
  async #alive(process: MachineProcess, start: () => Promise<void>): Promise<void> {
    this.#count('starts')
    await Promise.race([
      process.whenEnded,
      start().catch((error: unknown) => {
        if (error instanceof Violation) this.world.fail(error)
        this.world.note(`${process.name} cannot start: ${String(error)}`)
        process.end()
      }),
    ])
    await process.whenEnded
    this.machine.forgetEnded()
  }

  /** An engine beside the one that is kept: it was taken for dead. */
  async #zombies(): Promise<void> {
    if (!this.#hasZombies) return
    while (!this.#over) {
      await this.world.sleep(actor, 'zombie', 200 + this.world.random.integer(1500))
      if (this.#over) return
      this.#count('zombies')
      const running = this.#runEngine(`cache-${this.#counts['zombies']}`)
      await Promise.race([running, this.world.sleep(actor, 'end of a zombie', this.world.random.integer(4000))])
    }
  }

  /** An erasure is the only engine's: what a second one still holds is not known to it. */
  async #erase(): Promise<void> {
    if (!this.#hasZombies) await this.#erasures.run(() => this.#over)
  }

  async #query(): Promise<void> {
    while (!this.#over) {
      await this.world.sleep(actor, 'query', 30 + this.world.random.integer(400))
      const engines = [...this.#engines].filter(({ process }) => !process.ended)
      if (engines.length > 0) await this.#ask(this.world.pick(engines))
    }
  }

  async #ask(engine: EngineHost): Promise<void> {
    const model = this.world.pick([...this.#models.values()])
    this.#count('queries')
    const answer = async (): Promise<void> => {
      if (this.world.chance(100)) {
        const ledger = await engine.ledger(model.name)
        if (ledger !== undefined) model.checkLedger(ledger)
      }
      const from = await this.#visibleFrom(model, engine)
      const asked = this.world.chance(600) ? engine.glance(model.name) : engine.query(model.name)
      const rows = await asked.catch((error: unknown) => this.#staleAnswer(error))
      if (rows !== undefined) this.#checkAnswer(model, rows, from, engine)
    }
    await Promise.race([answer(), engine.process.whenEnded])
  }

  /** With two engines, one may expire files that the other still shows, again and again: an error, no wrong answer. */
  #staleAnswer(error: unknown): undefined {
    if (!this.#hasZombies || !String(error).includes('data file of the table is not there')) throw error
    this.#count('staleAnswers')
  }

  /** A position below which everything must be in an engine's answer. */
  async #visibleFrom(model: StreamModel, engine: EngineHost): Promise<number> {
    // With two engines, each shows at least what was there when it began: the other's commits it learns of later.
    if (this.#counts['zombies'] !== undefined) return engine.positions.get(model.name) ?? 0
    if (this.world.chance(100)) {
      const loaded = await engine.loaded(model.name)
      if (loaded !== undefined) return loaded
    }
    return this.#checks.position(model.name)
  }

  /** I4, I5: each event once, up to some batch that lies at `from` or behind. */
  #checkAnswer(model: StreamModel, rows: readonly number[], from: number, { process }: EngineHost): void {
    const what = `${model.name}, query of ${process.name}`
    const count = model.checkRows(rows, what)
    if (!model.countsFrom(from).has(count))
      throw new Violation(
        'I4',
        `${what}: ${count} rows, but ${from} bytes are loaded, with ${model.distinctBelow(from)} events`,
      )
  }

  /** I10: without trouble, everything started anew catches up with no help. */
  async #calm(): Promise<void> {
    const { world } = this
    if (world.chance(500)) this.#faults.powerCut()
    for (const process of this.machine.processes) if (process.role === 'engine') process.end()
    this.machine.forgetEnded()
    const begunMs = world.elapsedMs
    const deadlineMs = begunMs + 120_000
    for (;;) {
      await world.sleep(actor, 'wait for the end', 200)
      // An end of the log that could not be published is published a little later. What is never read is the final check's to find.
      const isRead = [...this.#models.values()].every((model) => model.isRead) || world.elapsedMs > begunMs + 10_000
      if (isRead && (await this.#isCaughtUp())) break
      if (world.elapsedMs > deadlineMs) throw new Violation('I10', 'the engine does not catch up')
    }
    await this.#erasures.settle()
    for (const model of this.#models.values()) {
      for (const engine of this.#engines) {
        const rows = await engine.glance(model.name)
        this.#checkAnswer(model, rows, model.end, engine)
        model.checkLedger(...(await this.#settledLedger(engine, model)))
      }
    }
    // It reads real files, which takes time: nothing else goes on meanwhile.
    await this.#guard(this.#checks.end())
  }

  /** The ledger once the engine has taken note of its last commit, and how many rows there are; retention may change both. */
  async #settledLedger(engine: EngineHost, model: StreamModel): Promise<[LedgerLine[], number]> {
    for (let tries = 0; ; tries++) {
      const before = await engine.glance(model.name)
      const ledger = (await engine.ledger(model.name)) ?? []
      const after = await engine.glance(model.name)
      const isSettled = before.length === after.length && ledger.every(({ inFlight }) => inFlight === 0)
      if (tries === 20 || isSettled) return [ledger, after.length]
      await this.world.sleep(actor, 'wait for the ledger', 200)
    }
  }

  async #isCaughtUp(): Promise<boolean> {
    const [engine] = this.#engines
    if (engine === undefined || this.#gateway === undefined) return false
    for (const { name, transform } of Object.values(this.#plan.streams)) {
      if (transform === undefined) continue
      if (((await this.#checks.consumersAt(transform.from)) ?? 0) < this.#checks.logEnd(transform.from)) return false
      if (this.#models.get(name)!.end < this.#checks.logEnd(name)) return false
    }
    for (const model of this.#models.values()) {
      if (!model.isWhole(await this.#checks.position(model.name), this.#checks.logEnd(model.name))) return false
    }
    return this.#rollups.areCurrent()
  }

  #guard(check: Promise<unknown>): Promise<void> {
    const guarded = check.then(
      () => undefined,
      (error: unknown) => this.world.fail(error),
    )
    this.world.hold(guarded)
    return guarded
  }

  #count(what: string): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + 1
  }

  /** Notes complaints in the trace. One of damage is a violation: nothing here damages what was synced. */
  #logger(process: MachineProcess): Logger {
    const note = (details: unknown, message?: string): void => {
      this.world.note(
        `${process.name} says: ${message ?? ''} ${JSON.stringify(details, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`.slice(
          0,
          400,
        ),
      )
      if (/damaged|has a gap|are gone/.test(message ?? ''))
        this.world.fail(new Violation('I10', `${process.name} reports: ${message}`))
    }
    const info = (details: unknown): void => {
      const { job } = details as { job?: string }
      if (job !== undefined) this.#count(`${job}Done`)
    }
    const logger: Logger = Object.assign(Object.create(silentLogger) as Logger, { error: note, warn: note, info })
    return logger
  }

  result(error?: unknown): SeedResult {
    const { world } = this
    const { steps, trace } = world
    const result = { seed: this.#seed, counts: this.#counts, steps, digest: world.digest() }
    if (error === undefined) return result
    if (error instanceof Violation)
      return { ...result, failure: { invariant: error.invariant, message: error.message, trace } }
    const message = (error instanceof Error && error.stack) || messageOf(error)
    return { ...result, failure: { invariant: 'error', message, trace } }
  }
}
