/** `GET /v1/receipts/{receipt}`: asked of the engine; while that is away, answered from the log as far as it goes. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Chunk } from '../../log/log.ts'
import { parseReceipt, unknownReceipt, type Receipt } from '../../log/receipt.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'

export function addReceiptRoute(app: FastifyInstance, context: GatewayContext): void {
  app.get('/v1/receipts/:receipt', (request, reply) => showReceipt(request, reply, context))
}

async function showReceipt(request: FastifyRequest, reply: FastifyReply, context: GatewayContext): Promise<unknown> {
  const receipt = parseReceipt((request.params as { receipt: string }).receipt)
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  try {
    const answer = await context.engine.forward({
      method: 'GET',
      path: `/v1/receipts/${receipt.text}`,
      headers: {},
      signal: gone.signal,
    })
    const type = answer.headers['content-type']
    if (typeof type === 'string') reply.header('content-type', type)
    return await reply.code(answer.status).send(answer.body)
  } catch (error) {
    if (!(error instanceof FreshetError) || error.code !== 'engine_unavailable') throw error
    return fromLog(receipt, context, error)
  }
}

/** @throws FreshetError `unknown_receipt`, or `unavailable` for a batch that the log has let go of */
async function fromLog(receipt: Receipt, { log }: GatewayContext, unavailable: FreshetError): Promise<unknown> {
  const { text, stream, partition, from, to, count, receivedAtMs } = receipt
  const end = (await log.ends(stream)).get(partition)
  if (end === undefined || to > end) throw unknownReceipt(text, 'the log ends before it')
  const batch = (await readAt(receipt, log, unavailable)).batches[0]
  if (batch?.count !== count || batch.receivedAtMs !== receivedAtMs) throw unknownReceipt(text, 'another one is there')
  return {
    receipt: text,
    stream,
    partition,
    from: String(from),
    to: String(to),
    count,
    receivedAt: new Date(receivedAtMs).toISOString(),
    state: 'logged',
    inLog: true,
    snapshot: null,
    files: null,
    events: null,
    engine: { available: false },
  }
}

async function readAt(
  { text, stream, partition, from }: Receipt,
  log: GatewayContext['log'],
  unavailable: FreshetError,
): Promise<Chunk> {
  try {
    return await log.read(stream, partition, from, 1)
  } catch (error) {
    if (!(error instanceof FreshetError)) throw error
    if (error.code === 'log_trimmed') throw unavailable
    // Damage is for others to report: here nothing is known but that no batch can be read there.
    throw error.code === 'corrupt_log' ? unknownReceipt(text, 'no batch begins there') : error
  }
}
