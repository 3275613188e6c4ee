import { afterEach, expect, test } from 'vitest'
import { answerJson, cli, fakeServer, type FakeServer } from '../../test/support/cli.ts'

let server: FakeServer | null = null
afterEach(async () => {
  await server?.close()
  server = null
})

const row = {
  table: 'trades',
  job: 'compaction',
  partition: '2026-03-09',
  state: 'done',
  reason: '12 small files, 34.5 MiB',
  filesBefore: 12,
  filesAfter: 1,
  bytesBefore: 36_175_872,
  bytesAfter: 31_457_280,
  rows: 1_234_567,
  startedAt: null,
  finishedAt: null,
  nextAt: null,
  snapshotId: '9007199254740993',
}

async function serve(answers: object[]): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = []
  server = await fakeServer(({ method, path, body }, response) => {
    asked.push(`${method} ${path} ${body.toString()}`.trim())
    answerJson(response, method === 'POST' ? 202 : 200, answers.length > 1 ? answers.shift() : answers[0])
  })
  return { url: server.url, asked }
}

test('asks for a run, follows it to its end, and prints what was done', async () => {
  const { url, asked } = await serve([
    { run: 3, state: 'waiting', dryRun: false, rows: [] },
    { run: 3, state: 'running', dryRun: false, rows: [row] },
    { run: 3, state: 'done', dryRun: false, rows: [row] },
  ])
  const run = await cli(['maintain', '--table', 'trades', '--job', 'compaction', '--url', url])
  expect(run).toMatchObject({ code: 0, stderr: '' })
  expect(asked).toEqual([
    'POST /v1/maintenance {"table":"trades","job":"compaction","dryRun":false}',
    'GET /v1/maintenance/3',
    'GET /v1/maintenance/3',
  ])
  expect(run.stdout).toContain('trades')
  expect(run.stdout).toMatch(/12 -> 1 .* 1,234,567 .*12 small files, 34\.5 MiB/)
})

test('a dry run is one question, and says that nothing was changed', async () => {
  const { url, asked } = await serve([
    { run: 1, state: 'done', dryRun: true, rows: [{ ...row, state: 'planned', filesAfter: null, bytesAfter: null }] },
  ])
  const run = await cli(['maintain', '--dry-run', '--url', url])
  expect(run.code).toBe(0)
  expect(asked).toEqual(['POST /v1/maintenance {"dryRun":true}'])
  expect(run.stdout).toMatch(/planned .*\n.*Nothing was changed\.\n$/s)
})

test('a job that failed makes the exit code 1; --json prints the run as the server tells it', async () => {
  const done = {
    run: 1,
    state: 'done',
    dryRun: false,
    rows: [{ ...row, state: 'failed', reason: 'no \u001b[2Jspace' }],
  }
  const { url } = await serve([done])
  const run = await cli(['maintain', '--url', url])
  expect(run.code).toBe(1)
  expect(run.stdout).not.toContain('\u001b[2J')
  const json = await cli(['maintain', '--json', '--url', url])
  expect([json.code, JSON.parse(json.stdout)]).toEqual([1, done])
})

test('a job that there is not is a mistake in the command line', async () => {
  const run = await cli(['maintain', '--job', 'vacuum', '--url', 'http://127.0.0.1:1'])
  expect(run.code).toBe(2)
  expect(run.stderr).toContain('compaction, manifests, retention, expiry, orphans')
})

test('what the server refuses is shown', async () => {
  server = await fakeServer((_, response) => {
    answerJson(response, 404, { code: 'unknown_stream', title: 'Unknown stream', detail: 'There is no table "trade".' })
  })
  const run = await cli(['maintain', '--table', 'trade', '--url', server.url])
  expect(run.code).toBe(1)
  expect(run.stderr).toContain('There is no table "trade".')
})
