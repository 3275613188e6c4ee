import { readFile, writeFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { gunzipSync, gzipSync, zstdDecompressSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  answerJson,
  cli,
  fakeServer,
  tempFolder,
  type FakeServer,
  type ReceivedRequest,
} from '../../test/support/cli.ts'

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

/** Takes events in as the gateway does: a producer's sequence, or an idempotency key, takes effect once. */
class FakeGateway {
  readonly events: string[] = []
  readonly #known = new Set<string>()

  apply({ headers, body }: ReceivedRequest): {
    stream: string
    accepted: number
    duplicates: number
    rejected: number
    errors: unknown[]
  } {
    const key = identityOf({ headers })
    const lines = unpack(headers['content-encoding'], body).toString().trimEnd().split('\n')
    const known = this.#known.has(key)
    this.#known.add(key)
    const errors: unknown[] = []
    const good = lines.filter((line, index) => {
      const reason = mistakeOf(line)
      if (reason !== null) errors.push({ index, ...reason })
      return reason === null
    })
    if (!known) this.events.push(...good)
    return {
      stream: 's',
      accepted: known ? 0 : good.length,
      duplicates: known ? good.length : 0,
      rejected: errors.length,
      errors,
    }
  }
}

function identityOf({ headers }: Pick<ReceivedRequest, 'headers'>): string {
  const { 'freshet-producer': producer, 'freshet-sequence': sequence, 'idempotency-key': key } = headers
  return key === undefined ? `${String(producer)} ${String(sequence)}` : String(key)
}

function unpack(encoding: string | undefined, body: Buffer): Buffer {
  if (encoding === 'gzip') return gunzipSync(body)
  return encoding === 'zstd' ? zstdDecompressSync(body) : body
}

function mistakeOf(line: string): { code: string; path?: string; reason: string } | null {
  try {
    const event = JSON.parse(line) as { price?: unknown }
    if (event.price !== undefined && typeof event.price !== 'number')
      return { code: 'schema_violation', path: '/price', reason: 'must be number' }
    return null
  } catch {
    return { code: 'invalid_json', reason: 'line 1, column 3: not JSON' }
  }
}

async function startGateway(
  before: (request: ReceivedRequest, response: ServerResponse, gateway: FakeGateway) => boolean = () => false,
): Promise<FakeGateway> {
  const gateway = new FakeGateway()
  server = await fakeServer((request, response) => {
    if (before(request, response, gateway)) return
    answerJson(response, 202, gateway.apply(request))
  })
  return gateway
}

function send(args: string[], setting: Parameters<typeof cli>[1] = {}): ReturnType<typeof cli> {
  return cli(['send', ...args, '--url', server!.url], { cwd: folder, ...setting })
}

function numbered(count: number): string {
  return Array.from({ length: count }, (_, n) => `{"n":${n}}\n`).join('')
}

describe('retries', () => {
  test('a batch whose answer got lost comes again with the same producer, sequence and bytes, and counts once', async () => {
    let turn = 0
    const gateway = await startGateway((request, response, taken) => {
      turn++
      if (turn % 5 === 2) {
        taken.apply(request)
        response.destroy()
        return true
      }
      if (turn % 5 === 4) {
        answerJson(
          response,
          503,
          { code: 'disk_full', detail: 'The disk is nearly full.', status: 503 },
          { 'retry-after': '1' },
        )
        return true
      }
      return false
    })
    await writeFile(join(folder, 'in.ndjson'), numbered(1000))

    const run = await send(['s', 'in.ndjson', '--batch', '50'])

    expect(run.code).toBe(0)
    expect(gateway.events.toSorted()).toEqual(numbered(1000).trimEnd().split('\n').toSorted())
    const bodies = new Map<string, string>()
    for (const request of server!.requests) {
      const identity = identityOf(request)
      expect(bodies.get(identity) ?? request.body.toString()).toBe(request.body.toString())
      bodies.set(identity, request.body.toString())
    }
    expect(bodies.size).toBe(20)
    expect(server!.requests.length).toBeGreaterThan(25)
    expect(run.stderr).toMatch(/1,000 events to s .* 0 rejected, \d+ retries/)
  })

  test('Retry-After is honoured before the next attempt', async () => {
    let asked = 0
    await startGateway((_request, response) => {
      if (asked++ > 0) return false
      answerJson(
        response,
        429,
        { code: 'too_many_queries', detail: 'Slow down.', status: 429 },
        { 'retry-after': '30' },
      )
      return true
    })
    const stalled = await send(['s', '--retry-for', '10'], { stdin: '{"n":1}\n' })
    expect(stalled.code).toBe(3)
    expect(server!.requests).toHaveLength(1)
    asked = 0
    expect((await send(['s', '--retry-for', '60'], { stdin: '{"n":2}\n' })).code).toBe(0)
  })

  test('a server that is not there ends it with code 3, a reason and a hint', async () => {
    await startGateway()
    const { url } = server!
    await server!.close()
    const run = await cli(['send', 's', '--url', url], { stdin: '{"n":1}\n' })
    expect(run.code).toBe(3)
    expect(run.stderr).toContain(`The server at ${url} cannot be reached: nothing listens there (connection refused).`)
    expect(run.stderr).toContain('freshet dev')
  })

  test('a refusal that no retry mends stops at once', async () => {
    await startGateway((_request, response) => {
      answerJson(response, 404, {
        code: 'unknown_stream',
        detail: 'There is no stream "s".',
        hint: 'There are trades, quotes.',
        status: 404,
      })
      return true
    })
    await writeFile(join(folder, 'in.ndjson'), numbered(2000))
    const run = await send(['s', 'in.ndjson', '--concurrency', '2'])
    expect(run.code).toBe(1)
    expect(run.stderr).toContain('There is no stream "s".')
    expect(run.stderr).toContain('There are trades, quotes.')
    expect(server!.requests.length).toBeLessThanOrEqual(2)
  })
})

describe('sending again', () => {
  test('a file sent twice changes nothing the second time', async () => {
    const gateway = await startGateway()
    await writeFile(join(folder, 'in.ndjson'), numbered(1234))
    await send(['s', 'in.ndjson'])
    const again = await send(['s', 'in.ndjson'])
    expect(gateway.events).toHaveLength(1234)
    expect(again.code).toBe(0)
    expect(again.stderr).toContain('0 accepted, 1,234 duplicates, 0 rejected')
    expect(again.stderr).toContain('All of it had been sent before.')
    expect(server!.requests[0]!.headers['freshet-producer']).toMatch(/^send-[0-9a-f]{32}$/)
  })

  test('other content, another stream, batch size or source is another producer', async () => {
    await startGateway()
    await writeFile(join(folder, 'a.ndjson'), numbered(3))
    await writeFile(join(folder, 'b.ndjson'), numbered(4))
    await send(['s', 'a.ndjson'])
    await send(['s', 'b.ndjson'])
    await send(['t', 'a.ndjson'])
    await send(['s', 'a.ndjson', '--batch', '2'])
    await send(['s', 'a.ndjson', '--source', 'desk'])
    await send(['s', 'a.ndjson', '--compress', 'gzip', '--concurrency', '1'])
    const producers = server!.requests
      .filter(({ headers }) => headers['freshet-sequence'] === '0')
      .map(({ headers }) => headers['freshet-producer'])
    expect(new Set(producers).size).toBe(5)
    expect(producers.at(-1)).toBe(producers[0])
  })

  test('a pipe sent twice changes nothing; one that goes on from there adds only the rest', async () => {
    const gateway = await startGateway()
    await send(['s', '--batch', '10'], { stdin: numbered(30) })
    await send(['s', '--batch', '10'], { stdin: numbered(30) })
    expect(gateway.events).toHaveLength(30)
    await send(['s', '--batch', '10'], { stdin: numbered(50) })
    expect(gateway.events).toHaveLength(50)
    expect(server!.requests[0]!.headers['idempotency-key']).toMatch(/^send-[0-9a-f]{64}$/)
  })

  test('--producer numbers the batches of all files on', async () => {
    await startGateway()
    await writeFile(join(folder, 'a.ndjson'), numbered(3))
    await writeFile(join(folder, 'b.ndjson'), numbered(3))
    await send(['s', 'a.ndjson', 'b.ndjson', '--batch', '2', '--producer', 'mine', '--concurrency', '1'])
    expect(server!.requests.map(identityOf)).toEqual(['mine 0', 'mine 1', 'mine 2', 'mine 3'])
  })
})

describe('rejected events', () => {
  test('each is printed with file, line, code, path and reason, and written to the rejects file', async () => {
    const gateway = await startGateway()
    await writeFile(join(folder, 'in.ndjson'), '{"price":1}\n\n{"price":"x"}\r\n{oops\n{"price":2}\n')
    const run = await send(['s', 'in.ndjson', '--rejects', 'bad.ndjson'])
    expect(run.code).toBe(1)
    expect(run.stderr).toContain('in.ndjson:3: schema_violation at /price: must be number')
    expect(run.stderr).toContain('in.ndjson:4: invalid_json: column 3: not JSON')
    expect(gateway.events).toEqual(['{"price":1}', '{"price":2}'])
    expect(await readFile(join(folder, 'bad.ndjson'), 'utf8')).toBe('{"price":"x"}\n{oops\n')
  })

  test('only the first are printed, the others counted', async () => {
    await startGateway()
    const run = await send(['s', '--errors', '2'], { stdin: '{"price":"x"}\n'.repeat(5) })
    expect(run.stderr.match(/schema_violation/g)).toHaveLength(2)
    expect(run.stderr).toContain('... and 3 more rejected')
  })

  test('an answer that calls the whole batch broken is told line by line', async () => {
    await startGateway((_request, response) => {
      answerJson(response, 400, { code: 'invalid_json', detail: 'No line is JSON.', status: 400 })
      return true
    })
    const run = await send(['s'], { stdin: '{oops\n[1,\n' })
    expect(run.code).toBe(1)
    expect(run.stderr).toMatch(/stdin:1: invalid_json: .*JSON/)
    expect(run.stderr).toMatch(/stdin:2: invalid_json: .*JSON/)
  })

  test('control sequences in events cannot reach the terminal', async () => {
    await startGateway((_request, response) => {
      answerJson(response, 202, {
        accepted: 0,
        duplicates: 0,
        rejected: 1,
        errors: [{ index: 0, code: 'x', reason: 'bad \u001b]0;owned\u0007' }],
      })
      return true
    })
    const run = await send(['s', '--quiet'], { stdin: '{}\n', terminalWidth: 80 })
    expect(run.stderr).toContain('bad \\x1b]0;owned\\x07')
    expect(run.stderr).not.toContain('\u001b]0')
  })
})

describe('input', () => {
  test('CSV becomes typed events', async () => {
    const gateway = await startGateway()
    await writeFile(
      join(folder, 'in.csv'),
      '\ufeffsymbol,price,live,note\r\nSPY,438.10,true,"a ""b"",\r\nc"\r\nQQQ,007,no,\r\n',
    )
    expect((await send(['s', 'in.csv'])).code).toBe(1)
    expect(gateway.events).toEqual(['{"symbol":"SPY","price":438.10,"live":true,"note":"a \\"b\\",\\r\\nc"}'])
    expect((await send(['s', 'in.csv', '--type', 'price=number', '--type', 'live=boolean'])).code).toBe(0)
    expect(gateway.events.at(-1)).toBe('{"symbol":"QQQ","price":7,"live":false}')
  })

  test('packed files are unpacked, and requests packed when asked', async () => {
    const gateway = await startGateway()
    await writeFile(join(folder, 'in.ndjson.gz'), gzipSync(numbered(10)))
    await send(['s', 'in.ndjson.gz', '--compress', 'zstd'])
    expect(gateway.events).toHaveLength(10)
    expect(server!.requests[0]!.headers['content-encoding']).toBe('zstd')
  })

  test('the format of a pipe is found from its beginning', async () => {
    const gateway = await startGateway()
    await send(['s'], { stdin: '[{"n":1},\n {"n":2}]' })
    await send(['s'], { stdin: '{\n  "n": 3\n}' })
    await send(['s'], { stdin: '{"n":4}\n{"n":5}' })
    await send(['s'], { stdin: 'n\n6\n' })
    expect(gateway.events.map((event) => (JSON.parse(event) as { n: number }).n)).toEqual([1, 2, 3, 4, 5, 6])
  })

  test('a live pipe is sent on after --linger without waiting for a full batch', async () => {
    const stdin = new PassThrough()
    const gateway = await startGateway((_request, _response, taken) => {
      if (taken.events.length === 0) setImmediate(() => stdin.end('{"n":2}\n'))
      return false
    })
    stdin.write('{"n":1}\n')
    await send(['s', '--linger', '5'], { stdin })
    expect(gateway.events).toEqual(['{"n":1}', '{"n":2}'])
    expect(server!.requests).toHaveLength(2)
  })

  test('a file that is missing, or a folder, is a mistake in the command line, found before anything is sent', async () => {
    await startGateway()
    await writeFile(join(folder, 'in.ndjson'), numbered(3))
    const missing = await send(['s', 'in.ndjson', 'gone.ndjson'])
    expect(missing.code).toBe(2)
    expect(missing.stderr).toContain('gone.ndjson cannot be read: there is no such file.')
    expect((await send(['s', '.'])).code).toBe(2)
    expect(server!.requests).toHaveLength(0)
  })
})

test('Ctrl-C finishes what is under way, begins nothing more, and says how far it got', async () => {
  let interrupt = (): void => {}
  const gateway = await startGateway((_request, _response, taken) => {
    if (taken.events.length === 20) interrupt()
    return false
  })
  await writeFile(join(folder, 'in.ndjson'), numbered(1000))
  const setting = { onReady: (act: () => void) => (interrupt = act) }
  const run = await send(['s', 'in.ndjson', '--batch', '10', '--concurrency', '1'], setting)
  expect(run.code).toBe(130)
  expect(gateway.events).toHaveLength(30)
  expect(run.stderr).toContain('Stopped after line 30 of in.ndjson.')
  const rest = await send(['s', 'in.ndjson', '--batch', '10'])
  expect(rest.code).toBe(0)
  expect(gateway.events).toHaveLength(1000)
})

test('--json prints the counts for a program to read', async () => {
  await startGateway()
  const run = await send(['s', '--json', '--quiet'], { stdin: numbered(3) })
  expect(JSON.parse(run.stdout)).toMatchObject({
    stream: 's',
    accepted: 3,
    duplicates: 0,
    rejected: 0,
    interrupted: false,
  })
  expect(run.stderr).toBe('')
})
