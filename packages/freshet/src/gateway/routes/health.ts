/** `/healthz`: the process answers. `/readyz`: it can take events. `/metrics`: Prometheus text. */
import type { FastifyInstance } from 'fastify'
import { messageOf } from '../../runtime/errors.ts'
import type { GatewayContext } from '../context.ts'
import { consumerMetrics } from '../consumers.ts'
import { underEngineNames } from '../metrics.ts'

const readyWaitMs = 500
const metricsWaitMs = 1000

export function addHealthRoutes(app: FastifyInstance, context: GatewayContext): void {
  app.get('/healthz', () => ({ status: 'ok' }))

  app.get('/readyz', async (_request, reply) => {
    const [disk, engine] = await Promise.all([diskFault(context), context.engine.ask('/readyz', readyWaitMs)])
    const checks = {
      log: context.logHealth.fault() ?? 'ok',
      disk: disk ?? 'ok',
      server: context.isStopping() ? 'stopping' : 'ok',
    }
    const isReady = Object.values(checks).every((state) => state === 'ok')
    if (!isReady) reply.code(503).header('retry-after', '5')
    return { ready: isReady, checks, engine: engineState(engine) }
  })

  app.get('/metrics', async (_request, reply) => {
    const [own, engine, consumers] = await Promise.all([
      context.metrics.registry.metrics(),
      context.engine.ask('/metrics', metricsWaitMs),
      context.consumers(),
    ])
    const others = [await consumerMetrics(consumers ?? []), engine === undefined ? '' : underEngineNames(engine)]
    reply.header('content-type', context.metrics.registry.contentType)
    return [own, ...others.filter((text) => text !== '')].map((text) => `${text.trimEnd()}\n`).join('')
  })
}

/** What `answer`, the engine's to `/readyz`, says of it. */
function engineState(answer: string | undefined): { available: boolean; catchingUp: boolean } {
  if (answer === undefined) return { available: false, catchingUp: false }
  return { available: true, catchingUp: (JSON.parse(answer) as { catchingUp?: boolean }).catchingUp === true }
}

async function diskFault({ fileSystem, plan }: GatewayContext): Promise<string | undefined> {
  try {
    const free = await fileSystem.freeBytes(plan.dataDir)
    const reserve = plan.limits.diskFreeBytesMin
    return free < reserve ? `${free} bytes free, ${reserve} kept in reserve` : undefined
  } catch (error) {
    return `cannot be examined (${messageOf(error)})`
  }
}
