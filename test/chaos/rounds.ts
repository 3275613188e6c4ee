/**
 * Rounds of real faults: a server under load, of which processes are killed or stopped at moments drawn from a seed. It has to come
 * back by itself, with everything that was acknowledged, each event once, and nothing that was seen may be gone from SQL at any
 * moment. Every ten rounds begin in a new folder, so that a table of thousands of small files does not slow the run.
 */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { seededRandom } from '../../packages/freshet/test/simulation/seeded-random.ts'
import type { FreshetProcess } from '../freshet-process.ts'
import { query, serverStatus } from '../e2e/support/api.ts'
import { Scene } from '../e2e/support/scene.ts'
import { until } from '../e2e/support/until.ts'
import { checkBalance, checkEnd, checkSnapshots, checkTrim } from './checks.ts'
import { config, Load, streamNames, type Progress } from './load.ts'
import { RoundPlanner, type Role, type RoundPlan } from './round-plan.ts'

export interface ChaosOptions {
  rounds: number
  seed: number
  say: (line: string) => void
}

export interface ChaosSummary {
  rounds: number
  kills: number
  /** Milliseconds from each deed to the first answer to SQL after it. */
  answeredMs: number[]
  /** ... until everything acknowledged before it had been seen in SQL. */
  visibleMs: number[]
  events: number
  /** Answers that were checked, and how many of them said that they are behind. */
  reads: number
  readsBehind: number
}

const roundsInFolder = 10
/** How long a round waits for the moment it was drawn. */
const momentMs = 1500
/** How long an engine that lost its supervisor stays frozen while another server starts. */
const orphanedMs = 1000

/** @throws Error with the seed, the round and the folder, which is kept, when an invariant does not hold */
export async function runChaos({ rounds, seed, say }: ChaosOptions): Promise<ChaosSummary> {
  const summary = { rounds, kills: 0, answeredMs: [], visibleMs: [], events: 0, reads: 0, readsBehind: 0 }
  const random = seededRandom(seed)
  for (let first = 0; first < rounds; first += roundsInFolder) {
    const part = new Part(await Scene.create('chaos', config), new RoundPlanner(random), summary)
    let round = first
    try {
      await part.begin()
      for (; round < Math.min(rounds, first + roundsInFolder); round++) {
        say(`round ${String(round + 1).padStart(3)}  ${await part.round()}`)
      }
      say(`           ${await part.end()}`)
    } catch (error) {
      const output = part.output()
      await part.close(true)
      const message = error instanceof Error ? error.message : String(error)
      throw new Error(`round ${round + 1} of seed ${seed}: ${message}\nthe folder is kept: ${part.folder}\n${output}`, {
        cause: error,
      })
    }
    await part.close(false)
  }
  return summary
}

/** The rounds that share a folder. */
class Part {
  readonly #scene: Scene
  readonly #planner: RoundPlanner
  readonly #summary: ChaosSummary
  readonly #frozen = new Set<number>()
  #server: FreshetProcess | undefined
  #load: Load | undefined

  constructor(scene: Scene, planner: RoundPlanner, summary: ChaosSummary) {
    this.#scene = scene
    this.#planner = planner
    this.#summary = summary
  }

  get folder(): string {
    return this.#scene.folder
  }

  /** What the newest server said last. */
  output(): string {
    return this.#server?.output.slice(-3000) ?? ''
  }

  async begin(): Promise<void> {
    const { url } = this.#scene
    this.#server = await this.#scene.serve()
    this.#load = new Load(url)
    await until('all streams are in SQL', async () => {
      const { streams } = await serverStatus(url)
      return streamNames.every((name) => (streams.find((stream) => stream.name === name)?.rows ?? 0) > 0)
    })
    this.#load.watch()
    await this.#load.progress()
  }

  /** @returns what was done and how it went */
  async round(): Promise<string> {
    const { url } = this.#scene
    const load = this.#load!
    const plan = this.#planner.next()
    await delay(plan.afterMs)
    await this.#awaitMoment(plan.moment)
    const pids = await this.#pids()
    const before = load.acknowledged()
    const startedAt = performance.now()
    await this.#strike(plan, pids)
    const [answered, visible] = await this.#recovery(plan, pids, before, startedAt)
    await load.progress()
    await checkTrim(this.#scene)
    await checkSnapshots(url)
    await checkBalance(url)
    this.#summary.answeredMs.push(answered)
    this.#summary.visibleMs.push(visible)
    const events = [...load.producers].map(([stream, { acknowledged }]) => `${stream} ${acknowledged.size}`)
    return (
      `${textOf(plan)}; SQL answered after ${seconds(answered)}, with everything after ${seconds(visible)}; ` +
      events.join(', ')
    )
  }

  /** Checks the whole: by `freshet verify` under load, then in SQL, and by `freshet verify` again on the folder that the server leaves. */
  async end(): Promise<string> {
    const load = this.#load!
    await this.#verify()
    const refusals = (await load.stop()).filter((refusal) => !refusal.startsWith('503'))
    if (refusals.length > 0) throw new Error(`producers were refused: ${refusals.join(', ')}`)
    await checkEnd(this.#scene, load)
    await this.#server!.stop('SIGTERM')
    await this.#verify()
    this.#server = await this.#scene.serve()
    await checkEnd(this.#scene, load)
    let events = 0
    for (const { acknowledged } of load.producers.values()) events += acknowledged.size
    for (const { reads, readsBehind } of load.watchers.values()) {
      this.#summary.reads += reads
      this.#summary.readsBehind += readsBehind
    }
    this.#summary.events += events
    return `all ${events} events are there once; the folder is sound`
  }

  async close(keep: boolean): Promise<void> {
    for (const pid of this.#frozen) signal(pid, 'SIGCONT')
    await this.#load?.abandon()
    await this.#scene.close({ keep })
  }

  async #verify(): Promise<void> {
    const verify = this.#scene.run(['verify'])
    const code = await verify.ended()
    if (code !== 0) throw new Error(`freshet verify ended with ${code}:\n${verify.output}`)
  }

  async #pids(): Promise<Map<Role, number>> {
    const pids = new Map<Role, number>()
    await until('every process runs', async () => {
      const { processes } = await serverStatus(this.#scene.url)
      for (const { role, pid } of processes) pids.set(role as Role, pid)
      return processes.length === 3 && processes.every(({ state }) => state === 'running')
    })
    return pids
  }

  async #awaitMoment(moment: RoundPlan['moment']): Promise<void> {
    const { dataDir } = this.#scene
    const deadline = performance.now() + momentMs
    const metadata = join(dataDir, 'lake', streamNames[0]!, 'metadata')
    const changed = moment === 'commit' ? statSync(metadata).mtimeMs : 0
    const isTime = (): boolean => {
      if (moment === 'any') return true
      if (moment === 'commit') return statSync(metadata).mtimeMs !== changed
      return readdirSync(join(dataDir, 'tmp')).some((name) => name.endsWith('.parquet'))
    }
    while (!isTime() && performance.now() < deadline) await delay(1)
  }

  async #strike({ deed, roles, frozenMs }: RoundPlan, pids: ReadonlyMap<Role, number>): Promise<void> {
    if (deed === 'freeze') {
      for (const role of roles) this.#freeze(pids.get(role)!)
      await delay(frozenMs)
      return this.#thaw()
    }
    if (deed === 'orphan') this.#freeze(pids.get('engine')!)
    for (const role of deed === 'orphan' ? (['supervisor'] as const) : roles) {
      signal(pids.get(role)!, 'SIGKILL')
      this.#summary.kills++
    }
    if (!roles.includes('supervisor')) return
    const serving = this.#scene.serve()
    serving.catch(() => undefined)
    if (deed === 'orphan') {
      await delay(orphanedMs)
      this.#thaw()
    }
    this.#server = await serving
  }

  /** Milliseconds from `startedAt` until SQL is answered, by none of the processes that were killed, and until all of `before` was seen. */
  async #recovery(
    { deed, roles }: RoundPlan,
    pids: ReadonlyMap<Role, number>,
    before: Progress,
    startedAt: number,
  ): Promise<[number, number]> {
    await until('SQL is answered again', async () => {
      const answer = await query(this.#scene.url, 'SELECT 1').catch(() => undefined)
      if (answer?.status !== 200) return false
      if (deed === 'freeze') return true
      const { processes } = await serverStatus(this.#scene.url).catch(() => ({ processes: [] }))
      return roles.every((role) => {
        const now = processes.find((one) => one.role === role)
        return now !== undefined && now.pid !== pids.get(role) && now.pid !== 0
      })
    })
    const answeredMs = performance.now() - startedAt
    await until('everything that was acknowledged is in SQL', async () => {
      for (const watcher of this.#load!.watchers.values()) await watcher.progress(1)
      return this.#load!.hasSeen(before)
    })
    return [answeredMs, performance.now() - startedAt]
  }

  #freeze(pid: number): void {
    signal(pid, 'SIGSTOP')
    this.#frozen.add(pid)
  }

  #thaw(): void {
    for (const pid of this.#frozen) signal(pid, 'SIGCONT')
    this.#frozen.clear()
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    // Its supervisor was killed a moment before, and it has left by itself.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function textOf({ deed, roles, afterMs, moment, frozenMs }: RoundPlan): string {
  const when = `after ${afterMs} ms${moment === 'any' ? '' : `, during a ${moment}`}`
  if (deed === 'freeze') return `${roles.join(' and ')} frozen for ${frozenMs} ms ${when}`
  if (deed === 'orphan') return `engine frozen, supervisor killed and another server started ${when}`
  return `killed ${roles.join(' and ')} ${when}`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}
