/**
 * Runners in lives that end at any file-system call and around any append, on a real log on a simulated disk: what transforms and sinks make of the
 * events is there exactly once, in order, and the log is never trimmed away under them (I7).
 */
import { expect, test } from 'vitest'
import { logOptions, makeDisk, openLog } from '../../test/simulation/log-fixture.ts'
import type { SimulatedProcess } from '../../test/simulation/simulated-file-system.ts'
import { seededRandom } from '../../test/simulation/seeded-random.ts'
import { undeclaredStream, type StreamPlan } from '../config/plan.ts'
import type { DeadLetter } from '../events/dead-letter.ts'
import { openDoor } from '../events/door.ts'
import { openFileLog, type FileLog } from '../log/file/file-log.ts'
import type { AppendBatch, Position } from '../log/log.ts'
import { silentLogger } from '../runtime/logging.ts'
import type { Random } from '../runtime/random.ts'
import { systemTimers, type Timers } from '../runtime/timers.ts'
import { EventsRefused, type Sink, type SinkEvent } from '../sinks/sink.ts'
import type { BackFill } from './back-fill.ts'
import { ConsumerRecords } from './consumer-records.ts'
import type { Consumer } from './consumer.ts'
import { Runner } from './runner.ts'
import { SinkConsumer } from './sink-consumer.ts'
import { eventLines } from './source-batch.ts'
import { OutputLines } from './transforms/output-lines.ts'
import { BatchRunner } from './transforms/run-batch.ts'
import { TransformConsumer } from './transforms/transform-consumer.ts'
import type { DerivedStream } from './worker.ts'

const seeds = Array.from({ length: 6 }, (_, seed) => seed)
const batches = 40
const streams = { from: 'trades', made: 'made' }

const derived: DerivedStream = {
  ...undeclaredStream('made'),
  id: '_event_id',
  time: { field: '_event_time', unit: 'iso' },
  transform: {
    from: 'trades',
    kind: 'each',
    batchEventsMax: 100,
    timeoutMs: 1000,
    memoryBytes: 2 ** 26,
    version: 'one',
  },
}

/** Sleeps take no time. */
const timers: Timers = { ...systemTimers, sleep: () => systemTimers.turn() }
const clock = { nowMs: () => 1_763_670_000_000 }
const noBackFill: BackFill = {
  begin: async () => undefined,
  read: async () => expect.fail('nothing is trimmed that is needed'),
  end: async () => undefined,
}

/** Events n, n + 1, ... of one source, that arrived at one moment. */
function batchOf(random: Random, n: number): { batch: AppendBatch; count: number } {
  const count = 1 + random.integer(4)
  const source = ['a', 'b'][random.integer(2)]!
  const receivedAtMs = clock.nowMs() + Math.floor(n / 30) * 3_600_000
  const at = new Date(receivedAtMs).toISOString()
  const lines = Array.from({ length: count }, (_, index) => {
    return `{"_event_id":"e${n + index}","_event_time":"${at}","_received_at":"${at}","_source":"${source}","n":${n + index}}\n`
  })
  return {
    batch: { lines: [Buffer.from(lines.join(''))], count, receivedAtMs, source, eventTimeMaxMs: receivedAtMs },
    count,
  }
}

/** A batch with some of the same events, which arrive later. */
function againOf(random: Random, { lines, receivedAtMs, ...batch }: AppendBatch): AppendBatch {
  const at = new Date(receivedAtMs + 1000).toISOString()
  const again = lines
    .map(String)
    .join('')
    .split('\n')
    .filter((line) => line !== '')
    .slice(random.integer(batch.count))
    .map((line) => `${line.replace(/(?<="_received_at":")[^"]*/, at)}\n`)
  return { ...batch, receivedAtMs: receivedAtMs + 1000, lines: [Buffer.from(again.join(''))], count: again.length }
}

/** What is sent, and what may come of it: multiples of three give two events, of five none; of seven none, and a dead letter. */
const isUnlucky = (n: number): boolean => n % 7 === 0
const outputsOf = (n: number): string[] => {
  if (isUnlucky(n) || n % 5 === 0) return []
  return n % 3 === 0 ? [`e${n}`, `e${n}/1`] : [`e${n}`]
}

function functionOf(event: { n: number }): object | object[] | null {
  if (isUnlucky(event.n)) throw new Error('unlucky')
  if (event.n % 5 === 0) return null
  return event.n % 3 === 0 ? [{ n: event.n }, { n: -event.n }] : event
}

interface World {
  seed: number
  random: Random
  log: FileLog
  letters: DeadLetter[]
  newProcess: () => SimulatedProcess
  sent: number
  /** Whether the log is trimmed between lives. */
  trims: boolean
}

/** @param repeats whether some of the newest events come again and again, in batches of their own */
async function makeWorld(seed: number, { repeats = false } = {}): Promise<World> {
  const disk = await makeDisk(seed)
  const random = seededRandom(seed + 1000)
  const log = await openLog(disk.process(), { segmentBytes: 1500 })
  // The first one does not come to the end, whatever chance has in store for those after it.
  let callsLeft = random.integer(20)
  const newProcess = (): SimulatedProcess =>
    disk.process(() =>
      random.integer(30) === 0 || callsLeft-- === 0
        ? (['dies before', 'dies within', 'dies after'] as const)[random.integer(3)]!
        : 'goes on',
    )
  const world: World = { seed, random, log, letters: [], newProcess, sent: 0, trims: true }
  let n = 0
  for (let index = 0; index < batches; index++) {
    const { batch, count } = batchOf(random, n)
    await log.append(streams.from, batch)
    n += count
    if (repeats && random.integer(2) === 0) await log.append(streams.from, againOf(random, batch))
  }
  world.sent = n
  return world
}

/** Runs a consumer, life after life, until it has taken everything. Between lives, the log is trimmed as far as it allows. */
async function untilDone(world: World, makeConsumer: (process: SimulatedProcess) => Consumer): Promise<number> {
  const end = (await world.log.ends(streams.from)).get(0)!
  for (let lives = 1; lives < 2000; lives++) {
    const process = world.newProcess()
    const log = await openFileLog(logOptions(process, { mode: 'read' })).catch(() => undefined)
    const records = new ConsumerRecords('/data/consumers', process)
    if (log === undefined) continue
    const deps = {
      log,
      records,
      backFill: noBackFill,
      fileSystem: process,
      clock,
      timers,
      random: world.random,
      logger: silentLogger,
    }
    const runner = new Runner(makeConsumer(process), deps)
    runner.start()
    let floor: Position = 0n
    while (!process.ended && floor < end) {
      await systemTimers.turn()
      const place = runner.restingPlace
      if (place !== undefined && 'log' in place && place.log === end) await runner.stop().catch(() => undefined)
      floor = await floorOf(world, runner)
    }
    process.kill()
    // What it still waits for never comes.
    void runner.stop().catch(() => undefined)
    if (world.trims) await world.log.trim(streams.from, new Map([[0, floor]]))
    if (floor === end) return lives
  }
  return expect.fail('it never comes to an end')
}

/** What the engine would find: by a process of its own. */
async function floorOf(world: World, runner: Runner): Promise<Position> {
  const process = world.newProcess()
  process.interfere(() => 'goes on')
  return (await new ConsumerRecords('/data/consumers', process).floor(streams.from, [runner.consumer.name]))!
}

/** The lines of all events of a stream's log. */
async function linesIn(log: FileLog, stream: string): Promise<string[]> {
  const lines: string[] = []
  for (let at: Position = 0n; ;) {
    const { bytes, next } = await log.read(stream, 0, at, 1 << 20)
    if (next === at) return lines
    for (const { start, end } of eventLines(bytes)) lines.push(bytes.toString('utf8', start, end))
    at = next
  }
}

/** Appends for a process: it may die before, or after without having had the answer. */
function appending(
  world: World,
  process: SimulatedProcess,
): (stream: string, all: readonly AppendBatch[]) => Promise<void> {
  return async (stream, all) => {
    for (const batch of all) {
      const fate = world.random.integer(40)
      if (fate === 0) process.kill()
      if (process.ended) throw new Error('it is dead')
      await world.log.append(stream, batch)
      if (fate === 1) process.kill()
      if (process.ended) throw new Error('it is dead')
    }
  }
}

function transform(world: World, process: SimulatedProcess, stream: StreamPlan = derived): TransformConsumer {
  const runner = new BatchRunner({
    kind: 'each',
    call: functionOf,
    lines: new OutputLines(openDoor(stream, 32, true), { eventBytesMax: 1 << 20 }),
    timeoutMs: 1000,
    batchEventsMax: 100,
    readObject: async () => expect.fail('no objects'),
    atEvent: () => undefined,
  })
  return new TransformConsumer({
    stream: stream as DerivedStream,
    functions: {
      run: ({ batch, runs }) => runner.run({ bytes: batch.bytes, runs, skip: batch.skip, leaveOut: new Set() }),
      close: async () => undefined,
    },
    appendAll: appending(world, process),
    bury: burying(world, process),
    clock,
  })
}

function burying(world: World, process: SimulatedProcess): (letters: readonly DeadLetter[]) => Promise<void> {
  return async (letters) => {
    if (world.random.integer(10) === 0) process.kill()
    if (process.ended) throw new Error('it is dead')
    world.letters.push(...letters)
  }
}

const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n)
const lettersOf = (world: World): string[] => [...new Set(world.letters.map(({ eventId }) => eventId!))]
const unluckyOf = (world: World): string[] =>
  range(world.sent)
    .filter(isUnlucky)
    .map((n) => `e${n}`)

test.each(seeds)(
  'what a function makes is appended once, in order, whatever its worker dies of (seed %i)',
  async (seed) => {
    const world = await makeWorld(seed)
    const lives = await untilDone(world, (process) => transform(world, process))
    expect(lives).toBeGreaterThan(1)
    const ids = (await linesIn(world.log, streams.made)).map(
      (line) => (JSON.parse(line) as { _event_id: string })._event_id,
    )
    expect(ids).toEqual(range(world.sent).flatMap(outputsOf))
    expect(lettersOf(world)).toEqual(unluckyOf(world))
  },
)

test.each(seeds)('with other code after each death nothing is lost, and ids tell repeats (seed %i)', async (seed) => {
  const world = await makeWorld(seed)
  let lives = 0
  await untilDone(world, (process) => {
    const version = `version ${++lives}`
    return transform(world, process, { ...derived, transform: { ...derived.transform, version } })
  })
  const lines = await linesIn(world.log, streams.made)
  const ids = lines.map((line) => (JSON.parse(line) as { _event_id: string })._event_id)
  expect([...new Set(ids)]).toEqual(range(world.sent).flatMap(outputsOf))
  // The same event is the same line, so it is recognised at loading.
  expect(new Set(lines).size).toBe(new Set(ids).size)
})

/** A target that keeps the checkpoint with the rows. */
class TransactionalTarget {
  readonly rows: number[] = []
  checkpoint = ''

  sink(world: World, process: SimulatedProcess): Sink {
    return {
      checkpoint: async () => this.checkpoint,
      deliver: async (events, upTo) => {
        const fate = world.random.integer(20)
        if (fate === 0) process.kill()
        if (process.ended) throw new Error('it is dead')
        if (fate === 2) throw new Error('the target is away')
        if (events.some(({ fields }) => isUnlucky(fields['n'] as number)))
          throw new EventsRefused('one of them is unlucky')
        this.rows.push(...events.map(({ fields }) => fields['n'] as number))
        this.checkpoint = upTo
        if (fate === 1) process.kill()
        if (process.ended) throw new Error('it is dead')
      },
      close: async () => undefined,
    }
  }
}

test.each(seeds)('a target that keeps the checkpoint is given each event once, in order (seed %i)', async (seed) => {
  const world = await makeWorld(seed)
  const target = new TransactionalTarget()
  await untilDone(world, (process) => sinkConsumer(world, process, () => target.sink(world, process)))
  expect(target.rows).toEqual(range(world.sent).filter((n) => !isUnlucky(n)))
  expect(lettersOf(world)).toEqual(unluckyOf(world))
})

test.each(seeds)(
  'a target without one is given a batch that is unsure again, just as it was (seed %i)',
  async (seed) => {
    const world = await makeWorld(seed)
    const delivered = new Map<string, string>()
    const order: string[] = []
    const deliver =
      (process: SimulatedProcess) =>
      async (events: readonly SinkEvent[], upTo: string): Promise<void> => {
        const fate = world.random.integer(20)
        if (fate === 0) process.kill()
        if (process.ended) throw new Error('it is dead')
        const refused = new Map(
          events.flatMap(({ fields }, index) => (isUnlucky(fields['n'] as number) ? [[index, 'unlucky']] : [])),
        )
        if (refused.size > 0) throw new EventsRefused('some of them are unlucky', refused)
        const ids = events.map(({ id }) => id).join(' ')
        expect(delivered.get(upTo) ?? ids).toBe(ids)
        if (!delivered.has(upTo)) order.push(ids)
        delivered.set(upTo, ids)
        if (fate === 1) process.kill()
        if (process.ended) throw new Error('it is dead')
      }
    await untilDone(world, (process) =>
      sinkConsumer(world, process, () => ({
        checkpoint: async () => undefined,
        deliver: deliver(process),
        close: async () => undefined,
      })),
    )
    const expected = range(world.sent).filter((n) => !isUnlucky(n))
    expect(order.flatMap((ids) => (ids === '' ? [] : ids.split(' ')))).toEqual(expected.map((n) => `e${n}`))
  },
)

test.each(seeds)(
  'an event that the log has twice is given once, whatever the worker dies of (seed %i)',
  async (seed) => {
    const world = await makeWorld(seed, { repeats: true })
    world.trims = false
    const sent = (await linesIn(world.log, streams.from)).length
    const target = new TransactionalTarget()
    const lives = await untilDone(world, (process) =>
      sinkConsumer(world, process, () => target.sink(world, process), 'id and time'),
    )
    expect(lives).toBeGreaterThan(1)
    expect(sent).toBeGreaterThan(world.sent)
    expect(target.rows).toEqual(range(world.sent).filter((n) => !isUnlucky(n)))
  },
)

test.each(seeds)(
  'a batch that is unsure has the same events again, also when the log has lost those before it (seed %i)',
  async (seed) => {
    const world = await makeWorld(seed, { repeats: true })
    const delivered = new Map<string, string>()
    await untilDone(world, (process) =>
      sinkConsumer(
        world,
        process,
        () => ({
          checkpoint: async () => undefined,
          deliver: async (events, upTo) => {
            const fate = world.random.integer(20)
            if (fate === 0) process.kill()
            if (process.ended) throw new Error('it is dead')
            const ids = events.map(({ id }) => id).join(' ')
            expect(delivered.get(upTo) ?? ids).toBe(ids)
            delivered.set(upTo, ids)
            if (fate === 1) process.kill()
            if (process.ended) throw new Error('it is dead')
          },
          close: async () => undefined,
        }),
        'id and time',
      ),
    )
    const ids = [...delivered.values()].flatMap((batch) => (batch === '' ? [] : batch.split(' ')))
    expect([...new Set(ids)]).toEqual(range(world.sent).map((n) => `e${n}`))
  },
)

function sinkConsumer(
  world: World,
  process: SimulatedProcess,
  open: () => Sink,
  identity?: 'id and time',
): SinkConsumer {
  const plan = { name: 'site', kind: 'model', from: streams.from, start: 'all' as const, options: {}, functions: [] }
  return new SinkConsumer({
    plan,
    version: '',
    identity,
    open: async () => open(),
    bury: burying(world, process),
    clock,
  })
}
