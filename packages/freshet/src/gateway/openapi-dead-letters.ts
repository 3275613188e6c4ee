/** The routes of dead letters, for openapi.ts. */
import { json, problems, query, ref, type Json, type OpenApiOperation } from './openapi-parts.ts'

type Parameter = NonNullable<OpenApiOperation['parameters']>[number]

const inPath = (name: string, description: string, schema: Json = { type: 'string' }): Parameter => ({
  name,
  in: 'path',
  required: true,
  description,
  schema,
})

const stream = inPath('stream', 'The stream whose dead letters are meant.', {
  type: 'string',
  pattern: '^[a-z][a-z0-9_]{0,62}$',
})
const always = ['forbidden_host', 'engine_unavailable', 'shutting_down'] as const
const condition = ['invalid_request', 'invalid_sql', 'forbidden_sql', 'unknown_stream', 'query_timeout'] as const
const body = [
  'invalid_body',
  'invalid_json',
  'body_too_large',
  'unsupported_encoding',
  'unsupported_media_type',
  'overloaded',
] as const
const storage = ['log_unwritable', 'disk_full'] as const

const overview: OpenApiOperation = {
  summary: 'Which streams have dead letters?',
  responses: {
    '200': { description: 'How many, by stage.', content: json(ref('DeadLetterOverview')) },
    ...problems([...always, 'query_timeout']),
  },
}

const list: OpenApiOperation = {
  summary: 'List dead letters',
  parameters: [
    stream,
    query('where', "A condition over the columns of the letters: code = 'schema_violation'.", { type: 'string' }),
    query('limit', 'Most letters in the answer.', { type: 'integer', minimum: 1, maximum: 1000, default: 50 }),
  ],
  responses: {
    '200': { description: 'The newest first.', content: json(ref('DeadLetterList')) },
    ...problems([...always, ...condition]),
  },
}

const show: OpenApiOperation = {
  summary: 'Show a dead letter',
  parameters: [stream, inPath('id', 'Its `id`.')],
  responses: {
    '200': { description: 'The letter, with its stack.', content: json(ref('DeadLetter')) },
    ...problems([...always, 'unknown_stream', 'not_found', 'query_timeout']),
  },
}

const replay: OpenApiOperation = {
  summary: 'Send dead letters again',
  description:
    'Sends the events of letters again from where they failed, each exactly once; what fails again stays. It is on disk before it begins, ' +
    'and goes on over restarts. With `dryRun` nothing changes, and the answer says what would become of each.',
  parameters: [stream],
  requestBody: { required: true, content: json(ref('DeadLetterRequest')) },
  responses: {
    '200': {
      description: 'It is done, or what it would do (`dryRun`).',
      content: json({ oneOf: [ref('DeadLetterReplay'), ref('DeadLetterForecast')] }),
    },
    '202': { description: 'It goes on; ask again by its id.', content: json(ref('DeadLetterReplay')) },
    ...problems([...always, ...condition, ...body, ...storage]),
  },
}

const showReplay: OpenApiOperation = {
  summary: 'Show a replay',
  parameters: [inPath('id', 'The `id` of the 202.')],
  responses: {
    '200': { description: 'How far it is.', content: json(ref('DeadLetterReplay')) },
    ...problems([...always, 'not_found']),
  },
}

const drop: OpenApiOperation = {
  summary: 'Drop dead letters',
  description:
    'Takes letters out of their table for good. With `dryRun` nothing changes, and the answer says how many.',
  parameters: [stream],
  requestBody: { required: true, content: json(ref('DeadLetterRequest')) },
  responses: {
    '200': { description: 'How many.', content: json(ref('DeadLetterDrop')) },
    ...problems([...always, ...condition, ...body, ...storage, 'commit_conflict']),
  },
}

export const deadLetterOperations = { overview, list, show, replay, showReplay, drop }

const text: Json = { type: 'string' }
const maybeText: Json = { type: ['string', 'null'] }
const whole: Json = { type: 'integer', minimum: 0 }
const flag: Json = { type: 'boolean' }
const listOf = (items: Json): Json => ({ type: 'array', items })
const object = (properties: Json, required: readonly string[] = Object.keys(properties)): Json => ({
  type: 'object',
  properties,
  required,
})

const letter: Json = {
  id: { ...text, description: 'Where it failed and what: the same letter always has the same id.' },
  stage: { enum: ['door', 'transform', 'load', 'sink'] },
  consumer: maybeText,
  code: text,
  path: { ...maybeText, description: 'JSON pointer into the event.' },
  message: text,
  event: { ...text, description: 'The event: its line in the log or, at the door, what was sent.' },
  eventId: maybeText,
  position: { type: ['integer', 'null'] },
  version: maybeText,
  failedAt: text,
  eventTime: text,
  receivedAt: text,
  source: maybeText,
}
const failure: Json = object({ id: text, code: text, path: text, message: text })

export const deadLetterSchemas: Json = {
  DeadLetter: object({ ...letter, stack: maybeText }, Object.keys(letter)),
  DeadLetterList: object({ stream: text, letters: listOf(ref('DeadLetter')), more: flag }),
  DeadLetterOverview: object({
    streams: listOf(
      object({
        stream: text,
        letters: whole,
        stages: listOf(object({ stage: text, consumer: maybeText, letters: whole })),
      }),
    ),
  }),
  DeadLetterRequest: {
    ...object(
      {
        where: { ...text, description: 'Which letters, as in SQL.' },
        all: { ...flag, description: 'All letters of the stream; needed where there is no condition.' },
        dryRun: flag,
      },
      [],
    ),
    additionalProperties: false,
  },
  DeadLetterReplay: object({
    id: text,
    stream: text,
    state: { enum: ['running', 'done'] },
    requestedAt: text,
    requestedBy: maybeText,
    where: maybeText,
    letters: whole,
    replayed: whole,
    failed: whole,
    failures: listOf(failure),
    more: { ...flag, description: 'More letters were meant than one replay takes: ask again.' },
    finishedAt: maybeText,
    waitingFor: maybeText,
  }),
  DeadLetterForecast: object({
    stream: text,
    dryRun: flag,
    letters: whole,
    accepted: whole,
    failed: whole,
    more: flag,
    outcomes: listOf(object({ id: text, accepted: flag, code: text, path: text, message: text }, ['id', 'accepted'])),
  }),
  DeadLetterDrop: object({ stream: text, dryRun: flag, dropped: whole }),
}
