/** The streams that simulated producers send to: each kind of identity and time that a stream can have. */
import { checkConfig } from '../../../src/config/check.ts'
import type { Column, Plan, StreamPlan } from '../../../src/config/plan.ts'
import { inheritTimes } from '../../../src/config/transforms.ts'
import type { World } from './world.ts'

const columns: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'at', type: { kind: 'timestamptz' } },
  { name: 'n', type: { kind: 'long' } },
  { name: 'who', type: { kind: 'string' } },
]

const schema = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    at: { type: 'string', format: 'date-time' },
    n: { type: 'integer' },
    who: { type: 'string' },
  },
  required: ['id', 'at', 'n'],
  additionalProperties: false,
}

const declared: StreamPlan = {
  name: 'trades',
  schema,
  columns,
  open: false,
  id: 'id',
  time: { field: 'at', unit: 'iso' },
  partition: { by: 'event_time', unit: 'day' },
}

const undeclared = { schema: null, columns: null, open: true }

/** Drops partitions of the day before yesterday, and never one of yesterday: the worlds begin in the evening. */
const retainMs = 36 * 3600 * 1000

const kinds: readonly StreamPlan[] = [
  declared,
  { ...declared, ...undeclared, name: 'growing', partition: { by: 'event_time', unit: 'hour' } },
  { ...declared, name: 'timeless', time: null },
  { ...declared, name: 'nameless', id: null, time: null, partition: { by: 'received_at', unit: 'day' } },
  { ...declared, ...undeclared, name: 'bare', id: null, time: null },
]

/** The transform's function is in worker-host.ts. */
function derivedFrom(source: StreamPlan, unit: 'hour' | 'day'): StreamPlan {
  return {
    ...declared,
    name: 'made',
    schema: { type: 'object', properties: { id: { type: 'string' }, n: { type: 'integer' } }, required: ['id', 'n'] },
    columns: columns.filter(({ name }) => name === 'id' || name === 'n'),
    id: '_event_id',
    time: null,
    partition: { by: 'event_time', unit },
    transform: {
      from: source.name,
      kind: 'each',
      batchEventsMax: 1000,
      timeoutMs: 1000,
      memoryBytes: 1 << 28,
      version: 'one',
    },
  }
}

/**
 * A plan with a few of the streams and small sizes, so that everything rolls, flushes, merges, is compacted and expires within a short life.
 * @param derives whether one of them is to have a stream that is made of it; else one has a rollup
 * @param alone whether there is never more than one engine: files without a reference are then left by the dead
 */
export function makePlan(world: World, alone: boolean, derives: boolean): Plan {
  const words = { streams: {} }
  const plan = checkConfig(words, {
    baseDir: '/data',
    cwd: '/data',
    mode: 'start',
    overrides: { dataDir: '/data', port: 0 },
  })
  const chosen = kinds
    .map((kind) => ({ kind, order: world.random.integer(1000) }))
    .toSorted((a, b) => a.order - b.order)
  const streams = chosen.slice(0, 1 + world.random.integer(2)).map(({ kind }): StreamPlan => {
    const keptUp = { ...kind, ...(world.chance(500) && { sort: 'n' }) }
    return kind.time !== null && world.chance(500) ? { ...keptUp, retainMs } : keptUp
  })
  const bars = { from: streams[0]!.name, bucket: '1 minute', select: { events: 'count(*)', last: 'max(_event_id)' } }
  const { rollups } = checkConfig(
    { streams: { [streams[0]!.name]: {} }, rollups: derives ? {} : { bars } },
    { baseDir: '/data', cwd: '/data', mode: 'start' },
  )
  const made = derives ? [derivedFrom(world.pick(streams), world.pick(['hour', 'day']))] : []
  return {
    ...plan,
    limits: { ...plan.limits, diskFreeBytesMin: 2000 },
    log: { segmentBytes: 1200 + world.random.integer(3000) },
    lake: {
      flushIntervalMs: 80 + world.random.integer(900),
      flushRows: 15 + world.random.integer(60),
      snapshots: { keepMs: world.pick([0, 300, 3000]), min: world.pick([1, 1, 3]), max: 4 },
    },
    upkeep: {
      enabled: world.chance(850),
      intervalMs: 100 + world.random.integer(1500),
      targetFileBytes: world.pick([800, 4000, 128 << 20]),
      memoryBytes: 3 * (64 << 20),
      orphanAgeMs: alone ? world.pick([200, 4000]) : 86_400_000,
    },
    engine: { ...plan.engine, memoryBytes: 64 << 20, threads: 1 },
    rollups,
    streams: inheritTimes(
      Object.fromEntries([...streams, ...made].map((stream): [string, StreamPlan] => [stream.name, stream])),
    ),
  }
}
