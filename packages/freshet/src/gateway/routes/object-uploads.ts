/**
 * Uploads by parts, on the path of their object: `POST ?uploads` begins one, `PUT ?upload=ID&part=N` sends a part, `GET ?upload=ID` lists
 * the parts that have arrived, `POST ?upload=ID` with that list makes the object, `DELETE ?upload=ID` gives up.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError } from '../../runtime/errors.ts'
import { uploadKeepMs } from '../../objects/sweep.ts'
import { partNumberMax, type Upload, type UploadPart } from '../../objects/uploads.ts'
import type { GatewayContext } from '../context.ts'
import { announcedSha256, readQuery, refuseEncoding, wholeOf } from '../object-headers.ts'
import { readObject } from '../json-request.ts'
import { fieldsOf, objectAnswer, type ObjectTarget } from '../object-target.ts'
import { readBody } from '../read-body.ts'

export interface UploadRoutes {
  post(request: FastifyRequest, reply: FastifyReply, target: ObjectTarget): Promise<unknown>
  putPart(request: FastifyRequest, target: ObjectTarget): Promise<unknown>
  show(request: FastifyRequest, target: ObjectTarget): Promise<unknown>
  abort(target: ObjectTarget, id: string): Promise<void>
}

/** A list of the most parts, each with its hash, has less. */
const listBytesMax = 2 * 1024 * 1024

export function addUploadParts(context: GatewayContext): UploadRoutes {
  const gate = context.uploads
  return {
    async post(request, reply, target) {
      const { upload: id } = readQuery(request.query, ['uploads', 'upload'])
      if (id !== undefined) return complete(request, reply, target, id)
      if ((request.query as { uploads?: string }).uploads === undefined) {
        throw new FreshetError('invalid_request', 'A POST begins or completes an upload.', {
          hint: 'Begin one with ?uploads, complete it with ?upload=ID; put an object whole with PUT.',
        })
      }
      const upload = await target.objects.uploads.begin(fieldsOf(request, target))
      return reply.code(201).send(uploadAnswer(upload))
    },

    async putPart(request, { objects, bucket, key }) {
      const { upload: id = '', part = '' } = readQuery(request.query, ['upload', 'part'])
      const number = wholeOf('part', part, 1, partNumberMax)
      refuseEncoding(request.headers)
      const sha256 = announcedSha256(request.headers)
      const upload = await objects.uploads.find(bucket, key, id)
      const announced = Number(request.headers['content-length'] ?? 0)
      objects.uploads.checkSize(bucket, announced)
      await gate.checkDisk(announced)
      const stored = await gate.run(request.raw, async () => {
        const incoming = await objects.blobs.receive(bucket)
        try {
          await gate.receive(request.raw, incoming, (bytes) => objects.uploads.checkSize(bucket, bytes))
        } catch (error) {
          await incoming.discard()
          throw error
        }
        return objects.uploads.putPart(upload, { number, sha256 }, incoming)
      })
      return partAnswer(stored)
    },

    async show(request, { objects, bucket, key }) {
      const { upload: id = '' } = readQuery(request.query, ['upload'])
      const upload = await objects.uploads.find(bucket, key, id)
      return { ...uploadAnswer(upload), parts: (await objects.uploads.parts(id)).map(partAnswer) }
    },

    async abort({ objects, bucket, key }, id) {
      await objects.uploads.abort(await objects.uploads.find(bucket, key, id))
    },
  }

  async function complete(
    request: FastifyRequest,
    reply: FastifyReply,
    { objects, bucket, key }: ObjectTarget,
    id: string,
  ): Promise<unknown> {
    const upload = await objects.uploads.find(bucket, key, id)
    const wanted = readParts(readObject(await bodyOf(request), ['parts'], listBytesMax).parts)
    const { object, created } = await gate.run(request.raw, () => objects.uploads.complete(upload, wanted))
    void reply.code(created ? 201 : 200).header('etag', `"${object.sha256}"`)
    return objectAnswer(object)
  }

  async function bodyOf({ raw }: FastifyRequest): Promise<Buffer> {
    const { budget } = context
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    readBody(raw, { bytesMax: listBytesMax, budget }, (error, body) =>
      error === null ? resolve(body!) : reject(error),
    )
    const body = await promise
    budget.give(body.length)
    return body
  }
}

export function uploadAnswer(upload: Upload): Record<string, unknown> {
  const { id, bucket, key, type, metadata, sha256, touchedAtMs } = upload
  return {
    upload: id,
    bucket,
    key,
    contentType: type,
    metadata,
    sha256: sha256 ?? null,
    expiresAt: new Date(touchedAtMs + uploadKeepMs).toISOString(),
  }
}

function partAnswer({ number, sha256, bytes }: UploadPart): Record<string, unknown> {
  return { part: number, sha256, size: bytes }
}

function readParts(parts: unknown): { number: number; sha256: string }[] {
  const fault = new FreshetError('invalid_request', '"parts" must be a list of parts.', {
    hint: 'Like {"parts": [{"part": 1, "sha256": "..."}]}, as GET ?upload=ID lists them.',
  })
  if (!Array.isArray(parts) || parts.length > partNumberMax) throw fault
  return parts.map((one: unknown) => {
    const { part, sha256 } = (one ?? {}) as { part?: unknown; sha256?: unknown }
    if (typeof part !== 'number' || typeof sha256 !== 'string') throw fault
    return { number: part, sha256: sha256.toLowerCase() }
  })
}
