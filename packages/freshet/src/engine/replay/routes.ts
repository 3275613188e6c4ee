/** What the engine answers to requests about replays of streams. */
import { FreshetError } from '../../runtime/errors.ts'
import { booleanOf, readObject, stringOf, type RouteAnswer, type RouteRequest } from '../erasure/routes.ts'
import { isOpen } from './record.ts'
import type { StreamReplays } from './replays.ts'

/** A replay that takes longer is answered while it goes on. */
const waitMsMax = 10_000

/** The answer to a request, undefined when it is about something else. @throws FreshetError */
export async function answerReplays(
  replays: StreamReplays | undefined,
  request: RouteRequest,
): Promise<RouteAnswer | undefined> {
  const [kind, name = '', what, last] = request.path
  const isStream = kind === 'streams' && what === 'replays' && last === undefined
  if (kind !== 'replays' && !isStream) return undefined
  if (replays === undefined) throw new FreshetError('not_found', 'This engine replays no streams.')
  const settled = async (id: string): Promise<RouteAnswer> => {
    const value = await replays.wait(id, AbortSignal.timeout(waitMsMax))
    return { status: isOpen(value.state) ? 202 : 200, value }
  }
  if (request.method === 'GET' && kind === 'replays' && what === undefined) {
    return { status: 200, value: name === '' ? { replays: replays.list() } : replays.find(name) }
  }
  if (request.method !== 'POST') return undefined
  if (isStream) {
    const body = readObject(await request.body(), ['from', 'to', 'dryRun', 'keepMs', 'requestedBy'])
    const { id } = await replays.request(name, {
      from: timeOf(body, 'from'),
      to: timeOf(body, 'to'),
      dryRun: booleanOf(body, 'dryRun'),
      keepMs: keepMsOf(body),
      requestedBy: stringOf(body, 'requestedBy') ?? null,
    })
    return settled(id)
  }
  if (what !== 'apply' && what !== 'undo') return undefined
  const requestedBy = stringOf(readObject(await request.body(), ['requestedBy']), 'requestedBy') ?? null
  return settled((await replays[what](name, requestedBy)).id)
}

/** ISO 8601, a date or a time with its zone; null when it is left out. */
function timeOf(body: Record<string, unknown>, name: string): string | null {
  const text = stringOf(body, name)
  if (text === undefined) return null
  const isTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d))?$/.test(text)
  const ms = isTime ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(ms)) return new Date(ms).toISOString()
  throw new FreshetError('invalid_request', `"${name}" is ${JSON.stringify(text.slice(0, 100))}, which is no time.`, {
    hint: 'For example "2026-11-20" or "2026-11-20T09:30:00Z".',
  })
}

function keepMsOf(body: Record<string, unknown>): number | undefined {
  const keepMs = body['keepMs'] ?? undefined
  if (keepMs === undefined || (Number.isSafeInteger(keepMs) && (keepMs as number) >= 0))
    return keepMs as number | undefined
  throw new FreshetError('invalid_request', '"keepMs" must be a whole number of milliseconds.')
}
