/** The embedded database: one in-memory DuckDB, locked down before anything else runs on it. */
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { createCompleteThrough } from './query/complete-through.ts'
import { literal } from './sql-text.ts'

export interface DatabaseOptions {
  memoryBytes: number
  spillBytesMax: number
  threads: number
  /** Where it may spill, and where the engine writes its scratch files. */
  tmpDir: string
  /** Where the tables' data files are. */
  lakeDir: string
  /** Where a log may have files that are read in place. */
  logDir: string
}

/** Schema of the hot tables. It is on no search path, so that a name without schema never reaches one. */
export const tailSchema = 'tail'
/** Which state each stream is in: see shown-stream.ts. */
export const generationsTable = `${tailSchema}.generations`
/** Made once, right after the schema. */
export const createGenerations = `CREATE TABLE ${generationsTable} (stream VARCHAR NOT NULL, generation BIGINT NOT NULL)`

export class Database {
  readonly #instance: DuckDBInstance

  private constructor(instance: DuckDBInstance) {
    this.#instance = instance
  }

  /** The order matters: folders first, then no access beyond them, then no changes to any of it. */
  static async open(options: DatabaseOptions): Promise<Database> {
    const instance = await DuckDBInstance.create(':memory:', {
      threads: String(options.threads),
      memory_limit: `${Math.floor(options.memoryBytes / 1024)}KiB`,
      temp_directory: `${options.tmpDir}/spill`,
      max_temp_directory_size: `${Math.floor(options.spillBytesMax / 1024)}KiB`,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      preserve_insertion_order: 'false',
    })
    const database = new Database(instance)
    await database.with(async (connection) => {
      await connection.run(`CREATE SCHEMA ${tailSchema}`)
      await connection.run(createGenerations)
      await connection.run('CREATE SCHEMA freshet')
      await connection.run(createCompleteThrough)
      const folders = [options.tmpDir, options.lakeDir, options.logDir].map((folder) => literal(`${folder}/`))
      await connection.run(`SET allowed_directories = [${folders.join(', ')}]`)
      await connection.run("SET GLOBAL TimeZone = 'UTC'")
      await connection.run('SET enable_external_access = false')
      await connection.run('SET lock_configuration = true')
    })
    return database
  }

  /** A connection runs one statement at a time; whoever asks for one owns it until `closeSync`. */
  connect(): Promise<DuckDBConnection> {
    return this.#instance.connect()
  }

  /** Runs `work` on a connection of its own. */
  async with<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    const connection = await this.connect()
    try {
      return await work(connection)
    } finally {
      connection.closeSync()
    }
  }

  close(): void {
    this.#instance.closeSync()
  }
}

/** Runs `work` in a transaction. */
export async function transaction<T>(connection: DuckDBConnection, work: () => Promise<T>): Promise<T> {
  await connection.run('BEGIN')
  try {
    const result = await work()
    await connection.run('COMMIT')
    return result
  } catch (error) {
    await connection.run('ROLLBACK').catch(() => undefined)
    throw error
  }
}
