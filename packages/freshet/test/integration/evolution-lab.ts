/** One stream, `people`, whose configuration changes from one start of the engine to the next. */
import type { Column, ColumnType, StreamPlan } from '../../src/config/plan.ts'
import type { LoadedTable } from '../../src/lake/catalog.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { currentSchema } from '../../src/lake/metadata.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { Lab, streamPlan, type EngineOptions, type LabEngine, type Row } from './engine-harness.ts'

export const text: ColumnType = { kind: 'string' }
export const long: ColumnType = { kind: 'long' }
export const int: ColumnType = { kind: 'int' }
export const struct = (...fields: Column[]): ColumnType => ({ kind: 'struct', fields })

export const timeColumn: Column = { name: 'at', type: { kind: 'timestamptz' } }

/** The stream with its id, its time and these columns. */
export function people(columns: Column[], more: Partial<StreamPlan> = {}): Record<string, StreamPlan> {
  return { people: streamPlan('people', { columns: [{ name: 'id', type: text }, timeColumn, ...columns], ...more }) }
}

export const timeOf = (hour: number): string => `2024-05-01T${String(hour % 24).padStart(2, '0')}:00:00Z`

export class EvolutionLab {
  readonly lab: Lab
  #engine: LabEngine | undefined

  static async open(): Promise<EvolutionLab> {
    return new EvolutionLab(await Lab.open())
  }

  private constructor(lab: Lab) {
    this.lab = lab
  }

  get engine(): LabEngine {
    return this.#engine!
  }

  /** Appends events to the log; `hour` is that of their time. */
  async post(...events: (Record<string, unknown> & { id: string; hour?: number })[]): Promise<void> {
    await this.lab.post(
      'people',
      events.map(({ hour = 1, ...fields }) => ({
        id: fields.id,
        time: timeOf(hour),
        fields: { ...fields, at: timeOf(hour) },
      })),
    )
  }

  async caughtUp(): Promise<void> {
    await this.engine.caughtUp('people')
  }

  /** Commits what is hot. */
  async stop(): Promise<void> {
    await this.#engine?.stop()
  }

  async start(options: EngineOptions): Promise<void> {
    this.#engine = await this.lab.start(options)
  }

  /** Commits what is hot, and starts with another configuration. */
  async restart(streams: Record<string, StreamPlan>): Promise<void> {
    await this.restartBehind(streams, async () => undefined)
  }

  /** Stops, adds events of before to the log, and starts with another configuration: these are a backlog then. */
  async restartBehind(streams: Record<string, StreamPlan>, backlog: () => Promise<void>): Promise<void> {
    await this.stop()
    await backlog()
    await this.start({ streams })
    await this.caughtUp()
  }

  rows(list: string, from = 'people'): Promise<Row[]> {
    return this.engine.sql(`select ${list} from ${from} order by id`)
  }

  async columnNames(): Promise<unknown[]> {
    return (await this.engine.sql('describe people')).map((row) => row['column_name'])
  }

  async deadLetters(): Promise<number> {
    return (await this.engine.letters('people')).length
  }

  async table(): Promise<LoadedTable> {
    const store = new LocalObjectStore({ root: this.lab.lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
    const rootLocation = `file://${this.lab.lakeDir}`
    return (await new FileCatalog({ store, rootLocation, logger: silentLogger }).load('people'))!
  }

  /** The field id of a column. */
  async idOf(name: string): Promise<number | undefined> {
    return currentSchema((await this.table()).metadata).fields.find((field) => field.name === name)?.id
  }

  async close(): Promise<void> {
    await this.lab.close()
  }
}
