/**
 * `POST /v1/streams/{stream}/events`. In order: the head of the request is checked (stream, type, encoding, headers) before any of
 * the body is read; the body is read, unpacked and decoded; its events become lines; the lines are appended. The answer comes
 * after the append, never before (I1).
 */
import { crc32 } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AppendBatch, Appended } from '../../log/log.ts'
import { receiptText } from '../../log/receipt.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { answerText, refuseIfWhole } from '../answer.ts'
import { readBatchHeaders, type BatchHeaders } from '../batch-headers.ts'
import { readBatch, type ReadyBatch } from '../batch.ts'
import { keepRejected } from '../keep-rejected.ts'
import type { GatewayContext } from '../context.ts'
import { bodyEncoding, bodyForm, toText, unpack, type Encoding } from '../decode.ts'
import type { BodyForm } from '../events.ts'
import { overloaded } from '../read-body.ts'
import type { StreamDoor } from '../../events/door.ts'
import { batchColumns } from '../../events/system-columns.ts'

/** What is known of a request before its body is read. */
interface Admission {
  door: StreamDoor
  form: BodyForm
  encoding: Encoding
  headers: BatchHeaders
  atomic: boolean
}

declare module 'fastify' {
  interface FastifyRequest {
    admission: Admission | null
  }
}

export function addIngestRoute(app: FastifyInstance, context: GatewayContext): void {
  app.decorateRequest('admission', null)
  app.route({
    method: 'POST',
    url: '/v1/streams/:stream/events',
    onRequest: (request, _reply, done) => {
      try {
        request.admission = admit(request, context)
        done()
      } catch (error) {
        done(error as Error)
      }
    },
    handler: (request, reply) => ingest(request, reply, context),
  })
}

function admit(request: FastifyRequest, { doors }: GatewayContext): Admission {
  const { headers } = request
  return {
    door: doors.find((request.params as { stream: string }).stream),
    form: bodyForm(headers['content-type']),
    encoding: bodyEncoding(headers['content-encoding']),
    headers: readBatchHeaders(headers),
    atomic: readAtomic(request.query as Record<string, unknown>),
  }
}

function readAtomic(query: Record<string, unknown>): boolean {
  for (const name in query) {
    if (name !== 'atomic') {
      throw new FreshetError('invalid_request', `Unknown query parameter ${JSON.stringify(name)}.`, {
        hint: 'There is one: atomic.',
      })
    }
  }
  const value = query['atomic']
  if (value === undefined || value === 'false') return false
  if (value === 'true' || value === '') return true
  throw new FreshetError('invalid_request', 'atomic must be true or false.')
}

async function ingest(request: FastifyRequest, reply: FastifyReply, context: GatewayContext): Promise<string> {
  const { budget } = context
  const admission = request.admission!
  let body = (request.body as Buffer | undefined) ?? Buffer.alloc(0)
  // Reading took the body's bytes from the budget.
  let held = body.length
  const hold = (bytes: number): void => {
    if (!budget.take(bytes)) throw overloaded()
    held += bytes
  }
  let batch: ReadyBatch | undefined
  try {
    if (admission.encoding !== 'identity') {
      body = await unpack(body, admission.encoding, context.plan.limits.bodyBytesMax)
      hold(body.length)
    }
    const { door, form, headers } = admission
    const columns = batchColumns(context.arrival, context.ids, headers.source)
    batch = readBatch({ body: toText(body), form, door, columns, limits: context.plan.limits, pool: context.pool })
    const { count, errors, rejected } = batch
    const metrics = context.metrics.stream(door.declared || context.doors.has(door.name) ? door.name : '')
    if (errors.length > 0) {
      metrics.rejected(errors)
      if (admission.atomic || rejected.length === 0) refuseIfWhole(errors, count, admission.atomic)
    }
    // Before the events: a batch that was only half taken when the server died is sent again, and its letters are recognised.
    if (rejected.length > 0) {
      hold(2 * rejected.reduce((sum, { raw }) => sum + raw.length, 0))
      await keepRejected(context, rejected, { door, columns, headers, body })
    }
    let appended: Appended | undefined
    // Without events it keeps the producer's sequence from having a hole.
    if (count > 0 || (rejected.length > 0 && headers.producer !== undefined)) {
      const lines = batch.lines.finish()
      hold(batch.lines.capacity)
      appended = await append(context, door, {
        lines,
        count,
        receivedAtMs: columns.receivedAtMs,
        // Cut off behind milliseconds, as Date.parse does.
        ...(count > 0 && { eventTimeMaxMs: Date.parse(columns.eventTimeMax) }),
        ...(headers.source !== undefined && { source: headers.source }),
        ...marks(headers, body),
      })
    }
    reply.code(202).header('content-type', 'application/json; charset=utf-8')
    const duplicate = appended?.duplicate === true
    return answerText({
      stream: door.name,
      accepted: duplicate ? 0 : count,
      duplicates: duplicate ? count : 0,
      receipt:
        appended?.place === undefined || appended.place.count === 0 ? null : receiptText(door.name, appended.place),
      errors,
      deadLettered: door.plan.invalid === undefined ? undefined : new Set(rejected.map(({ fault }) => fault)),
    })
  } finally {
    batch?.lines.release()
    budget.give(held)
  }
}

/** How the log recognises a repeat of the batch. */
function marks(
  { producer, idempotencyKey }: BatchHeaders,
  body: Buffer,
): Pick<AppendBatch, 'producer' | 'idempotency'> {
  if (producer !== undefined) return { producer }
  return idempotencyKey === undefined ? {} : { idempotency: { key: idempotencyKey, checksum: crc32(body) } }
}

/** Appends a batch to a stream's log, and counts it. */
export async function append(context: GatewayContext, door: StreamDoor, batch: AppendBatch): Promise<Appended> {
  const { metrics, logHealth } = context
  const startedMs = performance.now()
  try {
    const appended = await context.log.append(door.name, batch)
    metrics.appended((performance.now() - startedMs) / 1000)
    logHealth.succeeded()
    context.doors.keep(door)
    const counters = metrics.stream(door.name)
    if (appended.duplicate) counters.duplicate.inc(batch.count)
    else {
      counters.accepted.inc(batch.count)
      counters.bytes.inc(batch.lines.reduce((bytes, lines) => bytes + lines.byteLength, 0))
    }
    return appended
  } catch (error) {
    logHealth.failed(error)
    throw error
  }
}
