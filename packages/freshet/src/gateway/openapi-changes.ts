/** The routes of erasures, tags and rollbacks, for openapi.ts. */
import { json, problems, ref, type Json, type OpenApiOperation } from './openapi-parts.ts'

type Parameter = NonNullable<OpenApiOperation['parameters']>[number]

const inPath = (name: string, description: string, schema: Json = { type: 'string' }): Parameter => ({
  name,
  in: 'path',
  required: true,
  description,
  schema,
})

const stream = inPath('stream', 'A stream.', { type: 'string', pattern: '^[a-z][a-z0-9_]{0,62}$' })
const table = inPath('table', 'The table of a stream, called like it.')
const always = ['forbidden_host', 'engine_unavailable', 'shutting_down'] as const
const body = [
  'invalid_body',
  'invalid_json',
  'invalid_request',
  'body_too_large',
  'unsupported_encoding',
  'unsupported_media_type',
  'overloaded',
] as const

const erase: OpenApiOperation = {
  summary: 'Erase events',
  description:
    'Erases the events that fulfil a condition and arrived until now: from the log, the tables, their former snapshots, and their dead letters. ' +
    'The answer comes when the request is on disk; the work goes on by itself, over restarts too.',
  parameters: [stream],
  requestBody: { required: true, content: json(ref('ErasureRequest')) },
  responses: {
    '200': { description: 'How many events it would mean (`dryRun`).', content: json(ref('ErasureCount')) },
    '202': { description: 'It is taken down.', content: json(ref('Erasure')) },
    ...problems([
      ...always,
      ...body,
      'invalid_sql',
      'forbidden_sql',
      'unknown_stream',
      'erases_everything',
      'too_many_erasures',
      'log_unwritable',
      'disk_full',
    ]),
  },
}

const listErasures: OpenApiOperation = {
  summary: 'List erasures',
  responses: {
    '200': {
      description: 'The oldest first.',
      content: json({ type: 'object', properties: { erasures: { type: 'array', items: ref('Erasure') } } }),
    },
    ...problems(always),
  },
}

const showErasure: OpenApiOperation = {
  summary: 'Show an erasure',
  parameters: [inPath('id', 'The `id` of the 202.')],
  responses: {
    '200': { description: 'What it has done so far.', content: json(ref('Erasure')) },
    ...problems([...always, 'unknown_erasure']),
  },
}

const listTags: OpenApiOperation = {
  summary: 'List the tags of a table',
  parameters: [table],
  responses: {
    '200': {
      description: 'By name.',
      content: json({ type: 'object', properties: { tags: { type: 'array', items: ref('Tag') } } }),
    },
    ...problems([...always, 'not_found']),
  },
}

const createTag: OpenApiOperation = {
  summary: 'Tag a snapshot',
  description: 'A tagged snapshot does not expire. An erasure that means rows of it drops the tag all the same.',
  parameters: [table],
  requestBody: { required: true, content: json(ref('TagRequest')) },
  responses: {
    '201': { description: 'The tag is there.', content: json(ref('Tag')) },
    ...problems([...always, ...body, 'not_found', 'commit_conflict']),
  },
}

const dropTag: OpenApiOperation = {
  summary: 'Drop a tag',
  parameters: [table, inPath('tag', 'Its name.')],
  responses: {
    '204': { description: 'The tag is gone; its snapshot expires as others do.' },
    ...problems([...always, 'invalid_request', 'not_found', 'commit_conflict']),
  },
}

const rollback: OpenApiOperation = {
  summary: 'Go back to an earlier snapshot',
  description:
    'A new snapshot has the files of the earlier one. What was committed since is gone and is not loaded again; events that are not ' +
    'committed yet stay, and loading goes on.',
  parameters: [table],
  requestBody: { required: true, content: json(ref('RollbackRequest')) },
  responses: {
    '200': {
      description: 'The table has gone back, or what that would do (`dryRun`).',
      content: json(ref('Rollback')),
    },
    ...problems([...always, ...body, 'not_found', 'commit_conflict', 'corrupt_table']),
  },
}

export const changeOperations = { erase, listErasures, showErasure, listTags, createTag, dropTag, rollback }

const text: Json = { type: 'string' }
const whole: Json = { type: 'integer' }
const flag: Json = { type: 'boolean', default: false }
const maybeText: Json = { type: ['string', 'null'] }
const object = (properties: Json, required: readonly string[] = []): Json => ({ type: 'object', properties, required })
const list = (items: Json): Json => ({ type: 'array', items })
const figures = object({ rows: whole, files: whole })

export const changeSchemas: Json = {
  ErasureRequest: {
    ...object(
      {
        where: { ...text, description: "A condition over the stream's columns, as in WHERE; no subqueries." },
        all: { ...flag, description: 'true: it may mean every event.' },
        dryRun: { ...flag, description: 'true: count, and change nothing.' },
      },
      ['where'],
    ),
    additionalProperties: false,
  },
  ErasureCount: object({
    stream: text,
    dryRun: { const: true },
    where: text,
    matches: whole,
    rows: whole,
    files: whole,
    filesAll: whole,
  }),
  Erasure: object({
    id: text,
    stream: text,
    state: { enum: ['queued', 'flushing', 'rewriting', 'expiring', 'checking', 'done'] },
    requestedAt: text,
    requestedBy: maybeText,
    position: { ...text, description: 'Position in the log behind the events it means.' },
    where: { ...text, description: 'The condition, with a hash in the place of each value.' },
    finishedAt: maybeText,
    seconds: { type: ['number', 'null'] },
    waitingFor: maybeText,
    report: object({
      commits: list(
        object({ table: text, snapshotId: text, rows: whole, filesRemoved: whole, filesAdded: whole, bytes: whole }),
      ),
      trimmedBelow: maybeText,
      expired: list(object({ table: text, snapshotId: text })),
      droppedRefs: list(object({ table: text, name: text, type: text, snapshotId: text })),
      filesDeleted: whole,
      check: object({
        at: text,
        seconds: { type: 'number' },
        bytes: whole,
        matches: whole,
        places: list(object({ place: text, files: whole, bytes: whole, matches: list(text), explained: list(text) })),
      }),
    }),
  }),
  Tag: object({ name: text, snapshotId: text, committedAt: maybeText, maxAgeMs: { type: ['integer', 'null'] } }),
  TagRequest: {
    ...object(
      {
        name: text,
        snapshot: { ...text, description: 'An id, or another tag; without it the current snapshot.' },
        maxAgeMs: { ...whole, minimum: 1, description: 'The tag goes by itself when its snapshot is so old.' },
      },
      ['name'],
    ),
    additionalProperties: false,
  },
  RollbackRequest: {
    ...object({ to: { ...text, description: 'Id of a snapshot, as text, or a tag.' }, dryRun: flag }, ['to']),
    additionalProperties: false,
  },
  Rollback: object({
    table: text,
    dryRun: { type: 'boolean' },
    to: text,
    committedAt: text,
    snapshotId: maybeText,
    removed: figures,
    restored: figures,
  }),
}
