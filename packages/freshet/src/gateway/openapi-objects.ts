/** The routes of objects, for openapi.ts. */
import { header, json, problems, query, ref, type Json, type OpenApiOperation } from './openapi-parts.ts'

type Parameter = NonNullable<OpenApiOperation['parameters']>[number]

const text: Json = { type: 'string' }
const whole: Json = { type: 'integer' }
const sha256: Json = { type: 'string', pattern: '^[0-9a-f]{64}$' }
const metadata: Json = { type: 'object', additionalProperties: text }
const object = (properties: Json): Json => ({ type: 'object', properties })
const list = (items: Json): Json => ({ type: 'array', items })
const bytes = { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } }

const bucket: Parameter = {
  name: 'bucket',
  in: 'path',
  required: true,
  description: 'A declared bucket.',
  schema: { type: 'string', pattern: '^[a-z][a-z0-9_]{0,62}$' },
}
const key: Parameter = {
  name: 'key',
  in: 'path',
  required: true,
  description:
    'Text of at most 1024 bytes, percent-encoded, with single slashes between its parts; no part is "." or "..", none is empty.',
  schema: { type: 'string', minLength: 1, maxLength: 1024 },
}
const digest = [
  header('x-freshet-sha256', 'SHA-256 of the bytes in hex. They are refused when they have another one.', 64),
  header('Content-Digest', 'The same by RFC 9530: `sha-256=:<base64>:`.', 512),
]
const described = [
  header('x-freshet-meta-{name}', 'Metadata, given back with the object; 4096 bytes in all.', 4096),
  header('Freshet-Source', 'The `_source` of the event.', 128),
  header('If-None-Match', '`*`: only when the key is free.', 1),
]
const upload = query('upload', 'An upload by parts, as `POST ?uploads` names it.', text)
const always = ['forbidden_host', 'unknown_bucket', 'invalid_request', 'objects_unavailable', 'shutting_down'] as const
const incoming = [
  'checksum_mismatch',
  'disk_full',
  'invalid_body',
  'invalid_header',
  'object_too_large',
  'overloaded',
  'request_timeout',
  'unknown_upload',
  'unsupported_encoding',
  'unsupported_media_type',
] as const
const announced = ['log_unwritable', 'object_exists', 'schema_violation'] as const

const buckets: OpenApiOperation = {
  summary: 'List buckets',
  responses: {
    '200': { description: 'The declared buckets.', content: json(object({ buckets: list(ref('Bucket')) })) },
    ...problems(['forbidden_host']),
  },
}

const listObjects: OpenApiOperation = {
  summary: 'List objects',
  description: 'In the order of the bytes of their keys. With `uploads`, the uploads that are not completed.',
  parameters: [
    bucket,
    query('prefix', 'Only keys that begin so.', text),
    query('delimiter', 'Keys that have it behind the prefix are shown by their common prefix up to it.', text),
    query('after', 'Only what comes behind this: the `next` of the page before.', text),
    query('limit', 'Keys and common prefixes at most.', { ...whole, minimum: 1, maximum: 1000, default: 100 }),
    query('uploads', 'Lists uploads.', text),
    query('key', 'With `uploads`: only those of this key.', text),
  ],
  responses: {
    '200': { description: 'A page.', content: json({ oneOf: [ref('ObjectPage'), ref('UploadList')] }) },
    ...problems(always),
  },
}

const rotate: OpenApiOperation = {
  summary: 'Rotate the master key of a bucket',
  description:
    'Wraps the data keys of all objects by the newest master key; the objects themselves stay as they are. It may be interrupted, and ' +
    'begun again. When nothing is unreadable, the older master keys are needed no more.',
  parameters: [bucket, { ...query('rotate', 'Says so.', text), required: true }],
  responses: { '200': { description: 'It is done.', content: json(ref('Rotation')) }, ...problems(always) },
}

const put: OpenApiOperation = {
  summary: 'Put an object, or a part of one',
  description:
    'The body is taken in as it comes, of any size up to that of the bucket. The answer comes when the bytes, the key and the ' +
    "event of the bucket's stream are on disk. Putting the same again changes nothing and makes no event.",
  parameters: [
    bucket,
    key,
    ...described,
    ...digest,
    upload,
    query('part', 'With `upload`: the number of the part.', { ...whole, minimum: 1, maximum: 10_000 }),
  ],
  requestBody: { required: false, content: bytes },
  responses: {
    '200': {
      description: 'The object was there, or the part is.',
      content: json({ oneOf: [ref('Object'), ref('Part')] }),
    },
    '201': { description: 'The object is there, and its key was free.', content: json(ref('Object')) },
    ...problems([...always, ...incoming, ...announced]),
  },
}

const get: OpenApiOperation = {
  summary: 'Get an object, or an upload',
  description:
    'Its bytes, or with `Range` one part of them; HEAD for the headers only. With `upload`, the parts that have arrived.',
  parameters: [
    bucket,
    key,
    header('Range', 'A part of the object: `bytes=0-99`, `bytes=100-`, `bytes=-100`.', 100),
    header('If-None-Match', 'ETags: 304 when the object has one of them.', 4096),
    query('version', 'Not the current version, but this one, while it is kept.', whole),
    upload,
  ],
  responses: {
    '200': { description: 'The object, with its Content-Type and metadata.', content: bytes },
    '206': { description: 'The part of it.', content: bytes },
    '304': { description: 'The object is the one that is known.' },
    ...problems([
      ...always,
      'unknown_object',
      'unknown_upload',
      'range_not_satisfiable',
      'corrupt_object',
      'object_unreadable',
    ]),
  },
}

const post: OpenApiOperation = {
  summary: 'Begin or complete an upload by parts',
  description:
    'With `uploads` one begins; its headers say of the object what those of a PUT do. With `upload` the parts become the object; ' +
    'a repeat is told the same. Uploads on which nothing happens for seven days are removed.',
  parameters: [bucket, key, ...described, ...digest, query('uploads', 'Begins an upload.', text), upload],
  requestBody: { required: false, content: json(ref('PartList')) },
  responses: {
    '200': { description: 'The object was replaced.', content: json(ref('Object')) },
    '201': {
      description: 'The upload has begun, or the object is there.',
      content: json({ oneOf: [ref('Upload'), ref('Object')] }),
    },
    ...problems([...always, ...incoming, ...announced, 'body_too_large', 'invalid_json', 'corrupt_object']),
  },
}

const remove: OpenApiOperation = {
  summary: 'Remove an object, or give up an upload',
  description: 'The bytes stay readable for transforms as long as `keepDeleted` of the bucket says.',
  parameters: [bucket, key, header('Freshet-Source', 'The `_source` of the event.', 128), upload],
  responses: {
    '204': { description: 'It is not there any more.' },
    ...problems([...always, 'unknown_object', 'unknown_upload', 'log_unwritable', 'disk_full']),
  },
}

export const objectOperations = { buckets, listObjects, rotate, put, get, post, remove }

const shared = { bucket: text, key: text, contentType: text, metadata }

export const objectSchemas: Json = {
  Bucket: object({
    name: text,
    stream: text,
    objectBytesMax: whole,
    compressed: { type: 'boolean' },
    encrypted: { type: 'boolean' },
  }),
  Object: object({ ...shared, version: whole, sha256, size: whole, putAt: text }),
  ObjectPage: object({ objects: list(ref('Object')), prefixes: list(text), next: { type: ['string', 'null'] } }),
  Upload: object({
    ...shared,
    upload: text,
    sha256: { type: ['string', 'null'] },
    expiresAt: text,
    parts: list(ref('Part')),
  }),
  UploadList: object({ uploads: list(ref('Upload')) }),
  Part: object({ part: whole, sha256, size: whole }),
  PartList: {
    ...object({ parts: list({ ...object({ part: whole, sha256 }), required: ['part', 'sha256'] }) }),
    additionalProperties: false,
  },
  Rotation: object({ rewrapped: whole, current: whole, plain: whole, unreadable: whole, problems: list(text) }),
}
