/** `freshet prove` as users run it: with a server of its own, which it kills, and with one that gets things wrong. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { query } from './support/api.ts'
import { FaultyProxy, type Fault } from './support/faulty-proxy.ts'
import { Scene } from './support/scene.ts'
import { patience } from './support/until.ts'

interface Report {
  ok: boolean
  [member: string]: unknown
}

const stream = {
  id: 'prove_id',
  time: 'prove_at',
  schema: {
    type: 'object',
    properties: {
      prove_id: { type: 'string' },
      prove_at: { type: 'string', format: 'date-time' },
      prove_site: { type: 'string' },
      prove_n: { type: 'integer' },
    },
    required: ['prove_id', 'prove_at', 'prove_site', 'prove_n'],
  },
}

let scene: Scene
let proxy: FaultyProxy | undefined

beforeEach(async () => {
  scene = await Scene.create('prove', { lake: { flushInterval: '500 ms' }, streams: { prove: stream } })
})

afterEach(async () => {
  await proxy?.close()
  proxy = undefined
  await scene.close()
})

async function prove(args: readonly string[]): Promise<{ code: number | string; output: string; report: Report }> {
  const run = scene.run(['prove', '--json', 'report.json', ...args])
  const code = await run.ended()
  const text = readFileSync(join(scene.folder, 'report.json'), 'utf8')
  if (text === '') throw new Error(`no report, code ${code}:\n${run.output}`)
  return { code, output: run.output, report: JSON.parse(text) as Report }
}

test('I1, I4, I5, I6, I10: twenty thousand events of four sites survive three kills, each once', async () => {
  const { code, output, report } = await prove([
    '--events',
    '20000',
    '--sites',
    '4',
    '--kill',
    '3',
    '--seed',
    '1',
    '--html',
    'report.html',
  ])
  expect(output).toContain('PROVED: 20,000 events from 4 sites')
  expect(report).toMatchObject({
    ok: true,
    sent: 20_000,
    committed: 20_000,
    missing: 0,
    twice: 0,
    kills: 3,
    unknown: 0,
  })
  expect((report['checks'] as { ok: boolean | null }[]).map(({ ok }) => ok)).not.toContain(null)
  expect(readFileSync(join(scene.folder, 'report.html'), 'utf8')).toContain('</html>')
  expect(code).toBe(0)
})

test('Ctrl-C ends it, and the server that it started', async () => {
  const run = scene.run(['prove', '--events', '10000000', '--data-dir', 'kept'])
  const config = (): string => readFileSync(join(scene.folder, 'kept', 'freshet.config.mjs'), 'utf8')
  await expect.poll(() => run.output, patience).toContain('Sending')
  const url = `http://127.0.0.1:${/"port": (\d+)/.exec(config())![1]!}`
  expect((await query(url, 'select 1')).status).toBe(200)
  expect(await run.stop('SIGINT')).toBe(130)
  expect(run.output).toContain('Interrupted')
  await expect(fetch(`${url}/readyz`)).rejects.toThrow('fetch failed')
})

const faults: [string, Fault, Record<string, unknown>][] = [
  ['that keeps all', { batch: (body) => body }, { ok: true, missing: 0, twice: 0, changed: 0, unexpected: 0 }],
  [
    'that loses an event it has acknowledged',
    { batch: (body) => body.slice(body.indexOf('\n') + 1) },
    { ok: false, missing: 1, twice: 0 },
  ],
  [
    'that changes a value',
    { batch: (body) => body.replace(/"amount":\d/, '"amount":77') },
    { ok: false, missing: 0, twice: 0, changed: 1 },
  ],
  [
    'that makes an event up',
    { batch: (body) => `${body.slice(0, body.indexOf('\n')).replace(/-(s\d+)-\d+"/, '-$1-99999"')}\n${body}` },
    { ok: false, missing: 0, twice: 0, unexpected: 1 },
  ],
  [
    'that shows an event twice',
    { audit: (answer) => `${answer.slice(0, answer.indexOf('\n'))}\n${answer}` },
    { ok: false, missing: 0, twice: 1 },
  ],
]

test.each(faults)('finds out a server %s', async (_what, fault, expected) => {
  await scene.serve()
  proxy = await FaultyProxy.open(scene.url, fault)
  const { code, report } = await prove([
    '--url',
    proxy.url,
    '--events',
    '2000',
    '--sites',
    '2',
    '--seed',
    '3',
    '--duplicates',
    '0',
  ])
  expect(proxy.planted).toBe(true)
  expect(report).toMatchObject(expected)
  expect(code).toBe(expected['ok'] === true ? 0 : 1)
})
