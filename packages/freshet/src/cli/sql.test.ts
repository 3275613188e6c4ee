import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { answerJson, cli, fakeServer, tempFolder, type FakeServer } from '../../test/support/cli.ts'

interface SqlRequest {
  sql: string
  params: Record<string, unknown>
  format: string
  asOf?: string
}

let folder = ''
let removeFolder = async (): Promise<void> => {}
let server: FakeServer
const asked: SqlRequest[] = []
let hang = false

beforeEach(async () => {
  const made = await tempFolder()
  folder = made.folder
  removeFolder = made.remove
  asked.length = 0
  hang = false
  server = await fakeServer(({ path, body }, response) => {
    if (path === '/v1/streams') return answerJson(response, 200, { streams: [{ name: 'trades', declared: true }] })
    const request = JSON.parse(body.toString()) as SqlRequest
    asked.push(request)
    if (hang) return undefined
    if (request.sql.includes('broken')) {
      const problem = {
        code: 'invalid_sql',
        status: 400,
        detail: 'Column "broken" does not exist.',
        hint: 'Did you mean "bid"?',
        line: 2,
        column: 8,
      }
      return answerJson(response, 400, problem)
    }
    if (request.format === 'csv')
      return response.writeHead(200, { 'content-type': 'text/csv' }).end('n,s\n1,\u001b[2J\n')
    if (request.format === 'parquet') return response.writeHead(200).end(Buffer.from([0x50, 0x41, 0x52, 0x31, 0, 0xff]))
    if (request.sql.includes('cut')) {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' })
      response.write('{"columns":')
      return setImmediate(() => response.destroy())
    }
    const body2 =
      '{"columns":[{"name":"n","type":"BIGINT"},{"name":"s","type":"VARCHAR"}],"rows":[{"n":12345678901234567890,"s":null},{"n":7,"s":{"a":[1.50]}}],"rowCount":2}'
    return response.writeHead(200, { 'content-type': 'application/json' }).end(body2)
  })
})

afterEach(async () => {
  await server.close()
  await removeFolder()
})

function sql(args: string[], setting: Parameters<typeof cli>[1] = {}): ReturnType<typeof cli> {
  return cli(['sql', ...args, '--url', server.url], {
    cwd: folder,
    ...setting,
    env: { XDG_STATE_HOME: join(folder, 'state'), ...setting.env },
  })
}

describe('one query', () => {
  test('prints an aligned table with every digit, and the count beside it', async () => {
    const run = await sql(['select 1'])
    expect(run.stdout.split('\n')).toEqual([
      '                   n  s',
      '────────────────────  ─────────────',
      '12345678901234567890  NULL',
      '                   7  {"a": [1.50]}',
      '',
    ])
    expect(run.stderr).toMatch(/^2 rows in \d+ ms\n$/)
  })

  test('an error shows the place in the query, and the hint', async () => {
    const run = await sql(['select n,\n       broken from t'])
    expect(run.code).toBe(1)
    expect(run.stderr).toBe(
      'error: Column "broken" does not exist.\n' +
        '  2 |        broken from t\n' +
        '             ^\n' +
        'hint: Did you mean "bid"?\n',
    )
  })

  test('parameters are typed; quotes make a string of anything', async () => {
    await sql([
      'select $a',
      '--param',
      'a=1.5',
      '--param',
      '$b=SPY',
      '--param',
      'c="007"',
      '--param',
      'd=true',
      '--param',
      'e=null',
      '--param',
      'f=007',
    ])
    expect(asked[0]!.params).toEqual({ a: 1.5, b: 'SPY', c: '007', d: true, e: null, f: '007' })
    expect((await sql(['select 1', '--param', 'oops'])).code).toBe(2)
  })

  test('reads the streams as they were', async () => {
    await sql(['select 1; select 2', '--as-of', '2013-10-07'])
    await sql(['select 3'])
    expect(asked.map(({ asOf }) => asOf)).toEqual(['2013-10-07', '2013-10-07', undefined])
  })

  test('reads from a file, or a pipe with several statements', async () => {
    await writeFile(join(folder, 'q.sql'), "-- one; comment\nselect ';';\n")
    await sql(['--file', 'q.sql'])
    await sql([], { stdin: 'select 1; select 2' })
    expect(asked.map((request) => request.sql)).toEqual(["-- one; comment\nselect ';'", 'select 1', 'select 2'])
    expect((await sql([], { stdin: ' -- nothing\n' })).code).toBe(2)
  })

  test('other formats pass through byte for byte, but harmless on a terminal', async () => {
    expect((await sql(['select 1', '--format', 'csv'])).stdout).toBe('n,s\n1,\u001b[2J\n')
    expect((await sql(['select 1', '--format', 'csv'], { terminalWidth: 80 })).stdout).toBe('n,s\n1,\\x1b[2J\n')
    expect((await sql(['select 1', '--format', 'parquet'])).bytes).toEqual(
      Buffer.from([0x50, 0x41, 0x52, 0x31, 0, 0xff]),
    )
  })

  test('Parquet is not written to a terminal', async () => {
    const run = await sql(['select 1', '--format', 'parquet'], { terminalWidth: 80 })
    expect(run.code).toBe(2)
    expect(asked).toHaveLength(0)
  })

  test('--output takes the format from the name; a failure leaves nothing', async () => {
    await sql(['select 1', '--output', 'r.parquet'])
    expect(await readFile(join(folder, 'r.parquet'))).toHaveLength(6)
    expect((await sql(['select cut', '--output', 'r.json'])).code).toBe(3)
    expect(await readdir(folder)).toEqual(['r.parquet'])
  })
})

describe('the prompt', () => {
  function typed(text: string): PassThrough & { isTTY: boolean } {
    return Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} }).end(text)
  }

  test('runs statements that span lines, shows errors and goes on', async () => {
    const run = await sql([], {
      stdin: typed('select\n1;\nselect n,\n broken;\nselect 2; select 3;\n.schema trades\n.nope\n.quit\n'),
    })
    expect(run.code).toBe(0)
    expect(asked.map((request) => request.sql)).toEqual([
      'select\n1',
      'select n,\n broken',
      'select 2',
      'select 3',
      'select * from "trades" limit 0',
    ])
    expect(run.stderr).toContain('  2 |  broken')
    expect(run.stderr).toContain('There is no command .nope.')
    expect(run.stdout).toContain('BIGINT')
  })

  test('keeps its history from one session to the next', async () => {
    await sql([], { stdin: typed('select 1;\n.tables\n') })
    await sql([], { stdin: typed('.help\n') })
    expect(await readFile(join(folder, 'state', 'freshet', 'sql_history'), 'utf8')).toBe('select 1;\n.tables\n.help\n')
  })

  test('Ctrl-C cancels the running query and the prompt goes on', async () => {
    hang = true
    const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} })
    const run = sql([], { stdin })
    stdin.write('select 1;\n')
    await expect.poll(() => asked.length).toBe(1)
    stdin.write('\u0003')
    hang = false
    stdin.write('select 2;\n.quit\n')
    expect((await run).stderr).toContain('Cancelled.')
    expect(asked).toHaveLength(2)
  })
})
