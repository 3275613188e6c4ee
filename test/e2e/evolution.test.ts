import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetProcess } from '../freshet-process.ts'

/** A server whose configuration changes between two starts. */
let folder: string
let server: FreshetProcess | undefined

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-evolution-'))
})

afterEach(async () => {
  await server?.stop()
  rmSync(folder, { recursive: true, force: true })
})

function configure(people: string): void {
  writeFileSync(join(folder, 'freshet.config.mjs'), `export default { streams: { people: ${people} } }\n`)
}

const schema = (fields: string): string =>
  `{ type: 'object', properties: { ${fields} }, required: ['id'], additionalProperties: false }`

async function post(...events: object[]): Promise<{ accepted: number; errors: { path: string }[] }> {
  const response = await fetch(`${server!.url}/v1/streams/people/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(events),
  })
  return (await response.json()) as { accepted: number; errors: { path: string }[] }
}

async function query(sql: string): Promise<unknown> {
  const response = await fetch(`${server!.url}/v1/sql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ sql }),
  })
  return ((await response.json()) as { rows: unknown }).rows
}

async function run(...args: string[]): Promise<{ code: number | string; output: string }> {
  const command = new FreshetProcess(args, folder)
  return { code: await command.ended(), output: command.output }
}

test('a rename is planned, applied, and events of both shapes are taken; a refused change stops the start', async () => {
  configure(`{ schema: ${schema("id: { type: 'string' }, size: { type: 'integer' }")}, id: 'id' }`)
  server = await FreshetProcess.serve(folder)
  expect(await post({ id: 'a', size: 1 }, { id: 'b', size: 2 })).toMatchObject({ accepted: 2 })
  expect(await server.stop()).toBe(0)

  configure(
    `{ schema: ${schema("id: { type: 'string' }, amount: { type: 'integer' }")}, id: 'id', renames: { amount: 'size' } }`,
  )
  expect(await run('plan')).toMatchObject({ code: 0, output: expect.stringContaining('rename size -> amount (id 7)') })
  server = await FreshetProcess.serve(folder)
  expect(server.output).toContain('people: rename size -> amount (id 7)')
  const answer = await post({ id: 'c', size: 3 }, { id: 'd', amount: 4 }, { id: 'e', size: 'x' }, { id: 'a', size: 1 })
  expect(answer).toMatchObject({ accepted: 3, errors: [{ path: '/size' }] })
  await expect
    .poll(() => query('select id, amount from people order by id'), { timeout: 30_000 })
    .toEqual([
      { id: 'a', amount: 1 },
      { id: 'b', amount: 2 },
      { id: 'c', amount: 3 },
      { id: 'd', amount: 4 },
    ])
  // Beside the running server, and once it was applied.
  expect(await run('plan')).toMatchObject({ code: 0, output: expect.stringContaining('Nothing to do.') })
  expect(await server.stop()).toBe(0)
  server = undefined

  configure(`{ schema: ${schema("id: { type: 'string' }, amount: { type: 'integer' }")} }`)
  const refused = await run('start', '--port', '0')
  expect(refused.code).toBe(1)
  expect(refused.output).toContain('people: the id of events changes from id to ids of the gateway')
  server = await FreshetProcess.serve(folder, ['--accept', 'people.id'])
  expect(await query('select count(*) as n from people')).toEqual([{ n: 4 }])
})
