import { afterEach, describe, expect, test } from 'vitest'
import { answerJson, cli, fakeServer, type FakeServer } from '../../test/support/cli.ts'

let server: FakeServer | null = null
afterEach(async () => {
  await server?.close()
  server = null
})

const answer = {
  receipt: 'trades.0.1000.1500.mi7x3k2a.1200.abc',
  stream: 'trades',
  partition: 0,
  from: '1000',
  to: '1500',
  count: 1200,
  receivedAt: '2026-11-20T12:00:00.000Z',
  state: 'committed',
  inLog: true,
  snapshot: { id: '123456789012345', committedAt: '2026-11-20T12:00:30.000Z' },
  files: ['/data/lake/trades/data/a.parquet'],
  events: { visible: 1190, deduplicated: 9, deadLettered: 1, waiting: 0, removed: 0, missing: 0 },
  engine: { available: true },
}

async function show(changes: object, args: readonly string[] = []): Promise<string> {
  const paths: string[] = []
  server = await fakeServer(({ path }, response) => {
    paths.push(path)
    answerJson(response, 200, { ...answer, ...changes })
  })
  const run = await cli(['receipt', answer.receipt, '--url', server.url, ...args])
  await server.close()
  expect(run).toMatchObject({ code: 0, stderr: '' })
  expect(paths).toEqual([`/v1/receipts/${answer.receipt}`])
  return run.stdout
}

describe('receipt', () => {
  test('says where a batch is and what became of its events', async () => {
    expect(await show({})).toBe(
      [
        '1,200 events for trades, received 2026-11-20T12:00:00.000Z',
        'committed to the table by snapshot 123456789012345, 2026-11-20T12:00:30.000Z',
        'in the log from position 1000 to 1500',
        'events: 1,190 in queries, 9 there before, 1 in the dead letters',
        '/data/lake/trades/data/a.parquet',
        '',
      ].join('\n'),
    )
    expect(JSON.parse(await show({}, ['--json']))).toEqual(answer)
  })

  test('says what is not known, and nothing in its place', async () => {
    const away = await show({
      state: 'logged',
      snapshot: null,
      files: null,
      events: null,
      engine: { available: false },
    })
    expect(away).toContain('the engine is away')
    expect(away).toContain('cannot be told')
    const gone = await show({
      inLog: false,
      snapshot: null,
      events: { visible: 5, deduplicated: null, deadLettered: 0, waiting: 0, removed: 0, missing: null },
    })
    expect(gone).toContain('by a snapshot that has expired')
    expect(gone).toContain('no longer in the log')
    expect(gone).toContain('events: 5 in queries, what became of the others can no longer be told')
    const erased = await show({ events: { visible: 1190, deduplicated: 0, removed: 10, missing: 0 } })
    expect(erased).toContain('events: 1,190 in queries, 10 removed since\n')
    const young = { state: 'loaded', snapshot: null, files: [], events: { ...answer.events, visible: 1, waiting: 0 } }
    expect(await show(young)).toContain('in queries, not committed')
  })

  test('shows what the server says of one that it does not know, and keeps a hostile one in its place', async () => {
    const paths: string[] = []
    server = await fakeServer(({ path }, response) => {
      paths.push(path)
      answerJson(response, 404, {
        code: 'unknown_receipt',
        title: 'Unknown receipt',
        detail: 'No \u001b[2Jsuch batch.',
      })
    })
    const run = await cli(['receipt', '../../v1/sql?x#y', '--url', server.url])
    expect(run.code).toBe(1)
    expect(run.stderr).toContain('such batch')
    expect(run.stderr).not.toContain('\u001b[2J')
    expect(paths).toEqual(['/v1/receipts/..%2F..%2Fv1%2Fsql%3Fx%23y'])
  })
})
