/** What the engine answers to consumers that back-fill. Not forwarded by the gateway. */
import { FreshetError } from '../../runtime/errors.ts'
import { readObject, stringOf, type RouteAnswer, type RouteRequest } from '../erasure/routes.ts'
import type { BackFills } from './back-fill.ts'
import type { PageBatch, RowPlace } from './page.ts'

/** The first line of a page; the rows follow as lines of the log. */
export interface PageHead {
  count: number
  batches: PageBatch[]
  last?: RowPlace
}

/** The answer to a request, undefined when it is about something else. @throws FreshetError */
export async function answerBackFill(
  backFills: BackFills,
  { method, path, body }: RouteRequest,
): Promise<RouteAnswer | undefined> {
  const [kind, action] = path
  if (kind !== 'back-fill' || method !== 'POST') return undefined
  const asked = readObject(await body(), ['stream', 'consumer', 'snapshot', 'after', 'bytesMax'])
  const text = (name: string): string => {
    const value = stringOf(asked, name)
    if (value === undefined) throw new FreshetError('invalid_request', `The body has no "${name}".`)
    return value
  }
  switch (action) {
    case 'begin': {
      const begun = await backFills.begin(text('stream'), text('consumer'))
      return { status: 200, value: begun ? { ...begun, position: String(begun.position) } : { snapshot: null } }
    }
    case 'read': {
      const after = asked['after'] as RowPlace | undefined
      const request = { snapshot: text('snapshot'), after, bytesMax: Number(asked['bytesMax']) }
      const { lines, batches, last } = await backFills.read(text('stream'), request)
      const head: PageHead = { count: lines.length, batches, ...(last && { last }) }
      return { status: 200, value: Buffer.from([JSON.stringify(head), ...lines, ''].join('\n')) }
    }
    case 'end':
      await backFills.end(text('stream'), text('consumer'))
      return { status: 204, value: null }
    default:
      return undefined
  }
}
