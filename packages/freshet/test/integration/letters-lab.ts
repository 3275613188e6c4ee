/** What tests of dead letters share: a stream whose column is too narrow for some events, the same once it is wide enough, and requests. */
import { expect } from 'vitest'
import { verifyDataFolder } from '../../src/app/verify/verify.ts'
import { Lab, streamPlan, type Answer, type LabEngine, type LabEvent } from './engine-harness.ts'

const schema = {
  type: 'object',
  properties: { id: { type: 'string' }, at: { type: 'string' }, size: { type: 'integer' } },
  required: ['id', 'at'],
}
const columns = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'at', type: { kind: 'timestamptz' } },
  { name: 'size', type: { kind: 'int' } },
] as const
export const orders = streamPlan('orders', { schema, columns: [...columns], open: false })
/** The same, once its column is wide enough. */
export const wider = streamPlan('orders', {
  schema,
  columns: [columns[0], columns[1], { name: 'size', type: { kind: 'long' } }],
  open: false,
})
/** Without ids and times of its own. */
export const nameless = streamPlan('orders', {
  schema: { type: 'object', properties: { size: { type: 'integer' } } },
  columns: [columns[2]],
  open: false,
  id: null,
  time: null,
})
export const widerNameless = { ...nameless, columns: [{ name: 'size', type: { kind: 'long' as const } }] }

export const at = '2013-10-07T00:00:00.000Z'
export const order = (id: string, size: number, source?: string): LabEvent => ({
  id,
  time: at,
  fields: { ...(source && { _source: source }), id, at, size },
})
/** Too large for the column as it is. */
export const large = 3_000_000_000

export function ask(engine: LabEngine, method: string, path: string, body?: object): Promise<Answer> {
  return engine.send(method, path, {}, body && JSON.stringify(body))
}

/** The answer to a request about the letters of `orders` that is not refused. */
export async function asked(engine: LabEngine, what: string, body: object): Promise<Record<string, unknown>> {
  const { status, text } = await ask(engine, 'POST', `/v1/streams/orders/dead-letters/${what}`, body)
  expect([200, 202], text).toContain(status)
  return JSON.parse(text) as Record<string, unknown>
}

export async function expectVerified(lab: Lab): Promise<void> {
  const { problems } = await verifyDataFolder({
    plan: lab.plan(),
    streams: [],
    deep: true,
    onProgress: () => undefined,
  })
  expect(problems).toEqual([])
}
