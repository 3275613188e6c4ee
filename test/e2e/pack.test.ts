/** What a user gets: the packed package, installed into an empty folder, from `init` to a query. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test, vi, type TestContext } from 'vitest'
import { freePort } from '../../packages/freshet/test/support/free-port.ts'
import { patience } from './support/until.ts'

const packageDir = join(import.meta.dirname, '../../packages/freshet')
const run = promisify(execFile)

let folder: string
let server: ChildProcess | undefined

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-pack-'))
})

afterEach(async () => {
  if (server !== undefined && server.exitCode === null && server.signalCode === null) {
    server.kill('SIGINT')
    await once(server, 'close')
  }
  rmSync(folder, { recursive: true, force: true })
})

/** The environment of a user, without what the run of these tests has put there. */
function userEnvironment(more: Record<string, string> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(npm_|INIT_CWD|NODE_|VITEST|FRESHET_)/i.test(name))
  const path = [dirname(process.execPath), process.env['PATH']].join(delimiter)
  return { ...Object.fromEntries(own), PATH: path, ...more }
}

async function npm(args: readonly string[], cwd: string, timeout = 0): Promise<string> {
  return (await run('npm', args, { cwd, env: userEnvironment(), maxBuffer: 64 * 1024 * 1024, timeout })).stdout
}

/** Installing takes some seconds; a registry that does not get on in this time does not answer. */
const installMsMax = 120_000

/** A connection that stalls is tried again, where npm by itself would wait for minutes. */
const impatient = ['--fetch-timeout=20000', '--fetch-retries=4', '--fetch-retry-mintimeout=500']

/** Installs the tarball, from npm's cache where it can; the test is left out where packages cannot be had at all. */
async function install(tarball: string, project: string, context: TestContext): Promise<void> {
  try {
    await npm(['install', '--prefer-offline', '--no-audit', '--no-fund', ...impatient, tarball], project, installMsMax)
  } catch (error) {
    const { stderr = '', killed = false } = error as { stderr?: string; killed?: boolean }
    const offline = killed
      ? ['', 'no answer']
      : /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED)\b/.exec(stderr)
    if (offline === null) throw error
    console.warn(`The test of the packed package is left out: npm cannot get packages here (${offline[1]})`)
    context.skip()
  }
}

test('packed, installed and used as in the first steps', async (context) => {
  const packed = JSON.parse(
    await npm(['pack', '--json', '--ignore-scripts', '--pack-destination', folder], packageDir),
  ) as {
    filename: string
    files: { path: string }[]
  }[]
  const paths = packed[0]!.files.map(({ path }) => path)
  expect(paths).toEqual(
    expect.arrayContaining(['package.json', 'bin/freshet.js', 'dist/index.js', 'dist/index.d.ts', 'LICENSE']),
  )
  expect(paths.filter((path) => /(^|\/)(src|test)\/|\.test\.|node_modules|\.tsbuildinfo|\/\./.test(path))).toEqual([])

  const project = join(folder, 'project')
  mkdirSync(project)
  // Without one, npm would install into the nearest folder above that has one.
  writeFileSync(join(project, 'package.json'), '{ "name": "project", "private": true }')
  await install(join(folder, packed[0]!.filename), project, context)

  const port = await freePort()
  const env = userEnvironment({ FRESHET_URL: `http://127.0.0.1:${port}` })
  const freshet = async (...args: string[]): Promise<string> =>
    (await run('npx', ['--no-install', 'freshet', ...args], { cwd: project, env })).stdout

  const { version } = JSON.parse(readFileSync(join(packageDir, 'package.json'), 'utf8')) as { version: string }
  expect(await freshet('--version')).toContain(version)
  expect(await freshet('init', '--yes')).toContain('npx freshet dev')
  expect(readdirSync(project)).toEqual(expect.arrayContaining(['freshet.config.ts', 'events.ndjson', '.gitignore']))

  let output = ''
  server = spawn(
    process.execPath,
    [join(project, 'node_modules/freshet/bin/freshet.js'), 'dev', '--port', String(port)],
    {
      cwd: project,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  for (const stream of [server.stdout, server.stderr])
    stream?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await vi.waitFor(() => {
    expect(server).toMatchObject({ exitCode: null })
    expect(output).toContain('ready in')
  }, patience)

  await freshet('send', 'clicks', 'events.ndjson', '--quiet')
  await freshet('send', 'clicks', 'events.ndjson', '--quiet')
  await vi.waitFor(async () => {
    expect(await freshet('sql', '--format', 'ndjson', 'select count(*)::int as views from clicks')).toBe(
      '{"views":20}\n',
    )
  }, patience)
  expect(await freshet('streams')).toContain('clicks')
  expect(await freshet('status')).toContain('gateway')
  const page = await fetch(`http://127.0.0.1:${port}/docs`)
  expect(page.status).toBe(200)
  expect(readdirSync(join(project, '.freshet'))).toContain('freshet.json')

  server.kill('SIGINT')
  await once(server, 'close')
  expect(server.exitCode).toBe(0)
  expect(output).toContain('Stopped.')
})
