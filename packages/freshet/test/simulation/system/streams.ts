/** The streams that simulated producers send to: each kind of identity and time that a stream can have. */
import { checkConfig } from '../../../src/config/check.ts'
import type { Column, Plan, StreamPlan } from '../../../src/config/plan.ts'
import type { World } from './world.ts'

const columns: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'at', type: { kind: 'timestamptz' } },
  { name: 'n', type: { kind: 'long' } },
]

const schema = {
  type: 'object',
  properties: { id: { type: 'string' }, at: { type: 'string', format: 'date-time' }, n: { type: 'integer' } },
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

const kinds: readonly StreamPlan[] = [
  declared,
  { ...declared, ...undeclared, name: 'growing', partition: { by: 'event_time', unit: 'hour' } },
  { ...declared, name: 'timeless', time: null },
  { ...declared, name: 'nameless', id: null, time: null, partition: { by: 'received_at', unit: 'day' } },
  { ...declared, ...undeclared, name: 'bare', id: null, time: null },
]

/** A plan with a few of the streams and small sizes, so that everything rolls, flushes, merges and expires within a short life. */
export function makePlan(world: World): Plan {
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
  const streams = chosen.slice(0, 1 + world.random.integer(2)).map(({ kind }) => kind)
  return {
    ...plan,
    limits: { ...plan.limits, diskFreeBytesMin: 2000 },
    log: { segmentBytes: 1200 + world.random.integer(3000) },
    lake: { ...plan.lake, flushIntervalMs: 80 + world.random.integer(900), flushRows: 15 + world.random.integer(60) },
    engine: { ...plan.engine, memoryBytes: 64 << 20, threads: 1 },
    streams: Object.fromEntries(streams.map((stream) => [stream.name, stream])),
  }
}
