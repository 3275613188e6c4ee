/** `GET /v1/streams` and `GET /v1/status`. */
import type { FastifyInstance } from 'fastify'
import { messageOf } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'

const engineWaitMs = 2000

/** What the engine says of a stream. Unknown members pass through. */
interface StreamStatus {
  name: string
  [member: string]: unknown
}

/** The engine's answer to `/v1/status`. */
interface EngineAnswer {
  streams?: StreamStatus[]
  /** Passed through. */
  rollups?: unknown[]
}

export function addStatusRoutes(app: FastifyInstance, context: GatewayContext): void {
  app.get('/v1/streams', () => ({ streams: context.doors.list() }))
  app.get('/v1/status', async () => {
    const [answer, consumers] = await Promise.all([context.engine.ask('/v1/status', engineWaitMs), context.consumers()])
    const told = answer === undefined ? undefined : (JSON.parse(answer) as EngineAnswer)
    const streams = await streamStatuses(context, told?.streams ?? [])
    return {
      version: context.version,
      mode: context.plan.mode,
      startedAt: context.startedAt,
      processes: context.processes(),
      engine: {
        available: answer !== undefined,
        catchingUp: streams.some(({ behindBytes }) => typeof behindBytes === 'number' && behindBytes > 0),
      },
      sites: await siteSummary(context),
      streams,
      rollups: told?.rollups ?? null,
      consumers: consumers ?? null,
      buckets: await bucketStatuses(context),
    }
  })
}

/** How many sites are registered; null, and why, when that cannot be told. */
async function siteSummary({ sites }: GatewayContext): Promise<{ registered: number | null; problem: string | null }> {
  try {
    return { registered: (await sites.list()).length, problem: null }
  } catch (error) {
    return { registered: null, problem: messageOf(error) }
  }
}

/** What each bucket has; null, and why, when its index cannot be read. */
async function bucketStatuses({ objects, plan }: GatewayContext): Promise<Record<string, unknown>[]> {
  if (objects === undefined) return []
  const none = { objects: null, bytes: null, storedBytes: null, uploads: null }
  return Promise.all(
    Object.values(plan.buckets).map(async ({ name, stream }) => {
      try {
        return { name, stream, ...(await objects.totals(name)), problem: null }
      } catch (error) {
        return { name, stream, ...none, problem: messageOf(error) }
      }
    }),
  )
}

/** Every stream the gateway or the engine knows; what only the engine can tell is null while it is away. */
async function streamStatuses(context: GatewayContext, told: readonly StreamStatus[]): Promise<StreamStatus[]> {
  const byName = new Map(told.map((stream) => [stream.name, stream]))
  for (const { name, declared } of context.doors.list()) {
    const known = byName.get(name)
    if (known !== undefined) known['declared'] ??= declared
    else byName.set(name, { ...withoutEngine, name, declared, logEnd: await logEnd(context, name) })
  }
  return [...byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

const withoutEngine = {
  eventsPerSecond: null,
  logEnd: null,
  checkpoint: null,
  lagBytes: null,
  behindBytes: null,
  rows: null,
  hotRows: null,
  files: null,
  bytes: null,
  freshnessMs: null,
  lastCommitAt: null,
  duplicates: null,
  deadLetters: null,
  ledger: null,
  completeThrough: null,
  sites: null,
  sitesTotal: null,
}

async function logEnd(context: GatewayContext, stream: string): Promise<string> {
  const ends = await context.log.ends(stream)
  let total = 0n
  for (const end of ends.values()) total += end
  return String(total)
}
