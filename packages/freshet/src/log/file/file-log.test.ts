import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { batch, codeOf, idsIn, numbered, openLog, readIds, recorder } from '../../../test/simulation/log-fixture.ts'
import { nodeFileSystem, type FileSystem } from '../../runtime/file-system.ts'
import type { FileLog, FileLogOptions } from './file-log.ts'

let dir: string
let opened: FileLog[]

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-file-log-'))
  opened = []
})

afterEach(async () => {
  for (const log of opened) await log.close()
  await rm(dir, { recursive: true, force: true })
})

async function open(changes: Partial<FileLogOptions> = {}): Promise<FileLog> {
  const log = await openLog(changes.fileSystem ?? nodeFileSystem, { dir, ...changes })
  opened.push(log)
  return log
}

describe('a file log', () => {
  test('is plain NDJSON that other tools read', async () => {
    const log = await open()
    await log.append('trades', numbered('a', 0))
    const lines = (await readFile(join(dir, 'trades/0/00000000000000000000.ndjson'), 'utf8')).trimEnd().split('\n')
    expect(lines.map((line) => Object.keys(JSON.parse(line) as object)[0])).toEqual([
      '_frame',
      '_event_id',
      '_event_id',
    ])
  })

  test('names its streams, and takes no other file or folder for one', async () => {
    const log = await open()
    await mkdir(join(dir, 'lost+found'))
    await writeFile(join(dir, '.DS_Store'), '')
    await writeFile(join(dir, 'notes.txt'), '')
    for (const stream of ['trades', 'quotes']) await log.append(stream, batch('x'))
    expect(await log.streams()).toEqual(['quotes', 'trades'])
    await log.close()
    expect(await readIds(await open())).toEqual(idsIn(batch('x')))
  })

  test('opened for reading refuses appends, and makes no folders for streams', async () => {
    const log = await open({ mode: 'read' })
    expect(await codeOf(log.append('trades', batch('x')))).toBe('log_unwritable')
    expect(await log.streams()).toEqual([])
  })

  test('that is closed finishes what was asked of it, then refuses', async () => {
    const log = await open()
    const appending = Promise.all([log.append('trades', numbered('a', 0)), log.append('quotes', numbered('a', 0))])
    const reading = log.read('trades', 0, 0n, 1000)
    const closing = log.close()
    expect(await codeOf(log.append('trades', numbered('a', 1)))).toBe('shutting_down')
    expect(await codeOf(log.append('other', numbered('a', 1)))).toBe('shutting_down')
    expect(await codeOf(log.read('trades', 0, 0n, 1000))).toBe('shutting_down')
    await closing
    expect(await codeOf(reading)).toBe('fulfilled')
    expect((await appending).map(({ duplicate }) => duplicate)).toEqual([false, false])
  })

  test('closed in good order leaves nothing to recover', async () => {
    const log = await open()
    await log.append('trades', numbered('a', 0))
    await log.close()
    const { logger, reported } = recorder()
    await open({ logger })
    expect(reported).toEqual([])
  })

  test('that was killed within a write is recovered on a real disk too', async () => {
    const log = await open()
    await log.append('trades', numbered('a', 0))
    await log.close()
    const path = join(dir, 'trades/0/00000000000000000000.ndjson')
    const whole = await readFile(path)
    await appendFile(path, '{"_frame":{"bytes":100,"count":2')
    await open()
    expect(await readFile(path)).toEqual(whole)
  })
})

test('a repeat is told where the first is after its segment was trimmed, over a restart', async () => {
  const log = await open({ segmentBytes: 1 })
  const marks = [{ producer: { id: 'a', sequence: 7 } }, { idempotency: { key: 'k', checksum: 1 } }]
  const places: unknown[] = []
  for (const mark of marks) places.push((await log.append('trades', batch('x', mark))).place)
  for (const name of ['y', 'z']) await log.append('trades', batch(name))
  await log.trim('trades', await log.ends('trades'))
  expect(await codeOf(log.read('trades', 0, 0n, 1))).toBe('log_trimmed')
  await log.close()
  const again = await open({ segmentBytes: 1 })
  for (const [index, mark] of marks.entries()) {
    expect((await again.append('trades', batch('x', mark))).place).toEqual(places[index])
  }
})

describe('growth', () => {
  const heardFrom = (log: FileLog): Set<string> => {
    const heard = new Set<string>()
    log.subscribe((stream) => heard.add(stream))
    return heard
  }

  test('is noticed where the operating system reports nothing', async () => {
    const withoutWatch: FileSystem = {
      ...nodeFileSystem,
      watch: () => {
        throw Object.assign(new Error('ENOSYS'), { code: 'ENOSYS' })
      },
    }
    const log = await open()
    const { logger, reported } = recorder()
    const heard = heardFrom(await open({ mode: 'read', fileSystem: withoutWatch, logger }))
    await log.append('trades', batch('x'))
    await vi.waitFor(() => expect([...heard]).toEqual(['trades']), { timeout: 10_000 })
    expect(reported).toMatchObject([{ level: 'warn' }])
  })

  test('is noticed again after the folder could not be read for a while', async () => {
    let readable = false
    const moody: FileSystem = {
      ...nodeFileSystem,
      watch: () => () => undefined,
      readDir: (path) => (readable ? nodeFileSystem.readDir(path) : Promise.reject(new Error('EIO'))),
    }
    const log = await open()
    const { logger, reported } = recorder()
    const heard = heardFrom(await open({ mode: 'read', fileSystem: moody, logger }))
    await log.append('trades', batch('x'))
    await vi.waitFor(() => expect(reported.length).toBeGreaterThan(0), { timeout: 10_000 })
    readable = true
    await vi.waitFor(() => expect([...heard]).toEqual(['trades']), { timeout: 10_000 })
  })

  test('is told to everyone who subscribed, also twice with the same function', async () => {
    const log = await open()
    let calls = 0
    const count = (): void => {
      calls++
    }
    const first = log.subscribe(count)
    const second = log.subscribe(count)
    first()
    await log.append('trades', batch('x'))
    await vi.waitFor(() => expect(calls).toBeGreaterThan(0), { timeout: 10_000 })
    second()
  })
})
