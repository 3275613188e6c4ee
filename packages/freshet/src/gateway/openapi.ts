/** The OpenAPI 3.1 description of everything the gateway serves, with the schemas of the declared streams. */
import type { Plan } from '../config/plan.ts'
import { receiptLengthMax } from '../log/receipt.ts'
import { changeOperations, changeSchemas } from './openapi-changes.ts'
import { deadLetterOperations, deadLetterSchemas } from './openapi-dead-letters.ts'
import { maintenanceOperations, maintenanceSchemas } from './openapi-maintenance.ts'
import { objectOperations, objectSchemas } from './openapi-objects.ts'
import { header, json, problems, query, ref, retryAfter, type Json, type OpenApiOperation } from './openapi-parts.ts'
import { replayOperations, replaySchemas } from './openapi-replays.ts'
import { openApiSchemas } from './openapi-schemas.ts'
import { siteOperations } from './openapi-sites.ts'

export interface OpenApiDocument extends Json {
  openapi: string
  info: { title: string; version: string; description: string }
  paths: Record<string, Record<string, OpenApiOperation>>
  components: { schemas: Json }
}

export function openApiDocument(plan: Pick<Plan, 'streams' | 'limits' | 'mode'>, version: string): OpenApiDocument {
  const declared = Object.values(plan.streams).filter(({ schema }) => schema !== null)
  const events = Object.fromEntries(declared.map(({ name, schema }) => [`event.${name}`, standalone(name, schema!)]))
  return {
    openapi: '3.1.0',
    info: {
      title: 'Freshet',
      version,
      description: 'Events in over HTTP, on disk before they are acknowledged; SQL out over streams and tables.',
    },
    paths: {
      '/v1/streams/{stream}/events': { post: ingest(plan) },
      '/v1/streams/{stream}/heartbeats': { post: siteOperations.heartbeat },
      '/v1/streams/{stream}/erasures': { post: changeOperations.erase },
      '/v1/streams': { get: listStreams },
      '/v1/receipts/{receipt}': { get: showReceipt },
      '/v1/sites': { get: siteOperations.list },
      '/v1/sites/{site}': { put: siteOperations.put, delete: siteOperations.remove },
      '/v1/sql': { post: runSql },
      '/v1/maintenance': { post: maintenanceOperations.start },
      '/v1/maintenance/{run}': { get: maintenanceOperations.show },
      '/v1/erasures': { get: changeOperations.listErasures },
      '/v1/erasures/{id}': { get: changeOperations.showErasure },
      '/v1/dead-letters': { get: deadLetterOperations.overview },
      '/v1/dead-letters/replays/{id}': { get: deadLetterOperations.showReplay },
      '/v1/streams/{stream}/dead-letters': { get: deadLetterOperations.list },
      '/v1/streams/{stream}/dead-letters/{id}': { get: deadLetterOperations.show },
      '/v1/streams/{stream}/dead-letters/replay': { post: deadLetterOperations.replay },
      '/v1/streams/{stream}/dead-letters/drop': { post: deadLetterOperations.drop },
      '/v1/streams/{stream}/replays': { post: replayOperations.request },
      '/v1/replays': { get: replayOperations.list },
      '/v1/replays/{id}': { get: replayOperations.show },
      '/v1/replays/{id}/apply': { post: replayOperations.apply },
      '/v1/replays/{id}/undo': { post: replayOperations.undo },
      '/v1/tables/{table}/tags': { get: changeOperations.listTags, post: changeOperations.createTag },
      '/v1/tables/{table}/tags/{tag}': { delete: changeOperations.dropTag },
      '/v1/tables/{table}/rollback': { post: changeOperations.rollback },
      '/v1/objects': { get: objectOperations.buckets },
      '/v1/objects/{bucket}': { get: objectOperations.listObjects, post: objectOperations.rotate },
      '/v1/objects/{bucket}/{key}': {
        put: objectOperations.put,
        get: objectOperations.get,
        post: objectOperations.post,
        delete: objectOperations.remove,
      },
      '/v1/status': { get: status },
      '/healthz': { get: healthz },
      '/readyz': { get: readyz },
      '/metrics': { get: metrics },
      '/openapi.json': { get: page('This document', 'application/json') },
      '/docs': { get: page('This document as a page', 'text/html') },
    },
    components: {
      schemas: {
        ...openApiSchemas,
        ...maintenanceSchemas,
        ...changeSchemas,
        ...deadLetterSchemas,
        ...replaySchemas,
        ...objectSchemas,
        ...events,
      },
    },
  }
}

function ingest({ streams, limits, mode }: Pick<Plan, 'streams' | 'limits' | 'mode'>): OpenApiOperation {
  const names = Object.keys(streams)
  const choices = Object.values(streams).map(({ name, schema }) =>
    schema === null ? ref('event') : ref(`event.${name}`),
  )
  const event =
    choices.length === 0 ? ref('event') : mode === 'dev' ? { anyOf: [...choices, ref('event')] } : { anyOf: choices }
  const lines = { schema: { type: 'string', description: 'One JSON object a line.' } }
  return {
    summary: 'Post events',
    description:
      'Takes one event, an array of them, or NDJSON. Every event is validated by itself; a bad one does not block the others. ' +
      'The answer comes when the accepted events are on disk. ' +
      `Limits: ${limits.bodyBytesMax} bytes a body (as sent and as unpacked), ${limits.eventBytesMax} bytes and ${limits.nestingMax} levels an event, ` +
      `${limits.batchEventsMax} events a request.`,
    parameters: [
      {
        name: 'stream',
        in: 'path',
        required: true,
        description: mode === 'dev' ? 'A stream; one that does not exist yet is created.' : 'A declared stream.',
        schema:
          mode === 'dev' || names.length === 0
            ? { type: 'string', pattern: '^[a-z][a-z0-9_]{0,62}$' }
            : { type: 'string', enum: names },
      },
      query('atomic', 'true: all events are accepted, or none.', { type: 'boolean', default: false }),
      header(
        'Freshet-Producer',
        'Name of the sender. With Freshet-Sequence it makes repeats of a batch recognisable.',
        128,
      ),
      {
        ...header('Freshet-Sequence', 'Number of this batch in the sequence of its producer: 0, 1, 2, ...', 16),
        schema: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
      },
      header(
        'Idempotency-Key',
        'Makes repeats of the request recognisable for a day. Ignored when there is a producer.',
        255,
      ),
      header('Freshet-Source', 'Stored with each event as _source; default is the producer.', 128),
      {
        ...header('Content-Encoding', 'Compression of the body.', 16),
        schema: { type: 'string', enum: ['identity', 'gzip', 'zstd'] },
      },
    ],
    requestBody: {
      required: true,
      content: {
        'application/json': { schema: { oneOf: [event, { type: 'array', items: event }] } },
        'application/x-ndjson': lines,
        'application/ndjson': lines,
        'application/jsonl': lines,
      },
    },
    responses: {
      '202': {
        description:
          'The accepted events are on disk. `duplicates` counts the events of a repeated batch. `receipt` names the batch, for ' +
          'a repeated one the batch that it repeats; null when nothing was stored, or that one was too long ago.',
        content: json(ref('IngestAnswer')),
      },
      ...problems([
        'invalid_body',
        'invalid_json',
        'invalid_header',
        'invalid_request',
        'forbidden_host',
        'unknown_stream',
        'request_timeout',
        'sequence_gap',
        'body_too_large',
        'batch_too_large',
        'event_too_large',
        'event_too_deep',
        'unsupported_media_type',
        'unsupported_encoding',
        'invalid_event',
        'idempotency_conflict',
        'log_unwritable',
        'disk_full',
        'overloaded',
        'shutting_down',
      ]),
    },
  }
}

const formats = ['json', 'ndjson', 'csv', 'parquet']

const runSql: OpenApiOperation = {
  summary: 'Run a query',
  description: 'One SELECT or EXPLAIN over streams (as tables) and freshet.streams, freshet.snapshots, freshet.files.',
  parameters: [
    query('format', 'Form of the answer; the Accept header picks it too.', { type: 'string', enum: formats }),
    query('asOf', 'The moment as of which streams are read, for a body that is plain SQL.', { type: 'string' }),
    query('p.{name}', 'Value of the parameter $name, for a body that is plain SQL.', { type: 'string' }),
  ],
  requestBody: {
    required: true,
    content: {
      'application/json': { schema: ref('SqlRequest') },
      'application/sql': { schema: { type: 'string' } },
      'text/plain': { schema: { type: 'string' } },
    },
  },
  responses: {
    '200': {
      description:
        'The result, streamed. `Freshet-Lag-Bytes` (`trades=1234, orders=56`) says that the engine has started lately and how far ' +
        'what was read is still behind the log of that moment.',
      content: {
        ...json(ref('SqlAnswer')),
        'application/x-ndjson': { schema: { type: 'string' } },
        'text/csv': { schema: { type: 'string' } },
        'application/vnd.apache.parquet': { schema: { type: 'string', format: 'binary' } },
      },
    },
    ...problems([
      'invalid_sql',
      'invalid_request',
      'forbidden_sql',
      'forbidden_host',
      'unknown_snapshot',
      'query_timeout',
      'query_memory',
      'result_too_large',
      'too_many_queries',
      'body_too_large',
      'engine_unavailable',
      'overloaded',
      'shutting_down',
    ]),
  },
}

const listStreams: OpenApiOperation = {
  summary: 'List streams',
  responses: {
    '200': { description: 'Streams, by name.', content: json(ref('StreamList')) },
    ...problems(['forbidden_host']),
  },
}

const showReceipt: OpenApiOperation = {
  summary: 'Where is a batch now?',
  description:
    'Tells what became of a batch that was answered with 202: its place in the log, the snapshot and the files that hold it, and ' +
    'how many of its events are in queries, were there before, or went to the dead letters. While the engine is away only the log is asked. ' +
    'What can no longer be told is null. Positions and ids are text, as they can exceed 2^53.',
  parameters: [
    {
      name: 'receipt',
      in: 'path',
      required: true,
      description: 'The `receipt` of the 202, as it was given.',
      schema: { type: 'string', maxLength: receiptLengthMax },
    },
  ],
  responses: {
    '200': { description: 'Where it is.', content: json(ref('Receipt')) },
    ...problems([
      'forbidden_host',
      'unknown_receipt',
      'query_timeout',
      'query_memory',
      'too_many_queries',
      'engine_unavailable',
      'shutting_down',
    ]),
  },
}

const status: OpenApiOperation = {
  summary: 'State of processes and streams',
  description: 'What only the engine can tell is null while it is away. Positions are text, as they can exceed 2^53.',
  responses: { '200': { description: 'The state.', content: json(ref('Status')) }, ...problems(['forbidden_host']) },
}

const healthz: OpenApiOperation = {
  summary: 'Is the process alive?',
  responses: { '200': { description: 'It is.', content: json({ type: 'object' }) } },
}

const readyz: OpenApiOperation = {
  summary: 'Can it take events?',
  responses: {
    '200': { description: 'It can.', content: json(ref('Readiness')) },
    '503': { description: 'It cannot, and says why.', headers: retryAfter, content: json(ref('Readiness')) },
  },
}

const metrics: OpenApiOperation = {
  summary: 'Metrics of gateway and engine',
  responses: {
    '200': { description: 'Prometheus text format.', content: { 'text/plain': { schema: { type: 'string' } } } },
  },
}

function page(summary: string, type: string): OpenApiOperation {
  return { summary, responses: { '200': { description: summary, content: { [type]: { schema: {} } } } } }
}

/** A stream's schema with a base of its own, so that references inside it stay inside it. */
function standalone(stream: string, schema: Json): Json {
  const { $schema: _, ...rest } = schema
  return { $id: `urn:freshet:stream:${stream}`, ...rest }
}
