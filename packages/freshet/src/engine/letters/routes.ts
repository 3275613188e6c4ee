/** What the engine answers to requests about dead letters. */
import { FreshetError } from '../../runtime/errors.ts'
import { booleanOf, readObject, stringOf, type RouteAnswer, type RouteRequest } from '../erasure/routes.ts'
import type { DeadLetters } from './dead-letters.ts'

const limitMax = 1000
const limitDefault = 50
/** A replay that takes longer is answered while it goes on. */
const waitMsMax = 15_000

/** The answer to a request, undefined when it is about something else. @throws FreshetError */
export async function answerLetters(
  letters: DeadLetters | undefined,
  request: RouteRequest,
  signal: AbortSignal = new AbortController().signal,
): Promise<RouteAnswer | undefined> {
  const [kind, name = '', what, last] = request.path
  const isOverview = kind === 'dead-letters'
  if (!isOverview && !(kind === 'streams' && what === 'dead-letters')) return undefined
  if (letters === undefined) throw new FreshetError('not_found', 'This engine keeps no dead letters.')
  if (isOverview) {
    if (request.method !== 'GET') return undefined
    if (name === '') return { status: 200, value: await letters.overview(signal) }
    return name === 'replays' && what !== undefined ? { status: 200, value: letters.find(what) } : undefined
  }
  if (request.method === 'GET' && last !== undefined) {
    return { status: 200, value: await letters.show(name, last, signal) }
  }
  if (request.method !== 'POST') return undefined
  if (last === 'list') {
    const body = readObject(await request.body(), ['where', 'limit'])
    return { status: 200, value: await letters.list(name, { where: stringOf(body, 'where') }, limitOf(body), signal) }
  }
  if (last !== 'replay' && last !== 'drop') return undefined
  const body = readObject(await request.body(), ['where', 'all', 'dryRun', 'requestedBy'])
  const where = stringOf(body, 'where')
  const dryRun = booleanOf(body, 'dryRun')
  if (where === undefined && !booleanOf(body, 'all')) {
    throw new FreshetError('invalid_request', 'The body has no "where".', {
      hint: `Send {"where": "code = 'schema_violation'"}, or {"all": true} for all letters of the stream.`,
    })
  }
  const asked = { where, requestedBy: stringOf(body, 'requestedBy') ?? null }
  if (last === 'drop') return { status: 200, value: await letters.drop(name, { ...asked, dryRun }, signal) }
  if (dryRun) return { status: 200, value: await letters.foresee(name, { where }, signal) }
  const { id } = await letters.request(name, asked, signal)
  const answer = await letters.wait(id, AbortSignal.any([signal, AbortSignal.timeout(waitMsMax)]))
  return { status: answer.state === 'done' ? 200 : 202, value: answer }
}

function limitOf(body: Record<string, unknown>): number {
  const limit = body['limit'] ?? limitDefault
  if (Number.isSafeInteger(limit) && (limit as number) >= 1 && (limit as number) <= limitMax) return limit as number
  throw new FreshetError('invalid_request', `"limit" must be a whole number from 1 to ${limitMax}.`)
}
