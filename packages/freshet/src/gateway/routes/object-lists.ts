/** `GET /v1/objects`: the buckets; `GET /v1/objects/{bucket}`: its objects, or uploads; `POST /v1/objects/{bucket}?rotate`: its keys. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { BucketPlan } from '../../config/plan.ts'
import type { Objects } from '../../objects/open-objects.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'
import { takeBody } from '../json-request.ts'
import { readQuery, wholeOf } from '../object-headers.ts'
import { noBuckets, objectAnswer } from '../object-target.ts'
import { uploadAnswer } from './object-uploads.ts'

const limitMax = 1000

export function addBucketRoutes(app: FastifyInstance, context: GatewayContext): void {
  app.get('/v1/objects', () => ({ buckets: Object.values(context.plan.buckets).map(bucketAnswer) }))
  app.get('/v1/objects/:bucket', (request) => listObjects(request, context))
  app.post('/v1/objects/:bucket', (request) => rotateKeys(request, context))
}

async function listObjects(request: FastifyRequest, context: GatewayContext): Promise<unknown> {
  const { objects, bucket } = bucketOf(request, context)
  const known = ['prefix', 'after', 'limit', 'delimiter', 'uploads', 'key'] as const
  const { prefix = '', after = '', limit = '100', delimiter = '', uploads, key } = readQuery(request.query, known)
  if (uploads !== undefined) return { uploads: (await objects.uploads.list(bucket, key)).map(uploadAnswer) }
  const page = await objects.buckets.list({
    bucket,
    prefix,
    after,
    limit: wholeOf('limit', limit, 1, limitMax),
    delimiter,
  })
  return { objects: page.objects.map(objectAnswer), prefixes: page.prefixes, next: page.next ?? null }
}

async function rotateKeys(request: FastifyRequest, context: GatewayContext): Promise<unknown> {
  takeBody(request, context.budget)
  const { objects, bucket, plan } = bucketOf(request, context)
  if (readQuery(request.query, ['rotate']).rotate === undefined)
    throw new FreshetError('invalid_request', 'A POST to a bucket rotates its keys.', { hint: 'Say so by ?rotate.' })
  if (plan.encrypt === null) {
    throw new FreshetError('invalid_request', `The bucket "${bucket}" is not encrypted.`, {
      hint: 'Set `encrypt` in its configuration; objects that are put from then on are encrypted.',
    })
  }
  return context.uploads.run(request.raw, () => objects.rotate(bucket))
}

function bucketOf(
  request: FastifyRequest,
  { objects }: GatewayContext,
): { objects: Objects; bucket: string; plan: BucketPlan } {
  const { bucket } = request.params as { bucket: string }
  if (objects === undefined) throw noBuckets(bucket)
  return { objects, bucket, plan: objects.buckets.plan(bucket) }
}

function bucketAnswer({ name, stream, objectBytesMax, compress, encrypt }: BucketPlan): Record<string, unknown> {
  return { name, stream, objectBytesMax, compressed: compress !== null, encrypted: encrypt !== null }
}
