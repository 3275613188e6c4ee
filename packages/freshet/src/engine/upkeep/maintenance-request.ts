/** What the body of `POST /v1/maintenance` may ask for. */
import { nearest } from '../../config/spelling.ts'
import { FreshetError } from '../../runtime/errors.ts'
import { upkeepJobs, type UpkeepJob } from './maintenance-row.ts'
import type { MaintenanceRequest } from './upkeep.ts'

/** @throws FreshetError `invalid_json`, `invalid_request` */
export function maintenanceRequest(body: Buffer): MaintenanceRequest {
  const { table, job, dryRun = false } = objectOf(body)
  if (table !== undefined && typeof table !== 'string')
    throw new FreshetError('invalid_request', '"table" must be the name of a table.')
  if (typeof dryRun !== 'boolean') throw new FreshetError('invalid_request', '"dryRun" must be true or false.')
  return { dryRun, ...(table !== undefined && { table }), ...(job !== undefined && { job: jobOf(job) }) }
}

function jobOf(job: unknown): UpkeepJob {
  const found = upkeepJobs.find((name) => name === job)
  if (found !== undefined) return found
  const near = typeof job === 'string' ? nearest(job, upkeepJobs) : undefined
  throw new FreshetError(
    'invalid_request',
    `There is no job ${JSON.stringify(job)}: there are ${upkeepJobs.join(', ')}.`,
    {
      ...(near !== undefined && { hint: `Did you mean "${near}"?` }),
    },
  )
}

function objectOf(body: Buffer): Record<string, unknown> {
  let parsed: unknown
  try {
    parsed = JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw new FreshetError('invalid_json', `The body is not JSON: ${(error as Error).message}`)
  }
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>
  throw new FreshetError('invalid_request', 'The body must be one JSON object.', {
    hint: 'It may have: table, job, dryRun.',
  })
}
