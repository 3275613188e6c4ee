import { afterEach, describe, expect, test } from 'vitest'
import { cli, fakeServer, type FakeServer } from '../../test/support/cli.ts'

let server: FakeServer
afterEach(() => server.close())

const letter = {
  id: 'load:17',
  stage: 'load',
  consumer: null,
  code: 'unreadable',
  path: '/size',
  message: 'out of range',
  event: '{"id":"b",\u001b[31m"size":3000000000}',
  eventId: 'b',
  position: 17,
  version: null,
  failedAt: '2026-11-20T12:00:00.000Z',
  eventTime: '2026-11-20T11:00:00.000Z',
  receivedAt: '2026-11-20T11:00:01.000Z',
  source: 'site-1',
}
const replay = {
  id: 'r1',
  stream: 'orders',
  state: 'done',
  letters: 3,
  replayed: 3,
  failed: 0,
  failures: [],
  more: false,
  waitingFor: null,
}
const failure = { id: 'load:17', code: 'unreadable', path: '', message: 'out of range' }

/** Answers by method and path, in turn where there are several. */
async function start(answers: Record<string, unknown[]>): Promise<void> {
  server = await fakeServer(({ method, path }, response) => {
    const list = answers[`${method} ${path}`] ?? []
    const answer = list.length > 1 ? list.shift() : list[0]
    if (answer === undefined) return response.writeHead(404).end('{"code":"not_found","detail":"There is none."}')
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  })
}

const run = (...args: string[]): ReturnType<typeof cli> => cli(['dead', ...args, '--url', server.url])
const sent = (): unknown[] =>
  server.requests.map(({ method, path, body }) => [method, path, body.length > 0 ? JSON.parse(body.toString()) : null])

describe('list', () => {
  test('without a stream shows which have some', async () => {
    const stages = [{ stage: 'sink', consumer: 'sink:crm', letters: 1200 }]
    await start({ 'GET /v1/dead-letters': [{ streams: [{ stream: 'orders', letters: 1200, stages }] }] })
    expect((await run('list')).stdout).toMatch(/orders +sink +sink:crm +1,200/)
    await start({ 'GET /v1/dead-letters': [{ streams: [] }] })
    expect((await run('list')).stdout).toBe('There are no dead letters.\n')
    expect(await run('list', '--where', 'true')).toMatchObject({ code: 2 })
  })

  test('of a stream, with a condition and a limit', async () => {
    const path = '/v1/streams/orders/dead-letters?limit=2&where=stage+%3D+%27load%27'
    await start({ [`GET ${path}`]: [{ stream: 'orders', letters: [letter], more: true }] })
    const { stdout } = await run('list', 'orders', '--where', "stage = 'load'", '--limit', '2')
    expect(stdout).toMatch(/load:17 +load +2026-11-20T12:00:00.000Z +unreadable +\/size out of range/)
    expect(stdout).toContain('There are more')
    expect(await run('list', 'orders', '--limit', '0')).toMatchObject({ code: 2 })
  })
})

describe('show', () => {
  test('prints the event, with nothing that a terminal would obey', async () => {
    await start({ 'GET /v1/streams/orders/dead-letters/load%3A17': [{ ...letter, stack: 'Error: x\n at f' }] })
    const { stdout } = await run('show', 'orders', 'load:17')
    expect(stdout).toContain('unreadable at /size: out of range\n')
    expect(stdout).toContain('from site-1, id b\n')
    expect(stdout).toContain('Error: x\n')
    expect(stdout).not.toContain('\u001b')
    expect(await run('show', 'orders', 'load:18')).toMatchObject({ code: 1 })
  })
})

describe('replay', () => {
  test('waits until it is done', async () => {
    const running = { ...replay, state: 'running', replayed: 0 }
    await start({
      'POST /v1/streams/orders/dead-letters/replay': [running],
      'GET /v1/dead-letters/replays/r1': [{ ...running, waitingFor: 'The disk is full.' }, replay],
    })
    const { code, stdout, stderr } = await run('replay', 'orders', '--where', "stage = 'load'")
    expect({ code, stderr }).toEqual({ code: 0, stderr: 'waits: The disk is full.\n' })
    expect(stdout).toBe('Of 3 dead letters of orders, 3 were sent again and 0 failed again.\n')
    expect(sent()[0]).toEqual(['POST', '/v1/streams/orders/dead-letters/replay', { where: "stage = 'load'" }])
  })

  test('ends with 1 where letters failed again, and says which', async () => {
    await start({
      'POST /v1/streams/orders/dead-letters/replay': [{ ...replay, replayed: 2, failed: 1, failures: [failure] }],
    })
    const { code, stdout } = await run('replay', 'orders', '--all')
    expect(code).toBe(1)
    expect(stdout).toContain('  load:17: unreadable: out of range\n')
    expect(sent()[0]).toEqual(['POST', '/v1/streams/orders/dead-letters/replay', { all: true }])
  })

  test('shows before what it would do', async () => {
    const outcomes = [
      { id: 'load:1', accepted: true },
      { accepted: false, ...failure },
    ]
    const forecast = { stream: 'orders', dryRun: true, letters: 2, accepted: 1, failed: 1, more: false, outcomes }
    await start({ 'POST /v1/streams/orders/dead-letters/replay': [forecast] })
    const { code, stdout } = await run('replay', 'orders', '--all', '--dry-run')
    expect(code).toBe(0)
    expect(stdout).toContain(
      '1 would be accepted and 1 would fail again.\n  load:17: unreadable: out of range\nNothing',
    )
    expect(sent()).toEqual([['POST', '/v1/streams/orders/dead-letters/replay', { all: true, dryRun: true }]])
  })
})

describe('drop', () => {
  test('says how many', async () => {
    await start({ 'POST /v1/streams/orders/dead-letters/drop': [{ stream: 'orders', dryRun: false, dropped: 1 }] })
    expect((await run('drop', 'orders', '--all')).stdout).toBe('1 dead letter of orders dropped.\n')
    expect((await run('drop', 'orders', '--all', '--dry-run')).stdout).toContain('would be dropped.\nNothing')
    expect((await run('drop', 'orders', '--all', '--json')).stdout).toContain('"dropped": 1')
  })

  test.each([['neither'], ['both', '--all', '--where', 'true']])('needs to be told which: %s', async (_, ...flags) => {
    await start({})
    for (const what of ['replay', 'drop']) expect(await run(what, 'orders', ...flags)).toMatchObject({ code: 2 })
    expect(server.requests).toEqual([])
  })
})
