/** The streams that a run sends to. */
import { FreshetError } from '../../runtime/errors.ts'
import { usageError } from '../exit-codes.ts'
import type { Door } from './door.ts'
import { generatedSchema } from './generator.ts'
import type { Site } from './sites.ts'

export interface ProveStream {
  name: string
  /** Whether events are told apart by their own id; if not, the gateway gives each one. */
  hasIds: boolean
}

/** What a schema has to say at least, of events that are made of rows of files. */
const inputSchema = {
  type: 'object',
  properties: {
    prove_id: { type: 'string' },
    prove_at: { type: 'string', format: 'date-time' },
    prove_site: { type: 'string' },
    prove_n: { type: 'integer' },
    prove_file: { type: 'string' },
    prove_line: { type: 'integer' },
  },
  required: ['prove_id', 'prove_at', 'prove_site', 'prove_n', 'prove_file', 'prove_line'],
}

/** The streams of a server that the run starts for itself: one with ids and event times of its own, one without ids. */
export function ownStreams(stream: string): ProveStream[] {
  return [
    { name: stream, hasIds: true },
    { name: `${stream}_plain`, hasIds: false },
  ]
}

/** The stream that a site reports to. */
export function streamOf(site: Site, streams: readonly ProveStream[]): string {
  return streams.find(({ hasIds }) => hasIds === site.hasIds)!.name
}

/** The `streams` of its configuration. */
export function streamsConfig(streams: readonly ProveStream[], hasInput: boolean): Record<string, unknown> {
  const schema = hasInput ? inputSchema : generatedSchema
  return Object.fromEntries(
    streams.map(({ name, hasIds }) => [
      name,
      hasIds ? { schema, id: 'prove_id', time: 'prove_at', partition: 'day' } : { schema, partition: 'hour' },
    ]),
  )
}

/** Columns that a stream of somebody else's server has to declare, since they are asked for before the first event is loaded. */
const declaration =
  "{ id: 'prove_id', time: 'prove_at', schema: { type: 'object', properties: { prove_id: { type: 'string' }, " +
  "prove_at: { type: 'string', format: 'date-time' }, prove_site: { type: 'string' }, prove_n: { type: 'integer' } }, " +
  "required: ['prove_id', 'prove_at', 'prove_site', 'prove_n'] } }"

/** @throws FreshetError `invalid_usage` when the server has no stream that the run can use, with what to declare */
export async function checkStream(door: Door, stream: string): Promise<void> {
  const problem = await problemOf(door, stream)
  if (problem === undefined) return
  throw usageError(
    `The stream "${stream}" ${problem} on ${door.url}.`,
    `Declare it for the run: streams: { ${stream}: ${declaration} }`,
  )
}

async function problemOf(door: Door, stream: string): Promise<string | undefined> {
  const [found] = await door.rows('select id_field, time_field from freshet.streams where name = $name', {
    name: stream,
  })
  if (found === undefined) return 'is not declared'
  if (found['id_field'] !== 'prove_id' || found['time_field'] !== 'prove_at') return 'has another id or time'
  try {
    await door.rows(`select prove_site, prove_n from ${stream} limit 0`)
    return undefined
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'invalid_sql') return 'has no columns prove_site and prove_n'
    throw error
  }
}
