/** The routes of upkeep, for openapi.ts. */
import { json, problems, ref, type Json, type OpenApiOperation } from './openapi-parts.ts'

const start: OpenApiOperation = {
  summary: 'Keep tables up now',
  description:
    'Does what the schedule would do: merges small files, drops partitions past their retention, expires snapshots, removes orphans. ' +
    'A dry run is answered with the plan; anything else at once, with the number of its run. One run works at a time; a second one waits.',
  requestBody: { required: true, content: json(ref('MaintenanceRequest')) },
  responses: {
    '200': {
      description: 'A dry run: what would be done, and what would not, and why.',
      content: json(ref('MaintenanceRun')),
    },
    '202': { description: 'It has begun, or waits.', content: json(ref('MaintenanceRun')) },
    ...problems([
      'invalid_body',
      'invalid_json',
      'invalid_request',
      'forbidden_host',
      'unknown_stream',
      'body_too_large',
      'unsupported_encoding',
      'unsupported_media_type',
      'engine_unavailable',
      'overloaded',
      'shutting_down',
    ]),
  },
}

const show: OpenApiOperation = {
  summary: 'How far is a run of upkeep?',
  parameters: [
    {
      name: 'run',
      in: 'path',
      required: true,
      description: 'The `run` of the 202.',
      schema: { type: 'integer', minimum: 1 },
    },
  ],
  responses: {
    '200': { description: 'Its state, and what it did so far.', content: json(ref('MaintenanceRun')) },
    ...problems(['forbidden_host', 'not_found', 'engine_unavailable', 'shutting_down']),
  },
}

export const maintenanceOperations = { start, show }

const text = { type: 'string' }
const jobs = ['compaction', 'manifests', 'retention', 'expiry', 'orphans']
const figure = { type: ['integer', 'null'] }
const maybeText = { type: ['string', 'null'] }

export const maintenanceSchemas: Json = {
  MaintenanceRequest: {
    type: 'object',
    properties: {
      table: { ...text, description: 'One table; all if left out.' },
      job: { ...text, enum: jobs, description: 'One job; all if left out.' },
      dryRun: { type: 'boolean', default: false, description: 'Only say what would be done.' },
    },
    additionalProperties: false,
  },
  MaintenanceRun: objectOf({
    run: { type: 'integer', minimum: 1 },
    state: { ...text, enum: ['waiting', 'running', 'done'] },
    dryRun: { type: 'boolean' },
    rows: { type: 'array', items: ref('MaintenanceRow') },
  }),
  MaintenanceRow: objectOf({
    table: text,
    job: { ...text, enum: jobs },
    partition: maybeText,
    state: { ...text, enum: ['planned', 'running', 'done', 'skipped', 'failed'] },
    reason: text,
    filesBefore: figure,
    filesAfter: figure,
    bytesBefore: figure,
    bytesAfter: figure,
    rows: figure,
    startedAt: maybeText,
    finishedAt: maybeText,
    nextAt: maybeText,
    snapshotId: maybeText,
  }),
}

function objectOf(properties: Json): Json {
  return { type: 'object', properties, required: Object.keys(properties) }
}
