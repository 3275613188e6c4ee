/**
 * Simulated requests to erase a person's events, and what must hold once an erasure says that it is done: none of the events that came until
 * the request is in an answer, in a file of the lake, committed or not, or in the log; neither now nor after a power cut.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ErasureRecord } from '../../../src/engine/erasure/record.ts'
import type { FileSystem } from '../../../src/runtime/file-system.ts'
import { checkingDatabase } from './checks.ts'
import type { EngineHost } from './engine-host.ts'
import type { GatewayHost } from './gateway-host.ts'
import { erasuresDir, lakeDir, logDir, type Machine } from './machine.ts'
import type { StreamModel } from './model.ts'
import { storedView } from './stored-view.ts'
import { Violation, type Owner, type World } from './world.ts'

/** Whom events are of, some of them. */
export const people = ['person-a', 'person-b', 'person-c'] as const

export interface ErasuresWorld {
  world: World
  machine: Machine
  models: ReadonlyMap<string, StreamModel>
  gateway: () => GatewayHost | undefined
  engine: () => EngineHost | undefined
  count: (what: string) => void
}

interface Asked {
  id: string
  stream: string
  person: string
  untilMs: number
  checked: boolean
}

const outside: Owner = { name: 'client', ended: false }
const settledMsMax = 120_000

export class SimulatedErasures {
  readonly #options: ErasuresWorld
  readonly #asked: Asked[] = []

  constructor(options: ErasuresWorld) {
    this.#options = options
  }

  /** Asks now and then, and looks at those that are done. */
  async run(isOver: () => boolean): Promise<void> {
    const { world } = this.#options
    while (!isOver()) {
      await world.sleep(outside, 'erasure', 300 + world.random.integer(2500))
      await this.#look()
      if (!isOver()) await this.#ask()
    }
  }

  /** Waits for all that were asked for, and looks again at all of them. */
  async settle(): Promise<void> {
    const { world } = this.#options
    const deadlineMs = world.elapsedMs + settledMsMax
    // With stamps that a clock put back made early, events come that belong to what was erased: it goes on as long as they are in the log.
    if (!this.#areStampsTrue) return
    for (;;) {
      await this.#look()
      const left = this.#asked.filter(({ checked }) => !checked)
      if (left.length === 0) break
      if (world.elapsedMs > deadlineMs) {
        const waits = left.map(({ id, stream }) => `${id} of ${stream}, ${JSON.stringify(this.#recordOf(id))}`)
        throw new Violation('erasure', `not done: ${waits.join('; ')}`)
      }
      await world.sleep(outside, 'wait for erasures', 200)
    }
    for (const one of this.#asked) await this.#check(one)
  }

  get #areStampsTrue(): boolean {
    return this.#options.machine.movedMs === 0
  }

  async #ask(): Promise<void> {
    const { world, models, gateway, engine, count } = this.#options
    const { name: stream } = world.pick([...models.values()])
    const person = world.pick(people)
    const cut = await gateway()?.cutBehind(stream)
    if (cut === undefined) return
    const answer = await engine()?.erase(stream, { where: `who = '${person}'`, all: true, ...cut })
    if (answer === undefined) return
    count('erasures')
    this.#asked.push({ id: answer.id, stream, person, untilMs: cut.untilMs, checked: false })
  }

  /** What is on the disk of an erasure's record. */
  #recordOf(id: string): ErasureRecord | undefined {
    const bytes = storedView(this.#options.machine).readNow(`${erasuresDir}/${id}.json`)
    return bytes && (JSON.parse(bytes.toString()) as ErasureRecord)
  }

  async #look(): Promise<void> {
    for (const one of this.#asked) {
      if (one.checked || this.#recordOf(one.id)?.state !== 'done') continue
      one.checked = true
      this.#options.count('erasuresDone')
      await this.#check(one)
    }
  }

  async #check(asked: Asked): Promise<void> {
    const { machine, engine, world } = this.#options
    if (!this.#areStampsTrue) return
    const { id, stream, person, untilMs } = asked
    const what = `${stream}: the erasure ${id} of ${person} is done`
    for (const durable of [false, true]) {
      const view = storedView(machine, durable)
      const when = durable ? 'would be there after a power cut' : 'is there'
      const search = Promise.all([this.#inLog(view, asked), this.#inLake(view, asked)])
      world.hold(search)
      for (const place of (await search).flat()) throw new Violation('erasure', `${what}, and ${place} ${when}`)
    }
    const rows = await engine()?.glance(stream, `who = '${person}' AND epoch_ms(_received_at) <= ${untilMs}`)
    if (rows !== undefined && rows.length > 0)
      throw new Violation('erasure', `${what}, and a query shows ${rows.length} of its events`)
  }

  async #inLog(view: FileSystem, { stream, person, untilMs }: Asked): Promise<string[]> {
    const folder = `${logDir}/${stream}/0`
    const found: string[] = []
    for (const name of await view.readDir(folder)) {
      if (!name.endsWith('.ndjson')) continue
      const lines = (await view.readFile(`${folder}/${name}`)).toString('latin1').split('\n')
      const isMeant = (line: string): boolean => {
        const stamp = /"_received_at":"([^"]+)"/.exec(line)
        return line.includes(`"who":"${person}"`) && stamp !== null && Date.parse(stamp[1]!) <= untilMs
      }
      if (lines.some(isMeant)) found.push(`an event in ${folder}/${name}`)
    }
    return found
  }

  async #inLake(view: FileSystem, { stream, person, untilMs }: Asked): Promise<string[]> {
    const database = await checkingDatabase()
    const copy = join(this.#options.machine.realDir, 'erased.parquet')
    const found: string[] = []
    for await (const path of parquetBelow(view, `${lakeDir}/${stream}`)) {
      writeFileSync(copy, await view.readFile(path))
      const sql = `SELECT count(*) FROM read_parquet('${copy}') WHERE who = '${person}' AND epoch_ms(_received_at) <= ${untilMs}`
      // Not a whole file, or one without such a column.
      const rows = await database.runAndReadAll(sql).then(
        (result) => Number(result.getRows()[0]![0]),
        () => 0,
      )
      if (rows > 0) found.push(`the file ${path} with ${rows} of its events`)
    }
    return found
  }
}

async function* parquetBelow(view: FileSystem, folder: string): AsyncGenerator<string> {
  for (const { name, folder: isFolder } of await view.readEntries(folder)) {
    const path = `${folder}/${name}`
    if (isFolder) yield* parquetBelow(view, path)
    else if (name.endsWith('.parquet')) yield path
  }
}
