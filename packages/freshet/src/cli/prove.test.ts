import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { answerJson, cli, fakeServer, type FakeServer } from '../../test/support/cli.ts'

let folder: string
let server: FakeServer | undefined

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-prove-cli-'))
})

afterEach(async () => {
  await server?.close()
  server = undefined
  rmSync(folder, { recursive: true, force: true })
})

test.each([
  ['processes of somebody else', ['--url', 'http://127.0.0.1:1', '--kill', '1'], '--kill needs a server of its own'],
  ['a folder of somebody else', ['--url', 'http://127.0.0.1:1', '--keep'], 'with --url it starts none'],
  ['columns of nothing', ['--columns', 'a,b'], '--columns names the columns of --input'],
  ['a part above 1', ['--late', '1.5'], 'Give a part from 0 to 1'],
  ['no events', ['--events', '0'], 'Give a whole number from 1'],
  ['a name that is none', ['--stream', 'Not a name'], 'is no name of a stream'],
  ['a file that is not there', ['--input', 'nowhere.csv'], 'there is no such file'],
  ['a report in no folder', ['--json', 'nowhere/report.json'], 'cannot be written'],
])('%s: nothing begins', async (_what, args, message) => {
  const run = await cli(['prove', ...args], { cwd: folder })
  expect(run.code).toBe(2)
  expect(run.stderr).toContain(message)
})

test('a folder that is not empty is left alone', async () => {
  writeFileSync(join(folder, 'mine'), '')
  const run = await cli(['prove', '--events', '1', '--data-dir', folder], { cwd: folder })
  expect(run.code).toBe(2)
  expect(run.stderr).toContain('is not empty')
  expect(readdirSync(folder)).toEqual(['mine'])
})

test('a server without a fitting stream is told what to declare, and nothing is sent', async () => {
  server = await fakeServer(({ path }, response) => {
    if (path === '/v1/sql') response.writeHead(200, { 'content-type': 'application/x-ndjson' }).end('')
    else answerJson(response, 404, { code: 'not_found', title: 'Not found', detail: 'No.' })
  })
  const run = await cli(['prove', '--events', '10', '--url', server.url], { cwd: folder })
  expect(run.code).toBe(2)
  expect(run.stderr).toMatch(/stream "prove" is not declared[^]*id: 'prove_id', time: 'prove_at'/)
  expect(server.requests.map(({ path }) => path)).toEqual(['/v1/sql'])
})

test('a server that is not there is told apart from one that fails', async () => {
  const run = await cli(['prove', '--events', '10', '--url', 'http://127.0.0.1:9'], { cwd: folder })
  expect(run.code).toBe(3)
})
