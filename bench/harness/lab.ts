/** Where a benchmark works: folders, servers, generators and tasks that all end with it, however it ends. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  freePort,
  spawnServer,
  waitFor,
  waitUntilReady,
  type ServerProcess,
} from '../../examples/quickstart/server-process.ts'
import { ChildTasks } from './child-task.ts'
import { Corpus } from './corpus.ts'
import type { DuckDbResult, DuckDbSpec } from './duckdb-task.ts'
import type { LimitServerSpec } from './limit-server.ts'
import type { LoadResult, LoadSpec } from './load-run.ts'
import { SqlClient } from './sql-client.ts'

const configs = {
  committing: new URL('../config/committing.config.ts', import.meta.url),
  holding: new URL('../config/holding.config.ts', import.meta.url),
  smallFiles: new URL('../config/small-files.config.ts', import.meta.url),
  asked: new URL('../config/asked.config.ts', import.meta.url),
  transforming: new URL('../config/transforming.config.ts', import.meta.url),
}
const engineWithinMs = 120_000

export interface Server {
  port: number
  /** Pid of the process that was started: the supervisor, or the one role. */
  pid: number
  sql: SqlClient
  stop(): Promise<void>
}

export interface ServerSpec {
  config: keyof typeof configs
  dataDir: string
  role?: 'gateway' | 'engine' | 'worker'
  /** Port of the gateway; a free one unless given. */
  port?: number
}

interface Stoppable {
  stop(): Promise<void>
}

export class Lab {
  readonly quick: boolean
  readonly corpus = new Corpus()
  readonly #root: string
  readonly #say: (line: string) => void
  readonly #started: Stoppable[] = []

  /** @param options.root folder for everything the benchmark writes */
  constructor(options: { quick: boolean; root: string; say: (line: string) => void }) {
    this.quick = options.quick
    this.#root = options.root
    this.#say = options.say
  }

  /** Tells the reader how far it is. */
  say(line: string): void {
    this.#say(line)
  }

  /** A new empty folder, there until the benchmarks end. */
  folder(name: string): string {
    mkdirSync(this.#root, { recursive: true })
    return mkdtempSync(join(this.#root, `${name}-`))
  }

  /** Deletes a folder before the end: the benchmarks fill gigabytes. */
  removeFolder(path: string): void {
    rmSync(path, { recursive: true, force: true, maxRetries: 3 })
  }

  /** Starts a server, or one role of it; a gateway is ready when this returns, an engine after `untilAnswering`, a worker when it says so itself. */
  async startServer(spec: ServerSpec): Promise<Server> {
    const port = spec.port ?? (await freePort(0))
    const server: ServerProcess = spawnServer({
      config: fileURLToPath(configs[spec.config]),
      dataDir: spec.dataDir,
      port,
      logFile: join(spec.dataDir, `${spec.role ?? 'server'}.log`),
      ...(spec.role === undefined ? {} : { role: spec.role }),
    })
    const sql = new SqlClient(port)
    this.#started.push(server)
    if (spec.role === undefined || spec.role === 'gateway') await waitUntilReady(server)
    return {
      port,
      pid: server.pid,
      sql,
      stop: async () => {
        sql.close()
        await server.stop()
      },
    }
  }

  /** A server whose queries work. */
  async startWholeServer(spec: Omit<ServerSpec, 'role' | 'port'>): Promise<Server> {
    const server = await this.startServer(spec)
    await untilAnswering(server.sql)
    return server
  }

  startGenerator(): ChildTasks<LoadSpec, LoadResult> {
    return this.startTasks(new URL('./load-generator.ts', import.meta.url))
  }

  /** Starts a limit server. */
  async startLimitServer(spec: LimitServerSpec): Promise<{ port: number; pid: number }> {
    const tasks = this.startTasks<LimitServerSpec, number>(new URL('./limit-server.ts', import.meta.url))
    return { port: await tasks.run(spec), pid: tasks.pid }
  }

  startDuckDb(): ChildTasks<DuckDbSpec, DuckDbResult> {
    return this.startTasks(new URL('./duckdb-task.ts', import.meta.url))
  }

  /** Starts a child process that runs `module`, which calls `serveTasks`. */
  startTasks<Spec, Result>(module: URL): ChildTasks<Spec, Result> {
    const tasks = new ChildTasks<Spec, Result>(module)
    this.#started.push(tasks)
    return tasks
  }

  /** Stops whatever is still running, last first. */
  async close(): Promise<void> {
    for (const running of this.#started.splice(0).toReversed()) await running.stop()
  }
}

/** Waits until the engine answers queries. */
export async function untilAnswering(sql: SqlClient): Promise<void> {
  await waitFor('the engine to answer', engineWithinMs, () => sql.answers())
}
