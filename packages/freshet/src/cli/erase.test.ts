import { afterEach, describe, expect, test } from 'vitest'
import { cli, fakeServer, type FakeServer } from '../../test/support/cli.ts'

let server: FakeServer
afterEach(() => server.close())

const erasure = {
  id: 'e1',
  stream: 'orders',
  state: 'queued',
  requestedAt: '2026-11-20T12:00:00.000Z',
  where: "customer_id = 'sha256:abc'",
  seconds: null,
  waitingFor: null,
  report: { commits: [], trimmedBelow: null, expired: [], droppedRefs: [], filesDeleted: 0 },
}

const finished = {
  ...erasure,
  state: 'done',
  seconds: 1.5,
  report: {
    commits: [{ table: 'orders', rows: 8, filesRemoved: 3, filesAdded: 2, bytes: 2_000_000 }],
    trimmedBelow: '1234',
    expired: [{ table: 'orders', snapshotId: '7' }],
    droppedRefs: [{ table: 'orders', name: 'keep', type: 'tag', snapshotId: '7' }],
    filesDeleted: 9,
    check: {
      seconds: 0.2,
      bytes: 3_000_000,
      matches: 0,
      places: [{ place: 'log of orders', files: 1, bytes: 10, matches: [], explained: ['1 batches that came after'] }],
    },
  },
}

/** Answers by method and path, in turn where there are several. */
async function start(answers: Record<string, unknown[]>): Promise<void> {
  server = await fakeServer(({ method, path }, response) => {
    const list = answers[`${method} ${path}`] ?? []
    const answer = list.length > 1 ? list.shift() : list[0]
    if (answer === undefined) return response.writeHead(404).end('{"code":"unknown_erasure","detail":"There is none."}')
    if (answer === null) return response.writeHead(204).end()
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  })
}

const run = (...args: string[]): ReturnType<typeof cli> => cli([...args, '--url', server.url])
const sent = (): unknown[] =>
  server.requests.map(({ method, path, body }) => [method, path, body.length > 0 ? JSON.parse(body.toString()) : null])

describe('erase', () => {
  test('waits until it is done and shows what was done and found', async () => {
    const waits = { ...erasure, state: 'checking', waitingFor: 'still there: a file' }
    await start({ 'POST /v1/streams/orders/erasures': [erasure], 'GET /v1/erasures/e1': [erasure, waits, finished] })
    const { code, stdout, stderr } = await run('erase', 'orders', '--where', "customer_id = 'c'")
    expect(code).toBe(0)
    expect(stderr).toBe('still there: a file\n')
    expect(stdout).toContain('erasure e1 of orders: done, 1.5 s after the request\n')
    expect(stdout).toContain('8 rows erased: 3 files (2.0 MB) replaced by 2\n')
    expect(stdout).toContain('the tag keep of orders, snapshot 7, was dropped\n')
    expect(stdout).toContain('searched 3.0 MB in 200 ms: nothing is left\n')
    expect(sent()[0]).toEqual(['POST', '/v1/streams/orders/erasures', { where: "customer_id = 'c'", all: false }])
  })

  test('does not wait when that is not wanted', async () => {
    await start({ 'POST /v1/streams/orders/erasures': [erasure] })
    const { stdout } = await run('erase', 'orders', '--where', 'true', '--all', '--no-wait')
    expect(stdout).toBe('The server goes on with it: freshet erase --status e1\n')
    expect(sent()).toEqual([['POST', '/v1/streams/orders/erasures', { where: 'true', all: true }]])
  })

  test('counts in a dry run', async () => {
    const count = { stream: 'orders', matches: 8, rows: 48, files: 3, filesAll: 5 }
    await start({ 'POST /v1/streams/orders/erasures': [count] })
    const { stdout } = await run('erase', 'orders', '--where', 'true', '--dry-run')
    expect(stdout).toContain('8 events of 48 in orders would be erased; 3 files of 5')
    expect(sent()).toEqual([['POST', '/v1/streams/orders/erasures', { where: 'true', all: false, dryRun: true }]])
  })

  test('shows one, and lists all', async () => {
    await start({ 'GET /v1/erasures/e1': [finished], 'GET /v1/erasures': [{ erasures: [finished] }] })
    expect((await run('erase', '--status', 'e1')).stdout).toContain('done')
    expect((await run('erase', '--list')).stdout).toContain('e1')
    expect(JSON.parse((await run('erase', '--list', '--json')).stdout)).toEqual({ erasures: [finished] })
    expect(await run('erase', '--status', 'e2')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('There is none.'),
    })
  })

  test.each([[[]], [['orders']], [['orders', '--list']], [['--list', '--where', 'x']], [['--status', 'a', '--list']]])(
    'refuses %j',
    async (args) => {
      await start({})
      expect((await run('erase', ...args)).code).toBe(2)
      expect(server.requests).toEqual([])
    },
  )
})

describe('tag', () => {
  const tag = { name: 'a b', snapshotId: '7', committedAt: '2026-11-20T12:00:00.000Z', maxAgeMs: 86_400_000 }

  test('creates, lists and drops', async () => {
    await start({
      'POST /v1/tables/orders/tags': [tag],
      'GET /v1/tables/orders/tags': [{ tags: [tag] }, { tags: [] }],
      'DELETE /v1/tables/orders/tags/a%20b': [null],
    })
    expect((await run('tag', 'create', 'orders', 'a b', '--snapshot', '7', '--max-age', '1 day')).stdout).toBe(
      'a b is snapshot 7 of orders, 2026-11-20T12:00:00.000Z.\n',
    )
    expect((await run('tag', 'list', 'orders')).stdout).toContain('a b')
    expect((await run('tag', 'list', 'orders')).stdout).toBe('orders has no tags.\n')
    expect((await run('tag', 'drop', 'orders', 'a b')).stdout).toBe('The tag a b of orders is dropped.\n')
    expect(sent()[0]).toEqual(['POST', '/v1/tables/orders/tags', { name: 'a b', snapshot: '7', maxAgeMs: 86_400_000 }])
    expect((await run('tag', 'create', 'orders', 'a', '--max-age', 'soon')).code).toBe(2)
  })
})

describe('rollback', () => {
  const answer = {
    table: 'orders',
    to: '7',
    committedAt: '2026-11-20T12:00:00.000Z',
    snapshotId: '9',
    removed: { rows: 10, files: 2 },
    restored: { rows: 1, files: 1 },
  }

  test('says what is gone and what is back', async () => {
    await start({ 'POST /v1/tables/orders/rollback': [answer] })
    const { code, stdout } = await run('rollback', 'orders', '--to', '7', '--yes')
    expect(code).toBe(0)
    expect(stdout).toContain('10 rows in 2 files are gone, 1 row in 1 file are back.')
    expect((await run('rollback', 'orders', '--to', '7', '--dry-run')).stdout).toContain('would go')
    expect(sent().map((one) => (one as unknown[])[2])).toEqual([
      { to: '7', dryRun: false },
      { to: '7', dryRun: true },
    ])
  })

  test('is not done without a yes where nobody can be asked', async () => {
    await start({ 'POST /v1/tables/orders/rollback': [answer] })
    expect(await run('rollback', 'orders', '--to', '7')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--yes'),
    })
    expect(server.requests).toEqual([])
  })
})
