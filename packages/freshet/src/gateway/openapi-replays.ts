/** The routes of replays of streams, for openapi.ts. */
import { json, problems, ref, type Json, type OpenApiOperation } from './openapi-parts.ts'

type Parameter = NonNullable<OpenApiOperation['parameters']>[number]

const inPath = (name: string, description: string, schema: Json = { type: 'string' }): Parameter => ({
  name,
  in: 'path',
  required: true,
  description,
  schema,
})

const stream = inPath('stream', 'A stream that a transform makes.', {
  type: 'string',
  pattern: '^[a-z][a-z0-9_]{0,62}$',
})
const id = inPath('id', 'The `id` of the first answer.')
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
const storage = ['log_unwritable', 'disk_full'] as const

const outcome = (done: string): OpenApiOperation['responses'] => ({
  '200': { description: done, content: json(ref('StreamReplay')) },
  '202': { description: 'It goes on; ask again by its id.', content: json(ref('StreamReplay')) },
})

const request: OpenApiOperation = {
  summary: 'Replay a stream',
  description:
    "Runs a transform's present code over the history of its source. With `dryRun` the answer says which rows would appear, change and vanish, and " +
    'nothing changes. Else each partition that differs is swapped in one commit. It is on disk before it begins, and goes on over restarts.',
  parameters: [stream],
  requestBody: { required: true, content: json(ref('StreamReplayRequest')) },
  responses: {
    ...outcome('It is previewed, applied, or has failed, as `state` says.'),
    ...problems([...always, ...body, ...storage, 'unknown_stream', 'replay_refused']),
  },
}

const list: OpenApiOperation = {
  summary: 'List replays',
  responses: {
    '200': {
      description: 'The oldest first.',
      content: json({ type: 'object', properties: { replays: { type: 'array', items: ref('StreamReplay') } } }),
    },
    ...problems(always),
  },
}

const show: OpenApiOperation = {
  summary: 'Show a replay of a stream',
  parameters: [id],
  responses: {
    '200': { description: 'What it has found and done so far.', content: json(ref('StreamReplay')) },
    ...problems([...always, 'unknown_replay']),
  },
}

const step = (summary: string, description: string, done: string): OpenApiOperation => ({
  summary,
  description,
  parameters: [id],
  requestBody: { required: true, content: json({ type: 'object', additionalProperties: false }) },
  responses: {
    ...outcome(done),
    ...problems([...always, ...body, ...storage, 'unknown_stream', 'unknown_replay', 'replay_refused']),
  },
})

const apply = step(
  'Apply a replay that was previewed',
  'The code runs again, over what the source has by now. It is refused when the code is not the one of the preview.',
  'It is applied.',
)
const undo = step(
  'Undo a replay',
  'Brings back the rows that the replay took, and takes those that it brought. It is refused when they are kept no more.',
  'It is undone.',
)

export const replayOperations = { request, list, show, apply, undo }

const text: Json = { type: 'string' }
const maybeText: Json = { type: ['string', 'null'] }
const whole: Json = { type: 'integer', minimum: 0 }
const listOf = (items: Json): Json => ({ type: 'array', items })
const object = (properties: Json, required: readonly string[] = Object.keys(properties)): Json => ({
  type: 'object',
  properties,
  required,
})
const time: Json = { ...text, description: 'A date, or a time with its zone.' }
const counts: Json = { appear: whole, change: whole, vanish: whole, same: whole }
const findings: Json = {
  oneOf: [
    object({
      ...counts,
      events: { ...whole, description: 'Events of the source that the code was given.' },
      letters: { ...whole, description: 'Those of them at which it failed.' },
      partitions: listOf(object({ partition: text, ...counts })),
      partitionsChanged: whole,
      partitionsSame: whole,
    }),
    { type: 'null' },
  ],
}
const commits = listOf(object({ snapshotId: text, partitions: text, rowsRemoved: whole, rowsAdded: whole }))
const sampleRow = object({
  id: text,
  kind: { enum: ['appear', 'change', 'vanish'] },
  columns: { type: 'object', description: 'By name: what it has (`before`) and would have (`after`).' },
})

const answer: Json = {
  id: text,
  stream: text,
  state: { enum: ['previewing', 'previewed', 'applying', 'applied', 'undoing', 'undone', 'failed'] },
  requestedAt: text,
  requestedBy: { ...maybeText, description: 'Who asked for the last of its steps.' },
  from: maybeText,
  to: maybeText,
  version: { ...text, description: 'Hash of the code.' },
  preview: findings,
  applied: findings,
  commits,
  undone: commits,
  finishedAt: maybeText,
  waitingFor: { ...maybeText, description: 'What it waits for, or why it failed.' },
  undoUntil: { ...maybeText, description: 'Until when it can be undone.' },
}

export const replaySchemas: Json = {
  StreamReplayRequest: {
    ...object(
      {
        from: {
          ...time,
          description: `${String(time['description'])} Event times from it on; without it, from the first.`,
        },
        to: { ...time, description: `${String(time['description'])} Event times before it; without it, to the last.` },
        dryRun: { type: 'boolean', default: false },
        keepMs: { ...whole, description: 'How long it can be undone; 7 days without it.' },
      },
      [],
    ),
    additionalProperties: false,
  },
  StreamReplay: object(
    {
      ...answer,
      sample: {
        description: 'Some of what a preview found; null when it is forgotten, and in lists it is left out.',
        oneOf: [
          object({
            rows: listOf(sampleRow),
            letters: listOf(object({ event_id: maybeText, code: text, message: text })),
          }),
          { type: 'null' },
        ],
      },
    },
    Object.keys(answer),
  ),
}
