import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { FreshetProcess } from '../freshet-process.ts'

const root = join(import.meta.dirname, '../..')
const program = join(root, 'packages/freshet/bin/freshet.js')

/** The address that the documentation shows; each example gets a free port in its place. */
const documentedAddress = /\b(127\.0\.0\.1|localhost):7070\b/g

/** A folder like a reader's own project, with a development server running in it. */
export class ExampleServer {
  readonly folder: string
  #server: FreshetProcess | undefined

  private constructor(folder: string) {
    this.folder = folder
  }

  static async create(): Promise<ExampleServer> {
    const folder = await mkdtemp(join(tmpdir(), 'freshet-docs-'))
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
    await mkdir(join(folder, '.bin'))
    const command = join(folder, '.bin', 'freshet')
    await writeFile(command, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`)
    await chmod(command, 0o755)
    return new ExampleServer(folder)
  }

  /** Starts the server, unless it runs; resolves when it is ready. */
  async start(): Promise<void> {
    this.#server ??= await FreshetProcess.serve(this.folder)
  }

  /** Ends the server and starts it again. */
  async restart(): Promise<void> {
    await this.#server?.stop()
    this.#server = undefined
    await this.start()
  }

  /** Runs a shell script in the folder, with this server's port; returns what it printed on standard output. */
  async run(script: string): Promise<string> {
    const path = [join(this.folder, '.bin'), dirname(process.execPath), process.env['PATH']].join(delimiter)
    const url = this.#server?.url ?? ''
    const text = script.replaceAll(documentedAddress, `$1:${new URL(url).port}`)
    const { stdout } = await promisify(execFile)('sh', ['-euc', text], {
      cwd: this.folder,
      env: { ...process.env, PATH: path, FRESHET_URL: url },
    })
    return stdout
  }

  /** Writes a TypeScript file into the folder and checks its types. */
  async writeChecked(name: string, text: string): Promise<void> {
    await writeFile(join(this.folder, name), text)
    const { compilerOptions } = JSON.parse(await readFile(join(root, 'packages/freshet/tsconfig.json'), 'utf8')) as {
      compilerOptions: Record<string, unknown>
    }
    await writeFile(join(this.folder, 'package.json'), '{"type":"module"}')
    await writeFile(join(this.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    try {
      await promisify(execFile)(process.execPath, [tsc, '-p', this.folder])
    } catch (error) {
      throw new Error(`${name} has type errors:\n${(error as { stdout: string }).stdout}`, { cause: error })
    }
  }

  async remove(): Promise<void> {
    await this.#server?.stop()
    await rm(this.folder, { recursive: true, force: true })
  }
}
