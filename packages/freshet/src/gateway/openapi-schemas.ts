/** The named schemas of openapi.ts that do not depend on the plan. */
import { errorCodes } from '../runtime/error-codes.ts'

const text = { type: 'string' } as const
const count = { type: 'integer', minimum: 0 } as const
const flag = { type: 'boolean' } as const
const maybe = (type: string): { type: string[] } => ({ type: [type, 'null'] })

function object(properties: Record<string, unknown>, required = Object.keys(properties)): Record<string, unknown> {
  return { type: 'object', properties, required }
}

function list(items: unknown): Record<string, unknown> {
  return { type: 'array', items }
}

const siteStatus = object({
  site: text,
  state: { ...text, enum: ['active', 'paused', 'unregistered'] },
  lastEventTime: maybe('string'),
  reportedThrough: maybe('string'),
  lastArrival: maybe('string'),
  lagMs: maybe('integer'),
  silentMs: maybe('integer'),
  holdsBack: flag,
})
const siteStreams = {
  anyOf: [{ const: 'all' }, { ...list(text), minItems: 1 }],
  description: 'The streams it reports to.',
}
const siteState = { ...text, enum: ['active', 'paused'] } as const

export const openApiSchemas: Record<string, unknown> = {
  event: {
    type: 'object',
    description: 'Any JSON object. Names that start with an underscore are reserved.',
    propertyNames: { pattern: '^(?!_)' },
  },
  EventError: {
    ...object({ index: count, code: text, path: text, reason: text, deadLettered: { const: true } }, [
      'index',
      'code',
      'path',
      'reason',
    ]),
    description:
      'One event that does not fit; `path` is a JSON pointer into it. With `deadLettered` it is kept as a dead letter, else it is rejected.',
  },
  IngestAnswer: object(
    {
      stream: text,
      accepted: count,
      duplicates: count,
      rejected: count,
      deadLettered: { ...count, description: 'Kept as dead letters; of streams that keep them.' },
      receipt: maybe('string'),
      errors: list({ $ref: '#/components/schemas/EventError' }),
    },
    ['stream', 'accepted', 'duplicates', 'rejected', 'receipt', 'errors'],
  ),
  Receipt: object({
    receipt: text,
    stream: text,
    partition: count,
    from: text,
    to: text,
    count,
    receivedAt: text,
    state: { ...text, enum: ['logged', 'loaded', 'committed'] },
    inLog: flag,
    snapshot: { ...object({ id: text, committedAt: text }), type: ['object', 'null'] },
    files: { ...list(text), type: ['array', 'null'] },
    events: {
      ...object({
        visible: maybe('integer'),
        deduplicated: maybe('integer'),
        deadLettered: maybe('integer'),
        waiting: maybe('integer'),
        removed: maybe('integer'),
        missing: maybe('integer'),
      }),
      type: ['object', 'null'],
    },
    engine: object({ available: flag }),
  }),
  SiteList: object({ sites: list({ $ref: '#/components/schemas/Site' }) }),
  Site: object({ name: text, streams: siteStreams, state: siteState, addedAt: text, changedAt: text }),
  SiteChange: { ...object({ streams: siteStreams, state: siteState }, []), additionalProperties: false },
  Heartbeat: {
    ...object({ until: { ...text, format: 'date-time', description: 'At most a day ahead of the server.' } }),
    additionalProperties: false,
  },
  HeartbeatAnswer: object({ stream: text, source: text, until: text }),
  Problem: {
    ...object(
      {
        type: { ...text, description: 'urn:freshet:error:<code>' },
        title: text,
        status: { type: 'integer' },
        detail: text,
        code: { ...text, enum: Object.keys(errorCodes) },
        hint: text,
        line: { type: 'integer' },
        column: { type: 'integer' },
        errors: list({ $ref: '#/components/schemas/EventError' }),
      },
      ['type', 'title', 'status', 'detail', 'code'],
    ),
    description: 'Problem details, RFC 9457. Decide on `code`, never on the text.',
  },
  StreamList: object({ streams: list(object({ name: text, declared: flag })) }),
  SqlRequest: object(
    {
      sql: text,
      params: { type: 'object' },
      format: { ...text, enum: ['json', 'ndjson', 'csv', 'parquet'] },
      asOf: { ...text, description: 'The streams as they were: at a time, in a snapshot (its id), or under a tag.' },
    },
    ['sql'],
  ),
  SqlAnswer: object({
    columns: list(object({ name: text, type: text })),
    rows: list({ type: 'object' }),
    rowCount: count,
  }),
  Readiness: object({
    ready: flag,
    checks: { type: 'object', additionalProperties: text },
    engine: object({ available: flag, catchingUp: flag }),
  }),
  Status: object({
    version: text,
    mode: { ...text, enum: ['dev', 'start'] },
    startedAt: text,
    processes: list(
      object({
        role: text,
        pid: count,
        state: { ...text, enum: ['starting', 'running', 'restarting', 'failed'] },
        restarts: count,
        startedAt: text,
        rssBytes: count,
        cpuSeconds: { type: 'number' },
      }),
    ),
    engine: object({ available: flag, catchingUp: flag }),
    sites: object({ registered: maybe('integer'), problem: maybe('string') }),
    streams: list(
      object(
        {
          name: text,
          declared: flag,
          eventsPerSecond: maybe('number'),
          logEnd: maybe('string'),
          checkpoint: maybe('string'),
          lagBytes: maybe('integer'),
          behindBytes: maybe('integer'),
          rows: maybe('integer'),
          hotRows: maybe('integer'),
          files: maybe('integer'),
          bytes: maybe('integer'),
          freshnessMs: { type: ['object', 'null'], properties: { p50: { type: 'number' }, p99: { type: 'number' } } },
          lastCommitAt: maybe('string'),
          duplicates: maybe('integer'),
          deadLetters: maybe('integer'),
          ledger: {
            type: ['object', 'null'],
            properties: {
              accepted: maybe('integer'),
              committed: { type: 'integer' },
              deduplicated: { type: 'integer' },
              deadLettered: { type: 'integer' },
              inFlight: maybe('integer'),
            },
            description: 'accepted = committed + deduplicated + deadLettered + inFlight.',
          },
          completeThrough: maybe('string'),
          sites: {
            type: ['array', 'null'],
            items: siteStatus,
            description: 'The first twenty, what holds back first.',
          },
          sitesTotal: maybe('integer'),
        },
        ['name', 'declared'],
      ),
    ),
    rollups: {
      type: ['array', 'null'],
      items: object({
        name: text,
        from: maybe('string'),
        bucket: { ...maybe('string'), description: 'Its width; null when the configuration does not have it.' },
        rows: count,
        files: count,
        bytes: count,
        sourceSnapshot: { ...maybe('string'), description: 'Of its source, the snapshot that its rows stand for.' },
        lagMs: {
          ...maybe('integer'),
          description: 'For how long its source has had commits that it has not; null until it is computed.',
        },
        lastCommitAt: maybe('string'),
        completeThrough: maybe('string'),
        problem: maybe('string'),
      }),
      description: 'Tables of rollups; null while the engine does not answer.',
    },
    consumers: {
      type: ['array', 'null'],
      items: object({
        name: { ...text, description: '`transform:` and its stream, or `sink:` and its name.' },
        from: text,
        state: { ...text, enum: ['starting', 'back-filling', 'running', 'paused', 'failing', 'stopped'] },
        checkpoint: maybe('string'),
        lagBytes: count,
        events: count,
        lastTakenAt: maybe('string'),
        problem: maybe('string'),
        failures: count,
      }),
      description: 'What takes events on, by name; null while the worker does not answer, or where there is none.',
    },
  }),
}
