/** What the engine answers to requests about erasures, tags and rollbacks. */
import { nearest } from '../../config/spelling.ts'
import { FreshetError } from '../../runtime/errors.ts'
import type { TableRefs } from '../table-refs.ts'
import type { Erasures } from './erasures.ts'

export interface RouteRequest {
  method: string
  /** Parts of the path, decoded, without the first `v1`. */
  path: readonly string[]
  body: () => Promise<Buffer>
}

export interface RouteAnswer {
  status: number
  /** null for an answer without a body; bytes are lines of JSON. */
  value: unknown
}

/** The answer to a request, undefined when it is about something else. @throws FreshetError */
export async function answerChange(
  { erasures, refs }: { erasures: Erasures | undefined; refs: TableRefs },
  request: RouteRequest,
): Promise<RouteAnswer | undefined> {
  const [kind, name = '', what, last] = request.path
  if (kind === 'tables') return answerTable(refs, request, name, what, last)
  const isErasure = kind === 'erasures' || (kind === 'streams' && what === 'erasures')
  if (!isErasure) return undefined
  if (erasures === undefined) throw new FreshetError('not_found', 'This engine keeps no erasures.')
  if (request.method === 'GET' && kind === 'erasures') {
    return { status: 200, value: name === '' ? { erasures: erasures.list() } : erasures.find(name) }
  }
  if (request.method !== 'POST' || kind !== 'streams') return undefined
  const body = readObject(await request.body(), ['where', 'all', 'dryRun', 'untilMs', 'position', 'requestedBy'])
  const where = stringOf(body, 'where')
  if (where === undefined)
    throw new FreshetError('invalid_request', 'The body has no "where".', { hint: erasureExample })
  const all = booleanOf(body, 'all')
  if (last === 'admit') {
    await erasures.admit(name, { where, all })
    return { status: 204, value: null }
  }
  const untilMs = Number(body['untilMs'])
  if (booleanOf(body, 'dryRun')) return { status: 200, value: await erasures.count(name, where, untilMs) }
  const position = BigInt(stringOf(body, 'position') ?? '0')
  const requestedBy = stringOf(body, 'requestedBy') ?? null
  return { status: 202, value: await erasures.request(name, { where, all, untilMs, position, requestedBy }) }
}

const erasureExample = `Send {"where": "customer_id = 'c-17'"}.`

async function answerTable(
  refs: TableRefs,
  request: RouteRequest,
  table: string,
  what: string | undefined,
  last: string | undefined,
): Promise<RouteAnswer | undefined> {
  const { method } = request
  if (what === 'tags' && last === undefined && method === 'GET') {
    return { status: 200, value: { tags: refs.tags(table) } }
  }
  if (what === 'tags' && last === undefined && method === 'POST') {
    const body = readObject(await request.body(), ['name', 'snapshot', 'maxAgeMs'])
    const name = stringOf(body, 'name')
    if (name === undefined) {
      throw new FreshetError('invalid_request', 'The body has no "name".', { hint: 'Send {"name": "before-import"}.' })
    }
    const maxAgeMs = body['maxAgeMs']
    if (maxAgeMs !== undefined && !(Number.isSafeInteger(maxAgeMs) && (maxAgeMs as number) > 0)) {
      throw new FreshetError('invalid_request', '"maxAgeMs" must be a whole number of milliseconds above 0.')
    }
    const tag = await refs.create(table, name, snapshotOf(body, 'snapshot'), maxAgeMs as number | undefined)
    return { status: 201, value: tag }
  }
  if (what === 'tags' && last !== undefined && method === 'DELETE') {
    await refs.drop(table, last)
    return { status: 204, value: null }
  }
  if (what === 'rollback' && last === undefined && method === 'POST') {
    const body = readObject(await request.body(), ['to', 'dryRun'])
    const to = snapshotOf(body, 'to')
    if (to === undefined) {
      throw new FreshetError('invalid_request', 'The body has no "to".', {
        hint: 'Send {"to": "<snapshot id or tag>"}; ids as text, since they can exceed 2^53.',
      })
    }
    return { status: 200, value: await refs.rollback(table, to, booleanOf(body, 'dryRun')) }
  }
  return undefined
}

/** @throws FreshetError `invalid_json`, `invalid_request` */
export function readObject(bytes: Buffer, known: readonly string[]): Record<string, unknown> {
  let parsed: unknown
  try {
    parsed = JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw new FreshetError('invalid_json', `The body is not JSON: ${(error as Error).message}`)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new FreshetError('invalid_request', 'The body must be one JSON object.')
  for (const name of Object.keys(parsed)) {
    if (known.includes(name)) continue
    const near = nearest(name.slice(0, 100), known)
    throw new FreshetError('invalid_request', `Unknown member ${JSON.stringify(name.slice(0, 100))}.`, {
      hint: near === undefined ? `It may have: ${known.join(', ')}.` : `Did you mean "${near}"?`,
    })
  }
  return parsed as Record<string, unknown>
}

export function stringOf(body: Record<string, unknown>, name: string): string | undefined {
  const value = body[name]
  if (value === undefined || value === null || typeof value === 'string') return value ?? undefined
  throw new FreshetError('invalid_request', `"${name}" must be a text.`)
}

/** An id of a snapshot as text, or as a number where that is exact. */
function snapshotOf(body: Record<string, unknown>, name: string): string | undefined {
  const value = body[name]
  return Number.isSafeInteger(value) ? String(value) : stringOf(body, name)
}

export function booleanOf(body: Record<string, unknown>, name: string): boolean {
  const value = body[name] ?? false
  if (typeof value === 'boolean') return value
  throw new FreshetError('invalid_request', `"${name}" must be true or false.`)
}
