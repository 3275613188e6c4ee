import { afterEach, describe, expect, test } from 'vitest'
import { cli, fakeServer, type FakeServer } from '../../test/support/cli.ts'

let server: FakeServer
afterEach(() => server.close())

const london = { name: 'london', streams: ['trades'], state: 'active', addedAt: '', changedAt: '' }

async function start(answers: Record<string, unknown>): Promise<void> {
  server = await fakeServer(({ method, path }, response) => {
    const answer = answers[`${method} ${path}`]
    if (answer === undefined) return response.writeHead(404).end('{"code":"unknown_site","detail":"There is none."}')
    if (answer === null) return response.writeHead(204).end()
    return response.end(JSON.stringify(answer))
  })
}

const run = (...args: string[]): ReturnType<typeof cli> => cli(['sites', ...args, '--url', server.url])
const sent = (): unknown[] =>
  server.requests.map(({ method, path, body }) => [method, path, body.length > 0 ? JSON.parse(body.toString()) : null])

describe('changing sites', () => {
  test('add, pause, resume and remove', async () => {
    await start({ 'PUT /v1/sites/london': london, 'DELETE /v1/sites/london': null })
    expect(await run('add', 'london', '--streams', 'trades, orders')).toMatchObject({
      code: 0,
      stdout: 'london is active; it reports to trades.\n',
    })
    await run('add', 'london')
    await run('add', 'london', '--paused')
    await run('pause', 'london')
    await run('resume', 'london')
    expect((await run('remove', 'london')).stdout).toBe('london is removed.\n')
    expect(sent()).toEqual([
      ['PUT', '/v1/sites/london', { streams: ['trades', 'orders'] }],
      ['PUT', '/v1/sites/london', { streams: 'all' }],
      ['PUT', '/v1/sites/london', { streams: 'all', state: 'paused' }],
      ['PUT', '/v1/sites/london', { state: 'paused' }],
      ['PUT', '/v1/sites/london', { state: 'active' }],
      ['DELETE', '/v1/sites/london', null],
    ])
  })

  test('names are escaped, and those that no site can have are not sent', async () => {
    await start({ 'PUT /v1/sites/a%2Fb%3Fc': london })
    expect((await run('pause', 'a/b?c')).code).toBe(0)
    for (const name of ['..', '', 'm\u00fcnchen', 'x'.repeat(129)]) expect((await run('pause', name)).code).toBe(2)
    expect((await run('heartbeat', 'a\nb', '--stream', 'trades', '--until', 'now')).code).toBe(2)
    expect(server.requests).toHaveLength(1)
  })

  test('what the server refuses is shown', async () => {
    await start({})
    expect(await run('pause', 'lodnon')).toMatchObject({ code: 1, stderr: expect.stringContaining('There is none.') })
    expect(await run('remove', 'lodnon')).toMatchObject({ code: 1 })
  })

  test('--json prints what the server answers', async () => {
    await start({ 'PUT /v1/sites/london': london })
    expect(JSON.parse((await run('pause', 'london', '--json')).stdout)).toEqual(london)
  })
})

describe('heartbeats', () => {
  test('go to each stream, with the name as source', async () => {
    const answer = { source: 'london', until: '2013-10-07T20:00:00.000Z' }
    await start({
      'POST /v1/streams/trades/heartbeats': { ...answer, stream: 'trades' },
      'POST /v1/streams/orders/heartbeats': { ...answer, stream: 'orders' },
    })
    const args = ['heartbeat', 'london', '--stream', 'trades', '--stream', 'orders', '--until', '2013-10-07T20:00:00Z']
    expect(await run(...args)).toMatchObject({
      code: 0,
      stdout:
        'london has reported trades until 2013-10-07T20:00:00.000Z.\n' +
        'london has reported orders until 2013-10-07T20:00:00.000Z.\n',
    })
    expect(server.requests.map(({ headers }) => headers['freshet-source'])).toEqual(['london', 'london'])
    expect(sent()[0]).toEqual(['POST', '/v1/streams/trades/heartbeats', { until: '2013-10-07T20:00:00Z' }])
  })

  test('now is the time of this machine', async () => {
    await start({ 'POST /v1/streams/trades/heartbeats': { stream: 'trades', source: 'london', until: 'x' } })
    const before = Date.now()
    await run('heartbeat', 'london', '--stream', 'trades', '--until', 'now')
    const { until } = JSON.parse(server.requests[0]!.body.toString()) as { until: string }
    expect(Date.parse(until)).toBeGreaterThanOrEqual(before)
  })

  test('a stream and a time are needed', async () => {
    await start({})
    expect((await run('heartbeat', 'london', '--until', 'now')).code).toBe(2)
    expect((await run('heartbeat', 'london', '--stream', 'trades')).code).toBe(2)
  })
})

describe('the list', () => {
  const row = {
    stream: 'trades',
    site: 'london',
    state: 'active',
    last_event_time: '2013-10-07T20:00:00Z',
    reported_through: '2013-10-07T20:00:00Z',
    last_arrival: '2013-10-07T20:00:01Z',
    lag_ms: 5000,
    silent_ms: 182_000,
    holds_back: true,
    complete_through: '2013-10-07T20:00:00Z',
  }

  test('shows what each has reported, and whom each stream waits for', async () => {
    const stray = { ...row, site: 'stray\u001b[2J', state: 'unregistered', holds_back: false }
    await start({ 'GET /v1/sites': { sites: [london] }, 'POST /v1/sql': { rows: [row, stray] } })
    for (const args of [[], ['list']]) {
      const { stdout, code } = await run(...args)
      expect(code).toBe(0)
      expect(stdout).toMatch(/london +active +trades +2013-10-07T20:00:00Z +5\.0 s +3 min 2 s/)
      expect(stdout).toContain(
        'trades: complete through 2013-10-07T20:00:00Z; waiting for london, silent for 3 min 2 s\n',
      )
      expect(stdout).not.toContain('\u001b')
    }
  })

  test('shows the registry while the engine is away', async () => {
    server = await fakeServer(({ path }, response) =>
      path === '/v1/sites'
        ? response.end(JSON.stringify({ sites: [london] }))
        : response.writeHead(503).end('{"code":"engine_unavailable","detail":"Away."}'),
    )
    const { stdout, code } = await run()
    expect(code).toBe(0)
    expect(stdout).toMatch(/london +active +trades +-/)
    expect(stdout).toContain('The engine is not running')
    expect(JSON.parse((await run('--json')).stdout)).toEqual({ sites: [london], reports: null })
  })

  test('says how to begin', async () => {
    await start({ 'GET /v1/sites': { sites: [] }, 'POST /v1/sql': { rows: [] } })
    expect((await run()).stdout).toContain('freshet sites add')
  })
})

test('the status says whom each stream waits for, and what is wrong with the registry', async () => {
  const waiting = (site: string, silentMs: number | null): object => ({
    site,
    state: 'active',
    silentMs,
    holdsBack: true,
  })
  await start({
    'GET /v1/status': {
      processes: [],
      engine: { available: true },
      sites: { registered: null, problem: 'The site registry is damaged.' },
      streams: [
        { name: 'orders', completeThrough: null, sites: [waiting('paris', null)] },
        { name: 'plain', completeThrough: null, sites: [] },
        {
          name: 'trades',
          completeThrough: '2013-10-07T20:00:00.000Z',
          sites: ['a', 'b', 'c', 'd'].map((site) => waiting(site, 2000)),
        },
      ],
    },
  })
  const { stdout } = await cli(['status', '--url', server.url])
  expect(stdout.slice(stdout.indexOf('The site registry'))).toBe(
    'The site registry is damaged.\n' +
      'orders: not known to be complete; waiting for paris, which has not reported yet\n' +
      'trades: complete through 2013-10-07T20:00:00.000Z; waiting for a, silent for 2.0 s; b, silent for 2.0 s; c, silent for 2.0 s; and others\n',
  )
})
