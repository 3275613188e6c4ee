/**
 * Log files of machines, from the folder they lie in to rows in SQL: sent as objects, kept encrypted, parsed by a transform as they arrive; and what
 * the parser failed at is parsed again from what was kept. Each line of each file is one row in the end, whatever is killed on the way.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { processOf, rows, type Row } from './support/api.ts'
import { Scene } from './support/scene.ts'
import { patience } from './support/until.ts'

let scene: Scene
afterEach(() => scene.close())

const key = randomBytes(32).toString('base64')

const config = (dataDir: string): string => `
  import { objectEvents } from 'freshet'
  import { parse } from './parse.mjs'

  export default {
    dataDir: ${JSON.stringify(dataDir)},
    lake: { flushInterval: '200 ms' },
    streams: {
      files: { schema: objectEvents, id: 'id', time: 'put_at' },
      usage: {
        from: 'files',
        each: async (file, { object }) => {
          if (file.deleted) return null
          return parse(file.key, new TextDecoder('utf-8', { fatal: true }).decode(await object(file)))
        },
      },
    },
    buckets: { logs: { stream: 'files', encrypt: { keys: [${JSON.stringify(key)}] } } },
  }
`

/** The patterns of lines, as a parser knows them, by the beginning of a file's name. */
const patterns = {
  Apache: String.raw`\[(?<at>[^\]]+)\] \[(?<level>\w+)\] (?<text>.*)`,
  HealthApp: String.raw`(?<at>[\d:-]+)\|(?<part>[^|]*)\|(?<process>\d+)\|(?<text>.*)`,
  OpenSSH: String.raw`(?<at>\w{3} +\d+ [\d:]+) (?<host>\S+) sshd\[(?<process>\d+)\]: (?<text>.*)`,
  Spark: String.raw`(?<at>\S+ \S+) (?<level>[A-Z]+) (?<part>[^:]+): (?<text>.*)`,
}
const { Spark: _, ...withoutSpark } = patterns
/** It knows nothing of Spark, and takes what a part of the health app has to say for its name. */
const wrong = { ...withoutSpark, HealthApp: String.raw`(?<at>[\d:-]+)\|(?<text>[^|]*)\|(?<process>\d+)\|(?<part>.*)` }

const parser = (known: Partial<typeof patterns>): string => `
  const known = ${JSON.stringify(Object.entries(known))}.map(([name, line]) => [name, new RegExp('^' + line + '$')])
  export function parse(file, text) {
    const pattern = known.find(([name]) => file.includes(name))?.[1]
    if (pattern === undefined) throw new Error('nobody knows the lines of ' + file)
    const lines = text.split('\\n').filter((line) => line !== '')
    return lines.map((line, at) => ({ file, number: at + 1, ...pattern.exec(line.replace('\\r', '')).groups }))
  }
`

type Form = keyof typeof patterns
type Parsed = Record<'at' | 'level' | 'part' | 'process' | 'host' | 'text', string>

/** Lines as they were before they were parsed. */
const written: Record<Form, (row: Parsed) => string> = {
  Apache: ({ at, level, text }) => `[${at}] [${level}] ${text}`,
  HealthApp: ({ at, part, process, text }) => `${at}|${part}|${process}|${text}`,
  OpenSSH: ({ at, host, process, text }) => `${at} ${host} sshd[${process}]: ${text}`,
  Spark: ({ at, level, part, text }) => `${at} ${level} ${part}: ${text}`,
}

async function run(...args: string[]): Promise<{ code: number | string; output: string }> {
  const command = scene.run([...args, '--url', scene.url])
  return { code: await command.ended(), output: command.output }
}

async function kill(role: 'gateway' | 'engine' | 'worker'): Promise<void> {
  const { pid } = await vi.waitFor(() => processOf(scene.url, role), patience)
  process.kill(pid, 'SIGKILL')
}

/** The lines of a file as its rows say them. */
async function linesOf(file: string, form: Form): Promise<string[]> {
  const columns = ['at', 'level', 'part', 'process', 'host', 'text'].map((name) => `u.${name}`)
  const found = await rows(scene.url, `SELECT ${columns.join()} FROM usage u WHERE file = '${file}' ORDER BY number`)
  return (found as Parsed[]).map(written[form])
}

const formOf = (file: string): Form => (Object.keys(patterns) as Form[]).find((name) => file.includes(name))!

/** @returns how many rows there are in the end */
async function sendAndMend(folder: string): Promise<Row | undefined> {
  scene = await Scene.create('usage-logs')
  writeFileSync(join(scene.folder, 'freshet.config.mjs'), config(scene.dataDir))
  const parse = join(scene.folder, 'parse.mjs')
  writeFileSync(parse, parser(wrong))
  const first = await scene.serve()

  const files = readdirSync(folder).filter((name) => name.endsWith('.log'))
  const lines = new Map(
    files.map((name) => [name, readFileSync(join(folder, name), 'utf8').split(/\r?\n/).filter(Boolean)] as const),
  )
  const put = (from: string): Promise<{ code: number | string; output: string }> =>
    run('objects', 'put', 'logs', from, '-r')
  const putting = put(folder)
  await kill('gateway')
  await putting
  // As a machine does that sends its folder by schedule: what arrived is not sent again.
  await vi.waitFor(async () => expect(await put(folder)).toMatchObject({ code: 0 }), patience)
  expect((await put(folder)).output).toContain('4 there already')
  await kill('worker')
  await kill('engine')

  // What the parser knows is there, right or wrong; what it does not know is kept with the reason.
  const parsed = files.filter((name) => !name.startsWith('Spark'))
  const count = (of: readonly string[]): number => of.reduce((sum, name) => sum + lines.get(name)!.length, 0)
  await vi.waitFor(async () => {
    const [found] = await rows(scene.url, 'SELECT count(*) AS n FROM usage')
    expect(found).toEqual({ n: count(parsed) })
  }, patience)
  const letters = await rows(scene.url, 'SELECT stage, code, message FROM usage_dead_letters')
  expect(letters).toEqual([
    { stage: 'transform', code: 'function_failed', message: 'nobody knows the lines of Spark.log' },
  ])
  expect(await linesOf('OpenSSH.log', 'OpenSSH')).toEqual(lines.get('OpenSSH.log'))
  expect(await linesOf('HealthApp.log', 'HealthApp')).not.toEqual(lines.get('HealthApp.log'))
  await first.stop()

  writeFileSync(parse, parser(patterns))
  await scene.serve()
  const replayed = await run('dead', 'replay', 'usage', '--all', '--json')
  expect(replayed.code).toBe(0)
  expect(JSON.parse(replayed.output)).toMatchObject({ letters: 1, replayed: 1, failed: 0 })
  // A file that comes after the mending is parsed as the others.
  const more = join(scene.folder, 'more')
  mkdirSync(more)
  writeFileSync(join(more, 'Spark.later.log'), '26/11/20 10:00:00 INFO util.Later: one line more\n')
  lines.set('Spark.later.log', ['26/11/20 10:00:00 INFO util.Later: one line more'])
  expect(await put(more)).toMatchObject({ code: 0 })
  const right = [...lines.keys()].filter((name) => !name.startsWith('HealthApp'))
  await vi.waitFor(async () => {
    for (const file of right) expect(await linesOf(file, formOf(file)), file).toEqual(lines.get(file))
  }, patience)
  expect(await rows(scene.url, 'SELECT count(*) AS n FROM usage_dead_letters')).toEqual([{ n: 0 }])

  // What is kept says nothing to who has no key.
  const blobs = join(scene.dataDir, 'objects', 'blobs')
  const kept = readdirSync(blobs, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  expect(kept.filter(({ name }) => /^[0-9a-f]{64}$/.test(name))).toHaveLength(lines.size)
  for (const { parentPath, name } of kept) {
    const bytes = readFileSync(join(parentPath, name))
    for (const [line] of lines.values()) expect(bytes.includes(line!)).toBe(false)
  }
  return (await rows(scene.url, 'SELECT count(*) AS lines FROM usage'))[0]
}

/** Some lines in the forms of the real ones. */
const samples: Record<string, string> = {
  'Apache.log':
    '[Fri Nov 20 10:00:00 2026] [notice] workers are ready\r\n[Fri Nov 20 10:00:01 2026] [error] a worker [7] has gone\r\n',
  'HealthApp.log':
    '20261120-10:00:00:606|Step_Counter|30002312|onStand 3579\r\n20261120-10:00:01:15|Step_Store|30002312|save: 14 0 | 4\r\n',
  'OpenSSH.log':
    'Nov 20 10:00:00 gate sshd[24200]: Invalid user webmaster from 192.0.2.7\r\nNov  2 10:00:01 gate sshd[7]: check pass\r\n',
  'Spark.log':
    '26/11/20 10:00:00 INFO util.Signals: handlers for [TERM, INT]\r\n26/11/20 10:00:01 WARN storage.Block: it is late\r\n',
}

const realLogs = join(import.meta.dirname, '../../../shared/data/logs')

describe('lines of machines become rows once, and a corrected parser is run again over what was kept', () => {
  test('a few lines', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'freshet-samples-'))
    for (const [name, text] of Object.entries(samples)) writeFileSync(join(folder, name), text)
    await expect(sendAndMend(folder)).resolves.toEqual({ lines: 9 })
    rmSync(folder, { recursive: true })
  })

  test.skipIf(!existsSync(realLogs))('logs of real machines', async () => {
    await expect(sendAndMend(realLogs)).resolves.toEqual({ lines: 8001 })
  })
})
