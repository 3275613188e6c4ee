/** `freshet verify` on a data folder in order, at rest and while an engine works on it, and what the command says. */
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest'
import { verifyDataFolder } from '../../src/app/verify/verify.ts'
import { openDataFolder } from '../../src/runtime/data-folder.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { cli } from '../support/cli.ts'
import { Lab, tradeEvents } from './engine-harness.ts'
import { digest, flip, FolderCopy, verifyLab } from './verify-lab.ts'

const lab = await verifyLab()
let folder: FolderCopy

beforeEach(async () => {
  folder = await FolderCopy.of(lab)
})

afterEach(() => folder.remove())
afterAll(() => lab.close())

test('a folder in order passes, in depth too, and nothing in it changes', async () => {
  const before = await digest(folder.dir)
  const report = await folder.verify({ deep: true })
  expect(report).toMatchObject({ ok: true, format: 1, deep: true, problems: [], notes: [] })
  const [trades, letters] = report.streams
  expect(trades).toMatchObject({
    stream: 'trades',
    log: { segments: expect.any(Number) as number, events: expect.any(Number) as number },
    table: { rows: 411, orphans: { files: 0 } },
    ledger: { accepted: 442 + 320, committed: 411, deduplicated: 30, deadLettered: 1 },
    inFlight: { events: 320 },
  })
  expect(letters).toMatchObject({
    stream: 'trades_dead_letters',
    log: { events: 1 },
    table: { rows: 1 },
    ledger: { committed: 1 },
  })
  expect(await digest(folder.dir)).toBe(before)
})

test('the format of the folder: damaged or missing is a problem, a newer one is refused, no folder at all too', async () => {
  const file = join(folder.dir, 'freshet.json')
  await writeFile(file, 'x')
  expect(await folder.problems()).toMatchObject([{ check: 'folder', file }])
  await rm(file)
  expect(await folder.problems()).toMatchObject([{ check: 'folder', file }])
  await writeFile(file, '{"format":99,"createdBy":"freshet 9"}')
  await expect(folder.verify()).rejects.toMatchObject({ code: 'data_folder_newer' })
  await rm(folder.dir, { recursive: true })
  await expect(folder.verify()).rejects.toMatchObject({ code: 'data_folder_unusable' })
})

test('the command names each problem with place and mend, and ends with 0, 1 or 2', async () => {
  const well = await cli(['verify', '--data-dir', folder.dir], { cwd: folder.dir })
  expect(well).toMatchObject({ code: 0, stderr: '' })
  expect(well.stdout).toContain('ok: no problem found')
  const last = (await folder.filesIn('log/trades', '.ndjson')).at(-1)!
  await flip(last, 300)
  const ill = await cli(['verify', 'trades', '--data-dir', relative(tmpdir(), folder.dir)], { cwd: tmpdir() })
  expect(ill.code).toBe(1)
  expect(ill.stdout).toContain(`place: ${last}, byte 0`)
  expect(ill.stdout).toContain('mend: ')
  const json = await cli(['verify', '--json', '--data-dir', folder.dir], { cwd: folder.dir })
  expect(json.code).toBe(1)
  expect(JSON.parse(json.stdout)).toMatchObject({
    ok: false,
    dataDir: folder.dir,
    problems: [{ file: last, offset: 0 }],
  })
  const unknown = await cli(['verify', 'tades', '--data-dir', folder.dir], { cwd: folder.dir })
  expect(unknown).toMatchObject({ code: 2 })
  expect(unknown.stderr).toContain('It has: trades, trades_dead_letters.')
})

test('Ctrl-C ends it, and leaves nothing behind', async () => {
  vi.stubEnv('TMPDIR', folder.dir)
  const before = await digest(folder.dir)
  let again: NodeJS.Timeout | undefined
  const run = await cli(['verify', '--data-dir', folder.dir], {
    cwd: folder.dir,
    onReady: (interrupt) => (again = setInterval(interrupt, 1)),
  })
  clearInterval(again)
  vi.unstubAllEnvs()
  expect(run).toMatchObject({ code: 130, stdout: '' })
  expect(await digest(folder.dir)).toBe(before)
})

test('a terminal shows how far it is', async () => {
  const { stderr } = await cli(['verify', '--data-dir', folder.dir], { cwd: folder.dir, terminalWidth: 100 })
  const plain = stderr.replaceAll(new RegExp(String.raw`${String.fromCodePoint(27)}\[K`, 'g'), '')
  expect(plain).toMatch(/\rtrades: log, .* checked/)
  expect(plain.endsWith('\r')).toBe(true)
})

test('while an engine loads, commits and trims, nothing is taken for damage', async () => {
  const busy = await Lab.open({ segmentBytes: 20_000, plan: { lake: { flushRows: 100, flushIntervalMs: 20 } } })
  try {
    await openDataFolder({ dataDir: busy.dir, version: '0.0.0', fileSystem: nodeFileSystem })
    const engine = await busy.start()
    const load = { done: false }
    const posting = (async () => {
      for (let index = 0; index < 40; index++) await busy.post('trades', tradeEvents(60, { from: index * 50 }))
      await engine.committed('trades')
    })().finally(() => (load.done = true))
    let rounds = 0
    while (!load.done || rounds < 3) {
      const options = { plan: busy.plan(), streams: [], deep: rounds % 2 === 1, onProgress: () => undefined }
      expect((await verifyDataFolder(options)).problems).toEqual([])
      rounds++
    }
    await posting
  } finally {
    await busy.close()
  }
})
