/** What a request about an object, or a part of one, is about. */
import type { FastifyRequest } from 'fastify'
import type { BucketPlan } from '../config/plan.ts'
import type { ObjectFields } from '../objects/object-buckets.ts'
import type { ObjectVersion } from '../objects/object-event.ts'
import { keyFault } from '../objects/object-key.ts'
import type { Objects } from '../objects/open-objects.ts'
import { FreshetError } from '../runtime/errors.ts'
import type { GatewayContext } from './context.ts'
import { announcedSha256, metadataOf, onlyNew, refuseEncoding, sourceOf, typeOf } from './object-headers.ts'

export interface ObjectTarget {
  objects: Objects
  plan: BucketPlan
  bucket: string
  key: string
}

/** @throws FreshetError `unknown_bucket`, `invalid_request` */
export function targetOf(request: FastifyRequest, context: GatewayContext): ObjectTarget {
  const { bucket, '*': key } = request.params as { bucket: string; '*': string }
  const { objects } = context
  if (objects === undefined) throw noBuckets(bucket)
  const plan = objects.buckets.plan(bucket)
  const fault = keyFault(key)
  if (fault === undefined) return { objects, plan, bucket, key }
  throw new FreshetError('invalid_request', `${JSON.stringify(key.slice(0, 200))} cannot be a key: ${fault}.`, {
    hint: 'A key is text of at most 1024 bytes, its parts separated by single slashes, percent-encoded in the path.',
  })
}

export function noBuckets(bucket: string): FreshetError {
  return new FreshetError(
    'unknown_bucket',
    `There is no bucket ${JSON.stringify(bucket.slice(0, 100))}. None is declared.`,
    {
      hint: 'Declare it under `buckets` in freshet.config.ts.',
    },
  )
}

/** What a PUT, or the POST that begins an upload, says of its object. */
export function fieldsOf(request: FastifyRequest, { bucket, key }: ObjectTarget): ObjectFields {
  const { headers } = request
  refuseEncoding(headers)
  return {
    bucket,
    key,
    type: typeOf(headers),
    metadata: metadataOf(headers),
    source: sourceOf(headers),
    sha256: announcedSha256(headers),
    onlyNew: onlyNew(headers),
  }
}

export function objectAnswer(object: ObjectVersion): Record<string, unknown> {
  const { bucket, key, version, sha256, bytes, type, metadata, putAtMs } = object
  return {
    bucket,
    key,
    version,
    sha256,
    size: bytes,
    contentType: type,
    metadata,
    putAt: new Date(putAtMs).toISOString(),
  }
}
