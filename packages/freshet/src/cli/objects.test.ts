import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cli, fakeServer, tempFolder, answerJson, type CliSetting } from '../../test/support/cli.ts'
import { startObjectGateway, type ObjectGateway } from '../../test/support/object-gateway.ts'
import { partBytesMin } from './objects/put-file.ts'

let lab: ObjectGateway
let folder: string
let removeFolder: () => Promise<void>
beforeEach(async () => {
  lab = await startObjectGateway()
  ;({ folder, remove: removeFolder } = await tempFolder())
})
afterEach(async () => {
  await lab.close()
  await removeFolder()
})

const sha = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex')
const run = (args: string[], setting: CliSetting = {}, url = lab.url): ReturnType<typeof cli> =>
  cli(['objects', ...args, '--url', url], { cwd: folder, ...setting })

function write(name: string, bytes: Buffer | string): string {
  const path = join(folder, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, bytes)
  return path
}

const putEvents = (): string[] => lab.log.events().map(({ key }) => String(key))

describe('freshet objects put', () => {
  test('puts a file under its name, or another key, with what is said of it', async () => {
    write('web.log', 'one\n')
    expect(await run(['put', 'logs', 'web.log'])).toMatchObject({ code: 0, stdout: '1 object put (4 B).\n' })
    const args = [
      'put',
      'logs',
      'web.log',
      '--key',
      'a/b',
      '--meta',
      'Host=web-1',
      '--type',
      'text/x-log',
      '--source',
      's',
    ]
    expect((await run(args)).code).toBe(0)
    expect(lab.log.events()).toMatchObject([
      { key: 'web.log', content_type: 'text/plain; charset=utf-8', metadata: {} },
      { key: 'a/b', content_type: 'text/x-log', metadata: { host: 'web-1' }, _source: 's' },
    ])
  })

  test('puts a folder, and the second time only what has changed', async () => {
    write('in/a.log', 'one')
    write('in/sub/b%20 ü.log', 'two')
    write('in/sub/.hidden', 'three')
    symlinkSync(join(folder, 'in'), join(folder, 'in/sub/round'))
    expect(await run(['put', 'logs', 'in', '-r', '--prefix', 'site-1/'])).toMatchObject({
      code: 0,
      stdout: '3 objects put (11 B).\n',
    })
    expect(new Set(putEvents())).toEqual(new Set(['site-1/a.log', 'site-1/sub/.hidden', 'site-1/sub/b%20 ü.log']))
    write('in/a.log', 'changed')
    const again = await run(['put', 'logs', 'in', '-r', '--prefix', 'site-1/', '--json'])
    const { done, failed } = JSON.parse(again.stdout) as { done: { key: string; outcome: string }[]; failed: unknown[] }
    expect(done.map(({ key, outcome }) => `${outcome} ${key}`)).toEqual([
      'put site-1/a.log',
      'unchanged site-1/sub/.hidden',
      'unchanged site-1/sub/b%20 ü.log',
    ])
    expect(failed).toEqual([])
    expect(putEvents()).toHaveLength(4)
  })

  test('a large file goes by parts; an upload that was interrupted is gone on with', async () => {
    const bytes = randomBytes(2 * partBytesMin + 1000)
    write('large.bin', bytes)
    const path = '/v1/objects/logs/large.bin'
    // One with other metadata is another object, and is left alone.
    await lab.raw('POST', `${path}?uploads`, { 'x-freshet-sha256': sha(bytes), 'x-freshet-meta-a': 'b' })
    const { json } = await lab.raw('POST', `${path}?uploads`, { 'x-freshet-sha256': sha(bytes) })
    const upload = json['upload'] as string
    await lab.raw('PUT', `${path}?upload=${upload}&part=2`, {}, bytes.subarray(partBytesMin, 2 * partBytesMin))
    const before = lab.objects.uploads.putPart.bind(lab.objects.uploads)
    const sent: number[] = []
    lab.objects.uploads.putPart = (to, part, incoming) => {
      sent.push(part.number)
      return before(to, part, incoming)
    }
    expect(await run(['put', 'logs', 'large.bin'])).toMatchObject({ code: 0, stdout: '1 object put (17 MB).\n' })
    expect(sent.toSorted((a, b) => a - b)).toEqual([1, 3])
    expect((await lab.raw('GET', path)).body.equals(bytes)).toBe(true)
    expect(await run(['put', 'logs', 'large.bin'])).toMatchObject({
      stdout: '0 objects put, 1 there already (17 MB).\n',
    })
    expect(putEvents()).toEqual(['large.bin'])
  })

  test('is tried again while the server has too much to do, and shows it on a terminal', async () => {
    let refused = 0
    const server = await fakeServer(({ method, path, headers }, response) => {
      if (method === 'HEAD') return response.writeHead(404).end()
      if (method === 'GET') return answerJson(response, 200, { objects: [], prefixes: [], next: null })
      if (refused++ < 3) return answerJson(response, 503, { code: 'overloaded', detail: 'Too much to do.' })
      return answerJson(response, 201, { key: path, sha256: headers['x-freshet-sha256'], size: 3, version: 1 })
    })
    write('a', 'one')
    const done = await run(['put', 'logs', 'a'], { terminalWidth: 80 }, server.url)
    await server.close()
    expect(done).toMatchObject({ code: 0, stderr: expect.stringContaining('Too much to do. Trying again in 500 ms.') })
    expect(refused).toBe(4)
  })

  test('one file that is refused does not stop the others', async () => {
    await lab.close()
    lab = await startObjectGateway({ bucket: { objectBytesMax: 100 } })
    write('in/a', 'x'.repeat(101))
    write('in/b', 'fits')
    const done = await run(['put', 'logs', 'in', '-r'])
    expect(done.code).toBe(1)
    expect(done.stdout).toMatch(
      /^a: An object of the bucket "logs" may have at most 100 bytes.*\n1 object put, 1 not put/,
    )
    await run(['put', 'logs', 'in/b', '--key', 'c'])
    expect(await run(['put', 'logs', 'in/b', '--key', 'c', '--new', '--meta', 'x=1'])).toMatchObject({ code: 1 })
  })

  test('what cannot be meant is refused before anything is sent', async () => {
    write('in/a', 'one')
    write('in/b', 'two')
    write('other/a', 'three')
    for (const args of [
      ['in'],
      ['missing'],
      ['in/a', 'in/b', '--key', 'x'],
      ['in/a', '--key', '../x'],
      ['in/a', '--key', 'x//y'],
      ['in/a', '--meta', 'x'],
      ['in', 'other', '-r'],
    ])
      expect((await run(['put', 'logs', ...args])).code, args.join(' ')).toBe(2)
    expect((await run(['put', 'lgos', 'in/a'])).stderr).toMatch(/There is no bucket "lgos".*logs/)
    expect((await cli(['objects', 'put', 'logs', 'in/a', '--url', 'http://127.0.0.1:1'], { cwd: folder })).code).toBe(3)
    expect(lab.log.batches).toEqual([])
  })
})

describe('freshet objects get, list, delete', () => {
  test('fetch to standard output, a file or a folder, whole or not at all', async () => {
    const bytes = randomBytes(600_000)
    await lab.raw('PUT', '/v1/objects/logs/a/b.bin', {}, bytes)
    expect((await run(['get', 'logs', 'a/b.bin'])).bytes.equals(bytes)).toBe(true)
    expect(await run(['get', 'logs', 'a/b.bin', '-o', '.'])).toMatchObject({ stdout: `${join(folder, 'b.bin')}\n` })
    expect(readFileSync(join(folder, 'b.bin')).equals(bytes)).toBe(true)
    expect(await run(['get', 'logs', 'missing', '-o', 'x'])).toMatchObject({ code: 1 })
    expect(readdirSync(folder)).toEqual(['b.bin'])
  })

  test('an answer that breaks off leaves no file', async () => {
    const server = await fakeServer((_, response) => {
      response.writeHead(200, { 'content-length': '10', 'x-freshet-sha256': sha('0123456789') })
      response.write('01234', () => response.destroy())
    })
    expect((await run(['get', 'logs', 'a', '-o', 'x'], {}, server.url)).code).toBe(3)
    await server.close()
    expect(readdirSync(folder)).toEqual([])
  })

  test('list shows keys or folders, over pages, harmless to a terminal', async () => {
    for (const key of ['a/1', 'a/2', 'b', '\u202eevil'])
      await lab.raw('PUT', `/v1/objects/logs/${encodeURIComponent(key)}`, {}, key)
    const { stdout } = await run(['list', 'logs'])
    expect(stdout).toMatch(/key +size +type +put at\n.*\na\/1 +3 B +application\/octet-stream +\d{4}-/)
    expect(stdout).toContain('\\u202eevil')
    expect((await run(['list', 'logs', '--folders'])).stdout).toMatch(/a\/ +- +-/)
    expect((await run(['list', 'logs', '--prefix', 'x'])).stdout).toBe('No objects.\n')
    expect((await run(['list'])).stdout).toMatch(/logs +logs_files +compressed/)
  })

  test('delete removes, and says what is not there', async () => {
    await lab.raw('PUT', '/v1/objects/logs/a/1', {}, 'x')
    expect(await run(['delete', 'logs', 'a/1'])).toMatchObject({ code: 0, stdout: '1 object removed from logs.\n' })
    expect(await run(['delete', 'logs', 'never'])).toMatchObject({ code: 1 })
    expect(await run(['rotate', 'logs'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('is not encrypted'),
    })
  })
})
