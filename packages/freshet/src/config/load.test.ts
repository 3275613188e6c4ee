import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LoadOptions } from './load.ts'
import type { Plan } from './plan.ts'

/**
 * vitest runs modules by machinery of its own, so configurations are loaded here in a Node process, as users' are. One process
 * serves all tests: it reads options, one JSON a line, and answers with what came of them.
 */
const server = `
  const { loadConfig } = await import(${JSON.stringify(new URL('load.ts', import.meta.url).href)})
  const lines = (await import('node:readline')).createInterface({ input: process.stdin })
  for await (const line of lines) {
    const answer = await loadConfig(JSON.parse(line)).then(
      (plan) => ({ plan, runs: globalThis.runs ?? 0 }),
      (error) => ({ error: { code: error.code, message: error.message, hint: error.hint, extra: error.extra } }),
    )
    console.log(JSON.stringify(answer))
  }`

interface Answer {
  plan?: Plan
  /** How often a configuration counted itself in that process. */
  runs?: number
  error?: { code: string; message: string; hint: string; extra: Record<string, unknown> }
}

let root = ''
let child: ReturnType<typeof spawn>
let answers: AsyncIterator<Buffer>
let warnings = ''

beforeAll(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'freshet-load-')))
  child = spawn(process.execPath, ['--input-type=module', '-e', server], { cwd: root, stdio: 'pipe' })
  child.stderr!.on('data', (chunk: Buffer) => (warnings += chunk.toString()))
  answers = child.stdout![Symbol.asyncIterator]() as AsyncIterator<Buffer>
})

afterAll(async () => {
  child.stdin!.end()
  await rm(root, { recursive: true, force: true })
})

async function load(options: LoadOptions): Promise<Answer> {
  child.stdin!.write(`${JSON.stringify(options)}\n`)
  let text = ''
  while (!text.endsWith('\n')) {
    const { value, done } = await answers.next()
    if (done === true) throw new Error(`the process ended: ${warnings}`)
    text += value.toString()
  }
  return JSON.parse(text) as Answer
}

let folders = 0

/** A new folder with these files. */
async function folder(files: Record<string, string>): Promise<string> {
  const dir = join(root, `f${++folders}`)
  await mkdir(dir)
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(dir, name)), { recursive: true })
    await writeFile(join(dir, name), text)
  }
  return dir
}

async function loadFiles(files: Record<string, string>): Promise<Answer & { dir: string }> {
  const dir = await folder(files)
  return { ...(await load({ cwd: dir, mode: 'start' })), dir }
}

test('TypeScript runs as it is, with freshet and zod at hand though neither is installed', async () => {
  const { plan, dir } = await loadFiles({
    'freshet.config.ts': `import { defineConfig, stream, type Config } from 'freshet'
      import { z } from 'zod'
      const config: Config = defineConfig({
        streams: { trades: stream({ schema: z.object({ id: z.string(), at: z.iso.datetime() }), id: 'id', time: 'at' }) },
      })
      export default config`,
  })
  expect(plan).toMatchObject({
    dataDir: join(dir, '.freshet'),
    mode: 'start',
    streams: { trades: { id: 'id', open: false } },
  })
  expect(warnings).toBe('')
})

test.each(['freshet.config.mts', 'freshet.config.mjs', 'freshet.config.js'])('%s is found', async (name) => {
  const { plan } = await loadFiles({ [name]: 'export default { http: { port: 1234 } }' })
  expect(plan?.http.port).toBe(1234)
})

test('a CommonJS file will do', async () => {
  const { plan } = await loadFiles({ 'freshet.config.js': 'module.exports = { http: { port: 1234 } }' })
  expect(plan?.http.port).toBe(1234)
})

test('a copy that the user has installed is used, not ours', async () => {
  const { plan } = await loadFiles({
    'freshet.config.ts': `import { port } from 'freshet'\nexport default { http: { port } }`,
    'node_modules/freshet/package.json': '{"type":"module","exports":"./index.js"}',
    'node_modules/freshet/index.js': 'export const port = 4321',
  })
  expect(plan?.http.port).toBe(4321)
})

test('every load runs the file and what it imports anew, and once', async () => {
  const dir = await folder({
    'freshet.config.ts': `import { port } from './port.ts'\nglobalThis.runs = (globalThis.runs ?? 0) + 1\nexport default { http: { port } }`,
    'port.ts': 'export const port: number = 1111',
  })
  const first = await load({ cwd: dir, mode: 'start' })
  await writeFile(join(dir, 'port.ts'), 'export const port: number = 2222')
  const second = await load({ cwd: dir, mode: 'start' })
  expect([first.plan?.http.port, second.plan?.http.port]).toEqual([1111, 2222])
  expect(second.runs! - first.runs!).toBe(1)
  expect(first.runs).toBe(1)
})

test('a named file is loaded from where it is; its data folder is beside it', async () => {
  const dir = await folder({ 'conf/other.ts': 'export default {}' })
  expect((await load({ cwd: dir, path: 'conf/other.ts', mode: 'start' })).plan?.dataDir).toBe(
    join(dir, 'conf/.freshet'),
  )
})

test('options of the command line stand above the file', async () => {
  const dir = await folder({ 'conf/c.ts': 'export default { http: { port: 1 } }' })
  const { plan } = await load({ cwd: dir, path: 'conf/c.ts', mode: 'dev', overrides: { port: 2, dataDir: 'data' } })
  expect(plan).toMatchObject({ mode: 'dev', http: { port: 2 }, dataDir: join(dir, 'data') })
})

describe('no file', () => {
  test('is an error in start, with a hint', async () => {
    const { error, dir } = await loadFiles({})
    expect(error).toMatchObject({ code: 'config_not_found', message: `There is no configuration file in ${dir}.` })
    expect(error?.hint).toContain('freshet init')
  })

  test('is a plan of defaults in dev', async () => {
    const dir = await folder({})
    expect((await load({ cwd: dir, mode: 'dev' })).plan).toMatchObject({
      mode: 'dev',
      dataDir: join(dir, '.freshet'),
      streams: {},
    })
  })

  test('is an error in dev too when it was named', async () => {
    const dir = await folder({})
    const { error } = await load({ cwd: dir, path: 'nope.ts', mode: 'dev' })
    expect(error).toMatchObject({
      code: 'config_not_found',
      message: `There is no configuration file ${join(dir, 'nope.ts')}.`,
    })
  })
})

describe('a file that cannot be run is explained with its place', () => {
  test.each<[string, Record<string, string>, string, string]>([
    [
      'TypeScript syntax',
      { 'freshet.config.ts': 'const a: number = 1\nexport default { a b }' },
      'syntax error: ',
      'freshet.config.ts:2',
    ],
    [
      'JavaScript syntax',
      { 'freshet.config.mjs': 'const a = 1\n\nexport default { a b }' },
      "syntax error: Unexpected identifier 'b'",
      'freshet.config.mjs:3',
    ],
    [
      'an enum',
      { 'freshet.config.ts': '\nenum A { B }\nexport default {}' },
      'TypeScript enum is not supported',
      'freshet.config.ts:2',
    ],
    [
      'a thrown error',
      { 'freshet.config.ts': "export default {}\nthrow new RangeError('too far')" },
      'it threw RangeError: too far',
      'freshet.config.ts:2:7',
    ],
    ['a thrown text', { 'freshet.config.ts': "throw 'no'" }, 'it threw no', 'freshet.config.ts'],
    [
      'a missing package',
      { 'freshet.config.ts': "\nimport a from 'no-such'\nexport default { a }" },
      "Cannot find package 'no-such'",
      'freshet.config.ts:2',
    ],
    [
      'a missing file',
      { 'freshet.config.ts': "import a from './a'\nexport default { a }" },
      'Cannot find module',
      'freshet.config.ts:1',
    ],
    [
      'a missing export',
      { 'freshet.config.ts': "import { nope } from 'freshet'\nexport default nope" },
      "does not provide an export named 'nope'",
      'freshet.config.ts:1',
    ],
    [
      'a broken import',
      { 'freshet.config.ts': "import { b } from './b.ts'\nexport default b", 'b.ts': '\nexport const b: = 1' },
      'syntax error: ',
      'b.ts:2',
    ],
  ])('%s', async (_, files, what, place) => {
    const { error, dir } = await loadFiles(files)
    expect(error?.code).toBe('config_invalid')
    expect(error?.message).toContain('cannot be loaded: ')
    expect(error?.message).toContain(what)
    const at = error?.message.split('\n  at ')[1] ?? ''
    expect(at === join(dir, place) || at.startsWith(`${join(dir, place)}:`), at).toBe(true)
    expect(error?.message).not.toContain('freshet-config-run')
    expect(error?.hint).toBeTruthy()
  })
})

describe('a default export that is no configuration is explained', () => {
  test.each([
    ['', 'freshet.config.ts exports nothing.'],
    ['export const config = {}', 'freshet.config.ts has no default export, only config.'],
    ['export default () => ({})', 'freshet.config.ts exports a function.'],
    ['export default Promise.reject(new Error())', 'freshet.config.ts exports a promise.'],
    ['export default [1]', 'freshet.config.ts exports an array, not a configuration.'],
    ['export default new Map()', 'freshet.config.ts exports an instance of a class, not a configuration.'],
  ])('%j', async (text, message) => {
    const { error } = await loadFiles({ 'freshet.config.ts': text })
    expect(error).toMatchObject({ code: 'config_invalid', message })
    expect(error?.hint).toMatch(/export default/)
  })
})

test('mistakes are reported under the name of the file', async () => {
  const { error } = await loadFiles({ 'freshet.config.ts': 'export default { htpp: {} }' })
  expect(error?.message).toBe('freshet.config.ts has 1 mistake:\n  htpp: unknown key; did you mean "http"?')
  expect(error?.extra).toEqual({ mistakes: [{ key: 'htpp', reason: 'unknown key', suggestion: 'http' }] })
})
