import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { parse } from 'csv-parse/sync'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HandTimers, sinkDeps, sinkEvent } from '../../../test/support/sink-lab.ts'
import { seededRandom } from '../../../test/simulation/seeded-random.ts'
import { SimulatedDisk } from '../../../test/simulation/simulated-file-system.ts'
import { nodeFileSystem } from '../../runtime/file-system.ts'
import { EventsRefused, type Sink, type SinkDeps, type SinkEvent } from '../sink.ts'
import { filesKind } from './files-sink.ts'
import { filesSettings } from './settings.ts'

let folder: string
let sinks: Sink[]
let timers: HandTimers
const startMs = Date.UTC(2026, 10, 20, 20, 29)

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'freshet-files-'))
  sinks = []
  timers = new HandTimers()
})

afterEach(async () => {
  await Promise.all(sinks.map((sink) => sink.close()))
  await rm(folder, { recursive: true })
})

async function open(words: object = {}, more: Partial<SinkDeps> = {}): Promise<Sink> {
  const settings = { folder: 'out', events: 2, ...words }
  const clock = { nowMs: () => startMs + timers.nowMs }
  const sink = await filesKind.open(
    sinkDeps('files', filesSettings, settings, { baseDir: folder, clock, timers, ...more }),
  )
  sinks.push(sink)
  return sink
}

const two = [sinkEvent('a', { n: 1 }), sinkEvent('b', { n: 2 })]

/** Files in the folder that anybody may take, by path. */
async function files(): Promise<Record<string, Buffer>> {
  const found: Record<string, Buffer> = {}
  for (const entry of await readdir(join(folder, 'out'), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name).slice(join(folder, 'out').length + 1)
    if (entry.isFile() && !path.split('/').some((part) => part.startsWith('.')))
      found[path] = await readFile(join(folder, 'out', path))
  }
  return found
}

async function texts(): Promise<Record<string, string>> {
  return Object.fromEntries(Object.entries(await files()).map(([path, bytes]) => [path, bytes.toString()]))
}

/** The hidden files of all folders. */
async function hidden(): Promise<string[]> {
  const names = await readdir(join(folder, 'out'), { recursive: true })
  return names.filter((name) => name.includes('.freshet-') && !name.endsWith('.freshet-out')).toSorted()
}

async function refusedBy(delivery: Promise<void>): Promise<[number, string][]> {
  const error: unknown = await delivery.catch((reason: unknown) => reason)
  if (error instanceof EventsRefused) return [...error.refused]
  throw new Error('nothing was refused', { cause: error })
}

/** An event with more digits than a parsed one can have. */
function withText(id: string, text: string): SinkEvent {
  const event = sinkEvent(id)
  return { ...event, text: event.text.slice(0, -1) + text }
}

const linesOf = (events: readonly SinkEvent[]): string => events.map(({ text }) => `${text}\n`).join('')

describe('a file is ended', () => {
  test('when it has so many events, also within a batch', async () => {
    const sink = await open()
    const five = Array.from({ length: 5 }, (_, n) => sinkEvent(`e${n}`, { n }))
    await sink.deliver(five, 'five')
    expect(await texts()).toEqual({
      'orders-00000001.ndjson': linesOf(five.slice(0, 2)),
      'orders-00000002.ndjson': linesOf(five.slice(2, 4)),
    })
    await sink.deliver([sinkEvent('e5')], 'six')
    expect(Object.keys(await files())).toHaveLength(3)
    expect(await sink.checkpoint()).toBe('six')
    expect(await hidden()).toEqual(['.freshet-out/state.json'])
  })

  test('when it has so many bytes', async () => {
    const sink = await open({ events: 1000, size: 1024 })
    const batch = Array.from({ length: 10 }, (_, n) => sinkEvent(`e${n}`, { text: 'x'.repeat(200) }))
    await sink.deliver(batch, '1')
    const written = Object.values(await files())
    expect(written).toHaveLength(3)
    expect(written.every(({ length }) => length <= 1024)).toBe(true)
  })

  test('by the clock, though no event comes', async () => {
    const sink = await open({ events: 1000, every: '1 h' })
    await sink.deliver(two, '1')
    timers.pass(31 * 60_000 - 1)
    await sink.checkpoint()
    expect(await files()).toEqual({})
    timers.pass(1)
    await expect.poll(texts).toEqual({ 'orders-00000001.ndjson': linesOf(two) })
    timers.pass(86_400_000)
    await sink.deliver([sinkEvent('c')], '2')
    expect(Object.keys(await files())).toHaveLength(1)
  })

  test('by the clock, before the next event goes into another one', async () => {
    const sink = await open({ events: 1000, every: '1 h' }, { timers: new HandTimers() })
    await sink.deliver(two, '1')
    timers.pass(3_600_000)
    await sink.deliver([sinkEvent('c')], '2')
    expect(await texts()).toEqual({ 'orders-00000001.ndjson': linesOf(two) })
  })
})

describe('what is taken', () => {
  test('is there after a restart, and goes into the same file as what follows', async () => {
    const first = await open()
    await first.deliver([two[0]!], '1')
    await first.close()
    const second = await open()
    expect(await second.checkpoint()).toBe('1')
    await second.deliver([two[1]!], '2')
    expect(await texts()).toEqual({ 'orders-00000001.ndjson': linesOf(two) })
  })

  test('becomes a file soon after a restart, when its time came meanwhile', async () => {
    const first = await open({ events: 1000 })
    await first.deliver(two, '1')
    await first.close()
    timers.pass(86_400_000)
    await open({ events: 1000 })
    timers.pass(1)
    await expect.poll(texts).toEqual({ 'orders-00000001.ndjson': linesOf(two) })
  })

  test('moves the checkpoint also when there is no event', async () => {
    const sink = await open()
    await sink.deliver([], '7')
    expect(await (await open()).checkpoint()).toBe('7')
    expect(await (await open({ folder: 'other' })).checkpoint()).toBe('')
  })

  test('is never begun anew over a state that cannot be read', async () => {
    await (await open()).deliver(two, '1')
    await writeFile(join(folder, 'out/.freshet-out/state.json'), '{"format":1')
    await expect(open()).rejects.toThrow('state.json cannot be read')
  })
})

describe('the name of a file', () => {
  test('has the time and values of its events, which go into as many files', async () => {
    const name = '{stream}/{date}/{fields.customer.name}/{from}-{to}-{count}.{ext}'
    const sink = await open({ name, events: 4 })
    const of = (id: string, customer: string, _event_time: string): SinkEvent =>
      sinkEvent(id, { customer: { name: customer }, _event_time })
    const batch = [
      of('a', 'X', '2026-11-20T10:00:00.5Z'),
      of('b', 'Y', '2026-11-20T11:00:00Z'),
      of('c', 'X', '2026-11-20T10:00:00Z'),
      of('d', 'X', '2026-11-21T00:00:00Z'),
    ]
    await sink.deliver(batch, '1')
    expect(await texts()).toEqual({
      'orders/2026-11-20/X/20261120T100000Z-20261120T100000.5Z-2.ndjson': linesOf([batch[0]!, batch[2]!]),
      'orders/2026-11-20/Y/20261120T110000Z-20261120T110000Z-1.ndjson': linesOf([batch[1]!]),
      'orders/2026-11-21/X/20261121T000000Z-20261121T000000Z-1.ndjson': linesOf([batch[3]!]),
    })
  })

  test('cannot lead out of the folder, whatever an event has', async () => {
    const sink = await open({ name: '{fields.a}/{fields.b}.{ext}', events: 7 })
    const awkward = ['..', '../../etc/passwd', '/etc', 'a\0b', '.hidden', '{stream}', '']
    await sink.deliver(
      awkward.map((a, n) => sinkEvent(`e${n}`, { a, b: a })),
      '1',
    )
    expect(
      Object.keys(await files())
        .map((path) => dirname(path))
        .toSorted(),
    ).toEqual(['%2E.', '%2E.%2F..%2Fetc%2Fpasswd', '%2Fetc', 'a%00b', '%2Ehidden', '%7Bstream%7D', '_'].toSorted())
    expect((await readdir(folder)).toSorted()).toEqual(['out'])
  })

  test('stays short, and different values stay different', async () => {
    const sink = await open({ name: '{fields.a}.{ext}' })
    await sink.deliver(
      [sinkEvent('a', { a: `${'x'.repeat(5000)}1` }), sinkEvent('b', { a: `${'x'.repeat(5000)}2` })],
      '1',
    )
    expect(Object.keys(await files())).toHaveLength(2)
    const longer = await open({ folder: 'more', name: '{fields.a}{fields.a}{fields.a}.{ext}' })
    expect(await refusedBy(longer.deliver([sinkEvent('c', { a: 'y'.repeat(90) })], '1'))).toEqual([
      [0, 'Its file would have a name of more than 200 bytes.'],
    ])
  })

  test('is another one when it is taken: no file is replaced', async () => {
    const sink = await open({ name: 'all.tar.{ext}', events: 1 })
    await sink.deliver(two, '1')
    expect(await texts()).toEqual({ 'all.tar.ndjson': linesOf([two[0]!]), 'all-2.tar.ndjson': linesOf([two[1]!]) })
  })

  test('differs in so many ways at most before the file is ended', async () => {
    const disk = new SimulatedDisk(seededRandom(1), {
      wait: async () => undefined,
      ended: () => Promise.reject(new Error()),
    })
    const words = { name: '{fields.n}.{ext}', events: 1_000_000, folder: '/out' }
    const sink = await open(words, { fileSystem: disk.process() })
    const many = Array.from({ length: 1001 }, (_, n) => sinkEvent(`e${n}`, { n }))
    await sink.deliver(many, '1')
    expect([...disk.folder('/out').entries.keys()].filter((name) => name.endsWith('.ndjson'))).toHaveLength(1000)
  })
})

describe('in a file', () => {
  test('CSV is what a CSV reader reads, whatever the values', async () => {
    const columns = ['_event_id', { field: 'who.name', name: 'na,me' }, 'text', 'big', { value: 'X', name: 'const' }]
    const sink = await open({ format: 'csv', columns })
    const awkward = 'a "quoted", text\r\nof two lines; '
    const events = [
      sinkEvent('a', { who: { name: ' lead' }, text: awkward, big: 1.5 }),
      withText('b', ',"text":null,"big":12345678901234567890}'),
    ]
    await sink.deliver(events, '1')
    const text = (await texts())['orders-00000001.csv']!
    expect(text.endsWith('\r\n')).toBe(true)
    expect(parse(text)).toEqual([
      ['_event_id', 'na,me', 'text', 'big', 'const'],
      ['a', ' lead', awkward, '1.5', 'X'],
      ['b', '', '', '12345678901234567890', 'X'],
    ])
  })

  test('CSV has the declared columns, or says that it needs some', async () => {
    const columns = [{ name: 'n', type: { kind: 'long' as const } }]
    await (await open({ format: 'csv', delimiter: ';', newline: '\n' }, { columns })).deliver(two, '1')
    expect(await texts()).toEqual({ 'orders-00000001.csv': 'n\n1\n2\n' })
    await expect(open({ format: 'csv', folder: 'other' })).rejects.toMatchObject({
      hint: 'Say which `columns` it is to have.',
    })
  })

  test('fixed-width rows are padded, and what does not fit is refused by name', async () => {
    const columns = [
      { field: 'sku', width: 6 },
      { field: 'n', width: 4, align: 'right', pad: '0' },
      { value: 'E', width: 2 },
      { field: 'note', width: 3, cut: true },
    ]
    const sink = await open({ format: 'fixed', columns, encoding: 'latin1' })
    const good = [sinkEvent('a', { sku: 'Ünit', n: 12, note: 'longer' }), sinkEvent('b', { sku: 'B' })]
    await sink.deliver(good, '1')
    expect((await files())['orders-00000001.txt']).toEqual(Buffer.from('Ünit  0012E lon\nB     0000E    \n', 'latin1'))
    const bad = [
      sinkEvent('c', { sku: 'toolong' }),
      sinkEvent('d', { sku: 'a\nb' }),
      sinkEvent('e', { sku: '€' }),
      good[0]!,
    ]
    expect(await refusedBy(sink.deliver(bad, '2'))).toEqual([
      [0, 'The value of sku has 7 characters, and its column 6.'],
      [1, 'The value of sku has line ends or control characters.'],
      [2, 'The value of sku has the character €, which latin1 has not.'],
    ])
    expect(await sink.checkpoint()).toBe('1')
  })

  test('a template has all events, and makes text or bytes', async () => {
    const template = (events: { n: number; _event_id: string }[], about: { name: string; sequence: number }): string =>
      `HDR ${about.name} ${about.sequence}\n${events.map(({ _event_id, n }) => `${_event_id}=${n}\n`).join('')}TRL ${events.length}\n`
    await (await open({ template, extension: 'dat' })).deliver(two, '1')
    await (await open({ template: () => Buffer.from([1, 2]), folder: 'out/b' })).deliver(two, '1')
    expect(await texts()).toEqual({
      'orders-00000001.dat': 'HDR orders-00000001.dat 1\na=1\nb=2\nTRL 2\n',
      'b/orders-00000001.txt': '\u0001\u0002',
    })
  })

  test('bytes are compressed, and the same each time', async () => {
    await (await open({ compress: 'gzip' })).deliver(two, '1')
    await (await open({ compress: 'zstd', folder: 'out/z' })).deliver(two, '1')
    const written = await files()
    expect(gunzipSync(written['orders-00000001.ndjson.gz']!).toString()).toBe(linesOf(two))
    expect(zstdDecompressSync(written['z/orders-00000001.ndjson.zst']!).toString()).toBe(linesOf(two))
  })

  test('Parquet is made of the lines and columns of its events', async () => {
    const asked: unknown[] = []
    const parquet: SinkDeps['parquet'] = async (ndjson, columns, target) => {
      asked.push(
        (await readFile(ndjson)).toString(),
        columns?.map(({ name }) => name),
      )
      await writeFile(target, 'PAR1', { flag: 'wx' })
    }
    const columns = [{ name: 'n', type: { kind: 'long' as const } }]
    await (await open({ format: 'parquet' }, { parquet, columns })).deliver(two, '1')
    expect(asked).toEqual([linesOf(two), ['_event_id', '_event_time', '_received_at', '_source', '_tenant', 'n']])
    expect(await texts()).toEqual({ 'orders-00000001.parquet': 'PAR1' })
    expect(await hidden()).toEqual(['.freshet-out/state.json'])
  })
})

test('a marker tells that a file is complete, and how to check it', async () => {
  await (await open({ done: true })).deliver(two, '1')
  const written = await texts()
  expect(Object.keys(written)).toEqual(['orders-00000001.ndjson', 'orders-00000001.ndjson.done'])
  expect(JSON.parse(written['orders-00000001.ndjson.done']!)).toMatchObject({
    file: 'orders-00000001.ndjson',
    bytes: linesOf(two).length,
    events: 2,
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  })
})

describe('a file that cannot be written', () => {
  test('keeps what is taken, and is told when more is to be; it is written when that is mended', async () => {
    let broken = true
    const template = (events: unknown[]): string => {
      if (broken) throw new Error('a slip in the template')
      return `${events.length}`
    }
    const sink = await open({ template })
    await sink.deliver(two, '1')
    await expect(sink.deliver([sinkEvent('c')], '2')).rejects.toThrow('a slip in the template')
    expect([await sink.checkpoint(), await files()]).toEqual(['1', {}])
    broken = false
    await sink.deliver([sinkEvent('c')], '2')
    expect(await texts()).toEqual({ 'orders-00000001.txt': '2' })
  })

  test('is tried again by itself, when no event comes', async () => {
    let full = true
    const fileSystem = {
      ...nodeFileSystem,
      open: async (path: string, mode: 'read' | 'write' | 'create') => {
        if (full && path.endsWith('.part')) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
        return nodeFileSystem.open(path, mode)
      },
    }
    const sink = await open({}, { fileSystem })
    await sink.deliver(two, '1')
    expect(await files()).toEqual({})
    full = false
    timers.pass(10_000)
    await expect.poll(texts).toEqual({ 'orders-00000001.ndjson': linesOf(two) })
    expect(await hidden()).toEqual(['.freshet-out/state.json'])
  })
})
