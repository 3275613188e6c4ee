import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { answerJson, cli, fakeServer, tempFolder, type FakeServer } from '../../test/support/cli.ts'

let folder = ''
let removeFolder = async (): Promise<void> => {}
let server: FakeServer | null = null

beforeEach(async () => {
  const made = await tempFolder()
  folder = made.folder
  removeFolder = made.remove
})

afterEach(async () => {
  await server?.close()
  server = null
  await removeFolder()
})

describe('the command line', () => {
  test('suggests the command or option that was meant, with code 2', async () => {
    const command = await cli(['stats'])
    expect(command.code).toBe(2)
    expect(command.stderr).toContain('Did you mean status?')
    const option = await cli(['send', 's', '--bach', '5'])
    expect(option.code).toBe(2)
    expect(option.stderr).toContain('Did you mean --batch?')
    expect((await cli(['send', 's', '--batch', 'many'])).stderr).toContain('whole number from 1 to 100000')
  })

  test('--version and --help succeed', async () => {
    expect(await cli(['--version'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string,
    })
    expect((await cli(['send', '--help'])).stdout).toContain('--concurrency')
  })

  test('--debug shows where an error comes from', async () => {
    server = await fakeServer((_request, response) => response.destroy())
    const plain = await cli(['streams', '--url', server.url])
    expect(plain.code).toBe(3)
    expect(plain.stderr).not.toContain('    at ')
    expect((await cli(['streams', '--debug', '--url', server.url])).stderr).toMatch(/ {4}at [^]*caused by: /)
  })

  test('FRESHET_URL says where the server is; another program there is recognised', async () => {
    server = await fakeServer((_request, response) =>
      response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Hi</h1>'),
    )
    const run = await cli(['status'], { env: { FRESHET_URL: server.url } })
    expect(run.code).toBe(3)
    expect(run.stderr).toContain(`${server.url} answered 404 (text/html), which is no answer of Freshet's.`)
    expect((await cli(['status', '--url', 'ftp://x'])).code).toBe(2)
  })
})

describe('init', () => {
  test('writes a project once, and never over what is there', async () => {
    const made = await cli(['init', 'my app', '--yes'], { cwd: folder })
    expect(made.code).toBe(0)
    expect(made.stdout).toContain("cd 'my app'")
    const project = join(folder, 'my app')
    expect(JSON.parse(await readFile(join(project, 'package.json'), 'utf8'))).toMatchObject({
      name: 'my-app',
      type: 'module',
    })
    expect(await readFile(join(project, '.gitignore'), 'utf8')).toBe('.freshet/\nnode_modules/\n')
    const events = (await readFile(join(project, 'events.ndjson'), 'utf8')).trimEnd().split('\n')
    expect(events.map((line) => Object.keys(JSON.parse(line) as object).length)).toHaveLength(20)

    await writeFile(join(project, 'freshet.config.ts'), '// mine')
    const again = await cli(['init', 'my app', '--yes'], { cwd: folder })
    expect(again.code).toBe(2)
    expect(again.stderr).toContain('freshet.config.ts and events.ndjson already')
    expect(await readFile(join(project, 'freshet.config.ts'), 'utf8')).toBe('// mine')
    expect((await cli(['init', 'my app', '--yes', '--force'], { cwd: folder })).code).toBe(0)
    expect(await readFile(join(project, 'freshet.config.ts'), 'utf8')).toContain('defineConfig')
  })

  test('keeps package.json and adds to .gitignore only what is missing', async () => {
    await mkdir(join(folder, 'p'))
    await writeFile(join(folder, 'p', 'package.json'), '{}')
    await writeFile(join(folder, 'p', '.gitignore'), 'node_modules\ndist')
    await cli(['init', 'p', '--force'], { cwd: folder })
    expect(await readFile(join(folder, 'p', 'package.json'), 'utf8')).toBe('{}')
    expect(await readFile(join(folder, 'p', '.gitignore'), 'utf8')).toBe('node_modules\ndist\n.freshet/\n')
  })
})

describe('status and streams', () => {
  const status = {
    version: '0.1.0',
    mode: 'dev',
    startedAt: '2026-01-01T00:00:00Z',
    processes: [
      {
        role: 'gateway',
        pid: 42,
        state: 'running',
        restarts: 1,
        startedAt: new Date(Date.now() - 61_000).toISOString(),
        rssBytes: 123_000_000,
        cpuSeconds: 6.1,
      },
    ],
    engine: { available: true },
    streams: [
      {
        name: 'trades',
        declared: true,
        eventsPerSecond: 1234.5,
        logEnd: '9876543210',
        checkpoint: '9876543000',
        lagBytes: 210,
        rows: 50_000,
        hotRows: 12,
        files: 3,
        bytes: 1_200_000,
        freshnessMs: { p50: 45.2, p99: 120 },
        lastCommitAt: null,
        duplicates: 0,
        deadLetters: 0,
        ledger: { accepted: 50_002, committed: 49_988, deduplicated: 0, deadLettered: 0, inFlight: 14 },
      },
    ],
  }

  async function startServer(answer: unknown): Promise<string> {
    server = await fakeServer(({ path }, response) => {
      if (path === '/v1/status') answerJson(response, 200, answer)
      else answerJson(response, 200, { columns: [{ name: 'a', type: 'BIGINT' }], rows: [], rowCount: 0 })
    })
    return server.url
  }

  test('status shows each process and stream', async () => {
    const run = await cli(['status', '--url', await startServer(status)])
    expect(run.stdout).toMatch(/gateway +42 +running +1 +[1-9] min \d+ s +123 MB +6\.1 s +([1-9](\.\d)?|10)%/)
    expect(run.stdout).toMatch(
      /trades +1,23\d +50,000 +12 +45 ms +120 ms +210 B +3 +1\.2 MB +50,002 +0 +0 +14 +9,876,543,210 +9,876,543,000 +-/,
    )
  })

  test('status shows rollups, and what is wrong with them', async () => {
    const rollups = [
      {
        name: 'bars',
        from: 'trades',
        bucket: '60 seconds',
        rows: 1200,
        files: 2,
        bytes: 5000,
        lagMs: 0,
        problem: null,
      },
      { name: 'days', from: 'bars', bucket: '86400 seconds', rows: 3, lagMs: 90_000, problem: 'a sum is too large' },
      { name: 'old', from: 'trades', bucket: null, rows: 7, lagMs: null, problem: null },
    ]
    const { stdout } = await cli(['status', '--url', await startServer({ ...status, rollups })])
    expect(stdout).toMatch(/bars +trades +60 seconds +1,200 +0 ms +2 +5\.0 kB +- +-/)
    expect(stdout).toMatch(/days +bars +86400 seconds +3 +1 min 30 s/)
    expect(stdout).toContain('days: a sum is too large')
    expect(stdout).toMatch(/old +trades +not kept up +7 +-/)
  })

  test('status shows buckets, and what is wrong with them', async () => {
    const buckets = [
      {
        name: 'logs',
        stream: 'arrivals',
        objects: 1200,
        bytes: 5_000_000,
        storedBytes: null,
        uploads: 2,
        problem: null,
      },
      { name: 'pictures', stream: 'arrivals', problem: 'the index cannot be used' },
    ]
    const { stdout } = await cli(['status', '--url', await startServer({ ...status, buckets })])
    expect(stdout).toMatch(/logs +arrivals +1,200 +5\.0 MB +- +2/)
    expect(stdout).toContain('pictures: the index cannot be used')
  })

  test('status --watch goes on while the server is away, until Ctrl-C', async () => {
    let interrupt = (): void => {}
    let looks = 0
    server = await fakeServer((_request, response) => {
      looks++
      if (looks === 2) response.destroy()
      else answerJson(response, 200, status)
      if (looks === 4) interrupt()
    })
    const run = await cli(['status', '--watch', '--url', server.url], { onReady: (act) => (interrupt = act) })
    expect(run.code).toBe(0)
    expect(run.stdout).toContain('cannot be reached')
    expect(looks).toBe(4)
  })

  test('an engine that is down is said, and leaves the rest readable', async () => {
    const url = await startServer({
      processes: status.processes,
      engine: { available: false },
      streams: [{ name: 'trades', declared: true }],
    })
    expect((await cli(['status', '--url', url])).stdout).toContain('The engine is not running')
    expect((await cli(['streams', '--url', url])).stdout).toMatch(/trades +- +- +- +- +- +yes/)
  })

  test('an engine that is catching up is said', async () => {
    const url = await startServer({
      ...status,
      engine: { available: true, catchingUp: true },
      streams: status.streams.map((stream) => ({ ...stream, behindBytes: 12_000_000 })),
    })
    expect((await cli(['status', '--url', url])).stdout).toContain('catching up: 12 MB of the log')
  })

  test('streams lists them, as JSON too', async () => {
    const url = await startServer(status)
    expect((await cli(['streams', '--url', url])).stdout).toMatch(/trades +50,000 +1 +3 +1\.2 MB +- +yes/)
    expect(JSON.parse((await cli(['streams', '--json', '--url', url])).stdout)).toMatchObject([
      { name: 'trades', rows: 50_000, columns: 1 },
    ])
  })
})
