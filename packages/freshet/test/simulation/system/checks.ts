/** What must hold of the simulated disk: after each commit, before each trim, after each power cut. */
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { deadLettersOf } from '../../../src/events/dead-letter.ts'
import { tablePositions } from '../../../src/lake/metadata.ts'
import type { LoadedTable } from '../../../src/lake/catalog.ts'
import { readManifestList } from '../../../src/lake/manifest.ts'
import { planScan } from '../../../src/lake/scan.ts'
import { keyOf } from '../../../src/lake/table-paths.ts'
import type { ObjectStore } from '../../../src/storage/object-store.ts'
import type { Plan } from '../../../src/config/plan.ts'
import { messageOf } from '../../../src/runtime/errors.ts'
import { ConsumerRecords } from '../../../src/streams/consumer-records.ts'
import { floorOf } from '../../../src/streams/place.ts'
import { consumersOf } from '../../../src/streams/plan-consumers.ts'
import { readEnd } from '../../../src/log/file/durable-end.ts'
import { SimulatedFile } from '../simulated-file.ts'
import { consumersDir, lakeDir, logDir, type Machine } from './machine.ts'
import { batchesIn, eventsIn, list, type StreamModel } from './model.ts'
import { isPoison } from './worker-host.ts'
import { storedLake, storedView } from './stored-view.ts'
import { crc32 } from 'node:zlib'
import { Violation } from './world.ts'

let reader: Promise<DuckDBConnection> | undefined

/** A DuckDB of the checks' own, shared by all worlds of this process. */
export function checkingDatabase(): Promise<DuckDBConnection> {
  reader ??= DuckDBInstance.create(':memory:', { threads: '1' }).then((instance) => instance.connect())
  return reader
}

interface Segment {
  base: number
  bytes: Buffer
}

export class Checks {
  readonly #machine: Machine
  readonly #models: ReadonlyMap<string, StreamModel>
  readonly #plan: Pick<Plan, 'streams' | 'sinks'>
  /** Values of data files that were read before. */
  readonly #values = new Map<string, number[]>()
  /** By table, as it is and as it would be after a power cut: the snapshots that need a file, by its key, in one version of the table. */
  readonly #needed = new Map<string, { version: number; byKey: ReadonlyMap<string, bigint[]> }>()

  constructor(machine: Machine, models: ReadonlyMap<string, StreamModel>, plan: Pick<Plan, 'streams' | 'sinks'>) {
    this.#plan = plan
    this.#machine = machine
    this.#models = models
  }

  /** I3, I5: the rows of a table's current snapshot are the events below its positions; every live file is there. */
  async table(model: StreamModel): Promise<{ position: number; rows: number }> {
    const { catalog, store } = storedLake(this.#machine)
    const table = await catalog.load(model.name)
    if (table === undefined) return { position: 0, rows: 0 }
    const position = Number(tablePositions(table.metadata).get(0) ?? 0n)
    const { files } = await planScan(store, table)
    const rows: number[] = []
    for (const { key, recordCount, bytes } of files) {
      const stored = this.#machine.disk.entry(`${lakeDir}/${key}`)
      if (!(stored instanceof SimulatedFile))
        throw new Violation('I3', `${model.name}: the data file ${key} of a live manifest is not there`)
      if (stored.length !== bytes)
        throw new Violation(
          'I3',
          `${model.name}: the data file ${key} has ${stored.length} bytes, its manifest says ${bytes}`,
        )
      const found = await this.#rowsOf(key)
      if (found.length !== recordCount)
        throw new Violation(
          'I3',
          `${model.name}: the data file ${key} has ${found.length} rows, its manifest says ${recordCount}`,
        )
      rows.push(...found)
    }
    if (!model.isBoundary(position))
      throw new Violation('I3', `${model.name}: the table is at ${position}, where no batch ends`)
    const staying = model.checkRows(rows, `${model.name}, table at ${position}`)
    const expected = model.distinctBelow(position)
    if (staying !== expected)
      throw new Violation(
        'I3',
        `${model.name}: the table is at ${position} with ${staying} rows, below it are ${expected} events`,
      )
    model.checkLetters(await this.#unloaded(model.name), position)
    return { position, rows: staying }
  }

  /** Where the events start that could not be loaded, by the letters of their stream. */
  async #unloaded(stream: string): Promise<number[]> {
    const { logged, stored } = await this.#letters(stream, /^\{"_event_id":"load:(\d+)"/gm, 'load', 'position')
    return [...logged, ...stored]
  }

  /** The events that the function of a transform failed at, by the letters of the stream that it makes. */
  async #failed(stream: string): Promise<Set<number>> {
    const inEvent = `regexp_extract(event, '"n":(\\d+)', 1)`
    const { logged, stored } = await this.#letters(
      stream,
      /^\{"_event_id":"transform:.*\\"n\\":(\d+)/gm,
      'transform',
      inEvent,
    )
    const twice = stored.filter((n, index) => stored.indexOf(n) !== index)
    if (twice.length > 0) throw new Violation('I5', `${stream}: there are two letters of ${list(twice)}`)
    return new Set([...logged, ...stored])
  }

  /**
   * A number of each letter of a stream, in the log of the letters and in their table.
   * @param inLog finds it in a line
   * @param inTable says it in SQL
   */
  async #letters(
    stream: string,
    inLog: RegExp,
    stage: string,
    inTable: string,
  ): Promise<{ logged: number[]; stored: number[] }> {
    const name = deadLettersOf(stream)
    const text = this.#segments(name).map(({ bytes }) => bytes.toString('utf8'))
    const logged = text.flatMap((segment) => [...segment.matchAll(inLog)].map(([, found]) => Number(found)))
    const { catalog, store } = storedLake(this.#machine)
    const table = await catalog.load(name)
    const files = table === undefined ? [] : (await planScan(store, table)).files
    const stored: number[] = []
    for (const { key } of files) stored.push(...(await this.#valuesOf(key, inTable, `stage = '${stage}'`)))
    return { logged, stored }
  }

  /** Where a table is. */
  async position(stream: string): Promise<number> {
    const table = await storedLake(this.#machine).catalog.load(stream)
    return table === undefined ? 0 : Number(tablePositions(table.metadata).get(0) ?? 0n)
  }

  async positions(): Promise<ReadonlyMap<string, number>> {
    const positions = new Map<string, number>()
    for (const name of this.#models.keys()) positions.set(name, await this.position(name))
    return positions
  }

  /** Where readers are told that a stream's log ends. */
  logEnd(stream: string): number {
    return readEnd(storedView(this.#machine), logDir, stream, 0) ?? 0
  }

  #rowsOf(key: string): Promise<number[]> {
    return this.#valuesOf(key, 'n')
  }

  async #valuesOf(key: string, value: string, condition = 'true'): Promise<number[]> {
    const place = `${key} ${value}`
    const known = this.#values.get(place)
    if (known !== undefined) return known
    const connection = await checkingDatabase()
    try {
      const result = await connection.runAndReadAll(
        `SELECT ${value} FROM read_parquet('${join(this.#machine.mirrorDir, key)}') WHERE ${condition}`,
      )
      const rows = result.getRows().map(([found]) => Number(found))
      this.#values.set(place, rows)
      return rows
    } catch (error) {
      throw new Violation('I3', `the data file ${key} cannot be read: ${String(error).slice(0, 200)}`)
    }
  }

  /** I3, I7: nothing is removed that is needed, or would be after a power cut right now. */
  async beforeRemove(path: string): Promise<void> {
    if (path.startsWith(`${lakeDir}/`)) return this.#beforeLakeRemove(path.slice(lakeDir.length + 1))
    return this.#beforeTrim(path)
  }

  /** No snapshot that a table has needs the file. */
  async #beforeLakeRemove(key: string): Promise<void> {
    const name = key.split('/')[0]!
    if (!this.#models.has(name)) return
    for (const durable of [false, true]) {
      const { catalog, store } = storedLake(this.#machine, durable)
      const table = await catalog.load(name)
      if (table === undefined) continue
      const when = durable ? 'after a power cut' : 'now'
      for (const snapshot of await this.#needing(table, store, key, durable))
        throw new Violation('I3', `${name}: ${key} is removed, which the snapshot ${snapshot} needs ${when}`)
    }
  }

  /** The snapshots of a table that need a file. What they need is looked up once for each state of the table. */
  async #needing(table: LoadedTable, store: ObjectStore, key: string, durable: boolean): Promise<bigint[]> {
    const place = `${table.name} ${durable ? 'durable' : 'now'}`
    let known = this.#needed.get(place)
    if (known?.version !== table.version) {
      const byKey = new Map<string, bigint[]>()
      for (const snapshot of table.metadata.snapshots) {
        const id = snapshot['snapshot-id']
        const listKey = keyOf(table, snapshot['manifest-list'])
        const manifests = await readManifestList(store, listKey)
        const { files } = await planScan(store, table, { snapshot })
        const keys = [listKey, ...manifests.map(({ path }) => keyOf(table, path)), ...files.map((file) => file.key)]
        for (const one of keys) byKey.set(one, [...(byKey.get(one) ?? []), id])
      }
      known = { version: table.version, byKey }
      this.#needed.set(place, known)
    }
    return known.byKey.get(key) ?? []
  }

  /** What is removed from the log is below what the tables would hold after a power cut right now. */
  async #beforeTrim(path: string): Promise<void> {
    const match = /^\/data\/log\/([^/]+)\/0\/(\d+)\.ndjson$/.exec(path)
    if (match === null) return
    const stream = match[1]!
    const base = Number(match[2])
    const next = this.#segments(stream).find((segment) => segment.base > base)?.base ?? Number.POSITIVE_INFINITY
    const position = await this.#durablePosition(stream)
    if (next > position)
      throw new Violation(
        'I7',
        `${stream}: the segment from ${base} to ${next} is removed, the table is durable up to ${position}`,
      )
    const held = await this.consumersAt(stream, true)
    if (held !== undefined && next > held)
      throw new Violation(
        'I7',
        `${stream}: the segment from ${base} to ${next} is removed, a consumer is durably at ${held}`,
      )
  }

  /** How far the consumers of a stream are; undefined when it has none. */
  async consumersAt(stream: string, durable = false): Promise<number | undefined> {
    const records = new ConsumerRecords(consumersDir, storedView(this.#machine, durable))
    const consumers = consumersOf(this.#plan).get(stream) ?? []
    let least: number | undefined
    for (const consumer of consumers) {
      const record = await records.read(consumer).catch((error: unknown) => {
        throw new Violation('I10', messageOf(error))
      })
      least = Math.min(least ?? Infinity, record === undefined ? 0 : Number(floorOf(record.place)))
    }
    return least
  }

  async #durablePosition(stream: string): Promise<number> {
    const table = await storedLake(this.#machine, true).catalog.load(stream)
    return table === undefined ? 0 : Number(tablePositions(table.metadata).get(0) ?? 0n)
  }

  /** I1, I2, I3 right after a power cut, before anything has recovered. */
  async afterPowerCut(): Promise<void> {
    this.#values.clear()
    this.#needed.clear()
    for (const model of this.#models.values()) {
      const { position } = await this.table(model)
      const segments = this.#segments(model.name)
      const oldest = segments[0]?.base ?? position
      if (oldest > position)
        throw new Violation('I7', `${model.name}: the log begins at ${oldest}, the table is at ${position}`)
      for (const { from, to, checksum } of model.batchesFrom(oldest)) {
        if (crc32(bytesAt(segments, from, to)) !== checksum)
          throw new Violation('I2', `${model.name}: a reader saw the batch at ${from}, and the power cut took it back`)
      }
      const kept = new Set(segments.flatMap(({ bytes }) => batchesIn(bytes).flatMap((batch) => eventsIn(batch.bytes))))
      const lost = [...model.acknowledged].filter((n) => !kept.has(n) && !model.wasRead(n, position))
      if (lost.length > 0)
        throw new Violation('I1', `${model.name}: the power cut took events that were acknowledged: ${list(lost)}`)
    }
  }

  #segments(stream: string): Segment[] {
    const folder = `${logDir}/${stream}/0`
    const view = storedView(this.#machine)
    const entry = this.#machine.disk.entry(folder)
    if (entry === undefined || entry instanceof SimulatedFile) return []
    const names = [...entry.entries.keys()].filter((name) => name.endsWith('.ndjson')).toSorted()
    return names.map((name, index) => {
      const base = Number(name.slice(0, 20))
      const next = names[index + 1]
      const bytes = view.readNow(`${folder}/${name}`)!
      return { base, bytes: next === undefined ? bytes : bytes.subarray(0, Number(next.slice(0, 20)) - base) }
    })
  }

  /** What was made of a stream is made of each of its events, or there is a letter of it: once, as the tables show. */
  async #derived(): Promise<void> {
    for (const { name, transform } of Object.values(this.#plan.streams)) {
      if (transform === undefined) continue
      const sent = [...this.#models.get(transform.from)!.everRead]
      const made = this.#models.get(name)!.everRead
      const failed = await this.#failed(name)
      const lacking = sent.filter((n) => !(isPoison(n) ? failed : made).has(n))
      const strange = [...made, ...failed].filter((n) => !sent.includes(n) || isPoison(n) !== failed.has(n))
      if (lacking.length > 0 || strange.length > 0)
        throw new Violation('derived', `${name}: ${list(lacking)} lack and ${list(strange)} should not be there`)
    }
  }

  /** At the very end: everything acknowledged is in the table, which is all that the log ever held. */
  async end(): Promise<void> {
    await this.#derived()
    for (const model of this.#models.values()) {
      const { position, rows } = await this.table(model)
      const lost = [...model.acknowledged].filter((n) => !model.wasRead(n, model.end))
      if (lost.length > 0) throw new Violation('I1', `${model.name}: acknowledged and not in the log: ${list(lost)}`)
      if (!model.isWhole(position, this.logEnd(model.name)) || rows !== model.distinct)
        throw new Violation(
          'I10',
          `${model.name}: at the end the table is at ${position} of ${model.end} with ${rows} of ${model.distinct} rows`,
        )
    }
  }
}

function bytesAt(segments: readonly Segment[], from: number, to: number): Buffer {
  const segment = segments.findLast(({ base }) => base <= from)
  return segment === undefined ? Buffer.alloc(0) : segment.bytes.subarray(from - segment.base, to - segment.base)
}
