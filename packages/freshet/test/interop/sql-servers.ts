/** Real servers of SQL databases for tests, with data in a folder of their own: started, killed and started again. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createConnection, type Connection } from 'mysql2/promise'
import pg from 'pg'
import { freePort } from '../support/free-port.ts'
import { waitUntil } from './wait-until.ts'

const execute = promisify(execFile)
const password = 'secret'

interface Programs {
  bin: string
  /** The environment that its programs need. */
  env: NodeJS.ProcessEnv
  /** Where it was unpacked; '/' where the system has it. */
  root: string
}

async function programsOf(name: 'postgres' | 'mariadb'): Promise<Programs> {
  const script = fileURLToPath(new URL('setup-sql-servers.sh', import.meta.url))
  const { stdout } = await execute('sh', [script])
  const line = stdout.split('\n').find((one) => one.startsWith(`${name} `))
  const [, bin, libraries, root] = line!.split(' ')
  return {
    bin: bin!,
    root: root!,
    env: libraries === '-' ? process.env : { ...process.env, LD_LIBRARY_PATH: libraries },
  }
}

export type Row = Record<string, unknown>

/** One server, and a connection of the tests' own to look and to prepare with. */
export abstract class SqlServer {
  readonly port: number
  readonly dir: string
  protected readonly programs: Programs
  #process: ChildProcess | undefined

  protected constructor(programs: Programs, port: number) {
    this.programs = programs
    this.port = port
    this.dir = mkdtempSync(join(tmpdir(), 'freshet-sql-'))
  }

  abstract readonly kind: 'postgres' | 'mariadb'
  protected abstract command(): { program: string; args: string[]; identity?: { uid: number; gid: number } }
  /** The rows that a statement gives, all values as text or null. */
  abstract query(sql: string): Promise<Row[]>
  protected abstract disconnect(): Promise<void>

  url(user = 'freshet', secret = password): string {
    return `${this.kind === 'postgres' ? 'postgres' : 'mysql'}://${user}:${secret}@127.0.0.1:${this.port}/shop`
  }

  async start(): Promise<void> {
    const { program, args, identity } = this.command()
    this.#process = spawn(program, args, { env: this.programs.env, stdio: 'ignore', ...identity })
    await waitUntil(async () => {
      if (this.#process!.exitCode !== null) throw new Error(`${this.kind} ended with ${this.#process!.exitCode}`)
      return this.query('SELECT 1').then(
        () => true,
        () => false,
      )
    })
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    const running = this.#process!
    const ended = once(running, 'exit')
    running.kill('SIGKILL')
    await ended
    await this.disconnect()
  }

  async stop(): Promise<void> {
    await this.disconnect()
    if (this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null)
      await this.kill()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

export class PostgresServer extends SqlServer {
  readonly kind = 'postgres'
  #client: pg.Client | undefined

  static async make(): Promise<PostgresServer> {
    const server = new PostgresServer(await programsOf('postgres'), await freePort())
    await server.#initialise()
    return server
  }

  /** PostgreSQL refuses to run as root: then it runs as nobody. */
  #identity(): { uid: number; gid: number } | undefined {
    return process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined
  }

  async #initialise(): Promise<void> {
    const identity = this.#identity()
    const data = join(this.dir, 'data')
    if (identity !== undefined) chownSync(this.dir, identity.uid, identity.gid)
    const args = [
      '-D',
      data,
      '-U',
      'freshet',
      '--auth=trust',
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
      '--no-instructions',
    ]
    const options = { env: this.programs.env, cwd: this.dir, ...identity }
    await execute(join(this.programs.bin, 'initdb'), args, options)
    await this.start()
    await this.query(`ALTER USER freshet PASSWORD '${password}'`)
    await this.query('CREATE DATABASE shop')
    await this.kill()
    await this.#askForPasswords(data, options)
    this.#database = 'shop'
    await this.start()
  }

  async #askForPasswords(data: string, options: object): Promise<void> {
    const rule = 'host all all 127.0.0.1/32 scram-sha-256'
    await execute('sh', ['-c', `echo '${rule}' > '${join(data, 'pg_hba.conf')}'`], options)
  }

  #database = 'postgres'

  protected command() {
    const args = ['-D', join(this.dir, 'data'), '-p', String(this.port), '-h', '127.0.0.1', '-k', this.dir]
    const identity = this.#identity()
    return { program: join(this.programs.bin, 'postgres'), args, ...(identity !== undefined && { identity }) }
  }

  async query(sql: string): Promise<Row[]> {
    if (this.#client === undefined) {
      const client = new pg.Client({
        host: '127.0.0.1',
        port: this.port,
        user: 'freshet',
        password,
        database: this.#database,
        types: { getTypeParser: () => (text: string) => text },
      })
      client.on('error', () => (this.#client = undefined))
      await client.connect()
      this.#client = client
    }
    return (await this.#client.query<Row>(sql)).rows
  }

  protected async disconnect(): Promise<void> {
    const client = this.#client
    this.#client = undefined
    await client?.end().catch(() => undefined)
  }
}

export class MariaDbServer extends SqlServer {
  readonly kind = 'mariadb'
  #connection: Connection | undefined
  #user = 'root'

  static async make(): Promise<MariaDbServer> {
    const server = new MariaDbServer(await programsOf('mariadb'), await freePort())
    await server.#initialise()
    return server
  }

  async #initialise(): Promise<void> {
    const { root, env } = this.programs
    mkdirSync(join(this.dir, 'tmp'))
    chmodSync(this.dir, 0o755)
    const args = ['--no-defaults', `--basedir=${join(root, 'usr')}`, `--datadir=${join(this.dir, 'data')}`]
    await execute(
      join(root, 'usr/bin/mariadb-install-db'),
      [...args, ...this.#asRoot(), '--auth-root-authentication-method=normal'],
      {
        env,
      },
    )
    await this.start()
    await this.query('CREATE DATABASE shop')
    await this.query(`CREATE USER freshet@'127.0.0.1' IDENTIFIED BY '${password}'`)
    await this.query(`GRANT ALL ON *.* TO freshet@'127.0.0.1'`)
    await this.disconnect()
    this.#user = 'freshet'
  }

  #asRoot(): string[] {
    return process.getuid?.() === 0 ? ['--user=root'] : []
  }

  protected command() {
    const { root, bin } = this.programs
    const args = [
      '--no-defaults',
      `--basedir=${join(root, 'usr')}`,
      `--datadir=${join(this.dir, 'data')}`,
      ...this.#asRoot(),
      `--port=${this.port}`,
      '--bind-address=127.0.0.1',
      `--socket=${join(this.dir, 'socket')}`,
      `--tmpdir=${join(this.dir, 'tmp')}`,
      `--lc-messages-dir=${join(root, 'usr/share/mysql')}`,
      '--skip-name-resolve',
    ]
    return { program: join(bin, 'mariadbd'), args }
  }

  async query(sql: string): Promise<Row[]> {
    if (this.#connection === undefined) {
      const isRoot = this.#user === 'root'
      const connection = await createConnection({
        ...(isRoot
          ? { socketPath: join(this.dir, 'socket') }
          : { host: '127.0.0.1', port: this.port, database: 'shop', password }),
        user: this.#user,
        typeCast: (field) => field.string(),
        timezone: 'Z',
      })
      connection.on('error', () => (this.#connection = undefined))
      this.#connection = connection
    }
    const [rows] = await this.#connection.query(sql)
    return Array.isArray(rows) ? (rows as Row[]) : []
  }

  protected async disconnect(): Promise<void> {
    this.#connection?.destroy()
    this.#connection = undefined
  }
}
