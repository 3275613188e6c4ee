/**
 * A real DuckDB whose every statement is a step of the world, so that it runs alone and its time does not matter. Statements may be
 * changed on their way, which is how some bugs are planted. Databases of processes that have ended are emptied and used again: to
 * open one takes longer than most lives of a simulated engine.
 */
import { mkdirSync } from 'node:fs'
import type { DuckDBConnection } from '@duckdb/node-api'
import { createGenerations, Database, tailSchema, type DatabaseOptions } from '../../../src/engine/duckdb.ts'
import type { MachineProcess } from './machine.ts'
import { scratchRoot } from './scratch-root.ts'

/** Methods of connections, statements and results that do work. */
const working: ReadonlySet<PropertyKey> = new Set([
  'run',
  'runAndRead',
  'runAndReadAll',
  'runAndReadUntil',
  'stream',
  'streamAndRead',
  'streamAndReadAll',
  'prepare',
  'extractStatements',
  'fetchChunk',
  'fetchAllChunks',
  'getRows',
  'getRowObjects',
  'getRowObjectsJson',
  'getRowsJson',
  'getColumns',
])

/** Of these, what a reader (all of whose rows are here) answers at once. */
const instant: ReadonlySet<PropertyKey> = new Set([
  'getRows',
  'getRowObjects',
  'getRowObjectsJson',
  'getRowsJson',
  'getColumns',
])

export interface SimulatedDatabase {
  database: Database
  /** A connection whose statements are no steps: what checks use. */
  oracle: DuckDBConnection
}

interface Spare {
  database: Database
  connect: () => Promise<DuckDBConnection>
}

const spares: Spare[] = []
let emptying: Promise<unknown> = Promise.resolve()

/** Resolves when the databases of ended processes have been emptied. */
export async function databasesAtRest(): Promise<void> {
  await emptying
}

async function takeSpare(options: DatabaseOptions): Promise<Spare> {
  await emptying
  const spare = spares.pop()
  if (spare !== undefined) return spare
  const database = await Database.open(options)
  return { database, connect: database.connect.bind(database) }
}

async function empty(spare: Spare, connections: readonly DuckDBConnection[]): Promise<void> {
  for (const connection of connections) connection.closeSync()
  const connection = await spare.connect()
  for (const schema of [tailSchema, 'freshet']) {
    await connection.run(`DROP SCHEMA ${schema} CASCADE`)
    await connection.run(`CREATE SCHEMA ${schema}`)
  }
  await connection.run(createGenerations)
  connection.closeSync()
  spares.push(spare)
}

/** @param change what becomes of a statement's text */
export async function openDatabase(
  process: MachineProcess,
  options: DatabaseOptions,
  change: (sql: string) => string,
): Promise<SimulatedDatabase> {
  const { world, realDir } = process.machine
  mkdirSync(options.tmpDir, { recursive: true })
  const everywhere = { ...options, tmpDir: scratchRoot(), lakeDir: scratchRoot(), logDir: scratchRoot() }
  const spare = await world.native(process, 'open database', () => takeSpare(everywhere))
  const { database, connect } = spare
  const connections: DuckDBConnection[] = []
  const opened = async (): Promise<DuckDBConnection> => {
    const connection = await connect()
    connections.push(connection)
    return connection
  }
  const label = (method: PropertyKey, text: unknown): string => {
    if (typeof text !== 'string') return String(method)
    return `${String(method)} ${text.replaceAll(realDir, '').slice(0, 48)}`
  }
  const simulated = <Target extends object>(target: Target): Target =>
    new Proxy(target, {
      get(object, name) {
        const value: unknown = Reflect.get(object, name, object)
        if (typeof value !== 'function') return value
        const method = value as (...args: unknown[]) => unknown
        if (!working.has(name)) return method.bind(object)
        if (instant.has(name) && object.constructor.name === 'DuckDBResultReader') return method.bind(object)
        return (first: unknown, ...rest: unknown[]) => {
          const argument = typeof first === 'string' ? change(first) : first
          const args = first === undefined ? [] : [argument, ...rest]
          const act = async (): Promise<unknown> => {
            const result: unknown = await method.apply(object, args)
            return wrappable(result) ? simulated(result) : result
          }
          return world.native(process, label(name, first), act)
        }
      },
    })
  database.connect = () => world.native(process, 'connect', opened).then(simulated)
  const oracle = await world.native(process, 'connect', opened)
  process.onEnd.push(() => {
    emptying = emptying.then(() => empty(spare, connections))
    world.hold(emptying)
  })
  // The engine closes its database when it stops: that is left to the end of the process.
  database.close = () => {}
  return { database, oracle }
}

function wrappable(result: unknown): result is object {
  if (typeof result !== 'object' || result === null) return false
  return /^DuckDB(Result|MaterializedResult|PreparedStatement|ExtractedStatements|ResultReader)$/.test(
    result.constructor.name,
  )
}
