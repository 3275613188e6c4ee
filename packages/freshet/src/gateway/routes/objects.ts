/**
 * `/v1/objects/{bucket}/{key}`: PUT, GET, HEAD and DELETE of objects. A PUT in order: the head of the request is checked before any of
 * the body is read; the body streams into a file; blob, index and event are made durable (objects/object-buckets.ts); then comes
 * the answer (I1).
 */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ObjectVersion } from '../../objects/object-event.ts'
import type { Objects } from '../../objects/open-objects.ts'
import { corrupt } from '../../objects/blob-format.ts'
import { blobPlace } from '../../objects/blobs.ts'
import type { GatewayContext } from '../context.ts'
import { metadataHeaders, namesTag, rangeOf, readQuery, sourceOf, wholeOf } from '../object-headers.ts'
import { fieldsOf, objectAnswer, targetOf } from '../object-target.ts'
import { addBucketRoutes } from './object-lists.ts'
import { addUploadParts, type UploadRoutes } from './object-uploads.ts'

/** A page that was put as an object must not act as one of this server's. */
const inertHeaders = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
}

export function addObjectRoutes(app: FastifyInstance, context: GatewayContext): void {
  void app.register((scope, _options, done) => {
    // Bodies are taken in by the handlers, as streams.
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, _message, parsed) => parsed(null))
    const uploads = addUploadParts(context)
    const url = '/v1/objects/:bucket/*'
    scope.head(url, async (request, reply) => showObject(request, reply, context))
    scope.get(url, async (request, reply) => getOrList(request, reply, context, uploads))
    scope.put(url, async (request, reply) => putObject(request, reply, context, uploads))
    scope.post(url, async (request, reply) => uploads.post(request, reply, targetOf(request, context)))
    scope.delete(url, async (request, reply) => removeObject(request, reply, context, uploads))
    done()
  })
  addBucketRoutes(app, context)
}

async function putObject(
  request: FastifyRequest,
  reply: FastifyReply,
  context: GatewayContext,
  uploads: UploadRoutes,
): Promise<unknown> {
  const target = targetOf(request, context)
  const { upload } = readQuery(request.query, ['upload', 'part'])
  if (upload !== undefined) return uploads.putPart(request, target)
  const { objects, bucket, key } = target
  const fields = fieldsOf(request, target)
  const announced = Number(request.headers['content-length'] ?? 0)
  objects.uploads.checkSize(bucket, announced)
  await context.uploads.checkDisk(announced)
  if (fields.onlyNew && fields.sha256 === undefined) await objects.buckets.refuseTaken(bucket, key)
  const { object, created } = await context.uploads.run(request.raw, async () => {
    const incoming = await objects.blobs.receive(bucket)
    try {
      await context.uploads.receive(request.raw, incoming, (bytes) => objects.uploads.checkSize(bucket, bytes))
    } catch (error) {
      await incoming.discard()
      throw error
    }
    return objects.buckets.put(fields, incoming)
  })
  reply.code(created ? 201 : 200).header('etag', `"${object.sha256}"`)
  return objectAnswer(object)
}

async function getOrList(
  request: FastifyRequest,
  reply: FastifyReply,
  context: GatewayContext,
  uploads: UploadRoutes,
): Promise<unknown> {
  const { upload } = request.query as { upload?: string }
  return upload === undefined ? getObject(request, reply, context) : uploads.show(request, targetOf(request, context))
}

async function getObject(request: FastifyRequest, reply: FastifyReply, context: GatewayContext): Promise<unknown> {
  const { objects, object } = await found(request, context)
  const tag = `"${object.sha256}"`
  void reply.headers(headersOf(object))
  if (namesTag(request.headers['if-none-match'], tag)) return reply.code(304).send()
  const ifRange = request.headers['if-range']
  const range = rangeOrAnswer(
    ifRange === undefined || ifRange === tag ? request.headers.range : undefined,
    object,
    reply,
  )
  const { start, end } = range ?? { start: 0, end: object.bytes }
  const blob = await objects.buckets.open(object)
  const pieces = range === undefined ? checked(blob.read(), object) : blob.read(start, end)
  // What is wrong with the first block is still an answer; later on only the connection can be broken off.
  const first = await pieces.next()
  void reply.code(range === undefined ? 200 : 206).header('content-length', end - start)
  if (range !== undefined) void reply.header('content-range', `bytes ${start}-${end - 1}/${object.bytes}`)
  return reply.send(first.done === true ? '' : Readable.from(following(first.value, pieces), { objectMode: false }))
}

async function showObject(request: FastifyRequest, reply: FastifyReply, context: GatewayContext): Promise<unknown> {
  const { object } = await found(request, context)
  void reply.headers(headersOf(object)).header('content-length', object.bytes)
  const isKnown = namesTag(request.headers['if-none-match'], `"${object.sha256}"`)
  return reply.code(isKnown ? 304 : 200).send()
}

async function found(
  request: FastifyRequest,
  context: GatewayContext,
): Promise<{ objects: Objects; object: ObjectVersion }> {
  const { objects, bucket, key } = targetOf(request, context)
  const { version } = readQuery(request.query, ['version'])
  const which = version === undefined ? undefined : wholeOf('version', version, 0, Number.MAX_SAFE_INTEGER)
  return { objects, object: await objects.buckets.find(bucket, key, which) }
}

function rangeOrAnswer(
  header: string | undefined,
  { bytes }: ObjectVersion,
  reply: FastifyReply,
): { start: number; end: number } | undefined {
  try {
    return rangeOf(header, bytes)
  } catch (error) {
    void reply.header('content-range', `bytes */${bytes}`)
    throw error
  }
}

function headersOf(object: ObjectVersion): Record<string, string> {
  return {
    ...inertHeaders,
    ...metadataHeaders(object.metadata),
    'content-type': object.type,
    'accept-ranges': 'bytes',
    etag: `"${object.sha256}"`,
    'repr-digest': `sha-256=:${Buffer.from(object.sha256, 'hex').toString('base64')}:`,
    'last-modified': new Date(object.putAtMs).toUTCString(),
    'x-freshet-sha256': object.sha256,
    'x-freshet-version': String(object.version),
  }
}

async function removeObject(
  request: FastifyRequest,
  reply: FastifyReply,
  context: GatewayContext,
  uploads: UploadRoutes,
): Promise<unknown> {
  const target = targetOf(request, context)
  const { upload } = readQuery(request.query, ['upload'])
  if (upload !== undefined) await uploads.abort(target, upload)
  else await target.objects.buckets.remove(target.bucket, target.key, sourceOf(request.headers))
  return reply.code(204).send()
}

async function* following(first: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield first
  yield* rest
}

/** The bytes of a whole object, which end in an error unless they have the object's hash. */
async function* checked(pieces: AsyncIterable<Buffer>, { bucket, sha256 }: ObjectVersion): AsyncGenerator<Buffer> {
  const hash = createHash('sha256')
  let held: Buffer | undefined
  for await (const piece of pieces) {
    hash.update(piece)
    if (held !== undefined) yield held
    held = piece
  }
  // The last piece is held back until the hash is known: a client that gets all bytes has the right ones.
  if (hash.digest('hex') !== sha256) throw corrupt(blobPlace(bucket, sha256), 'its bytes have another hash')
  if (held !== undefined) yield held
}
