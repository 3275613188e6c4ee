import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { SinkPlan } from '../config/plan.ts'
import { systemClock } from '../runtime/clock.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import { systemRandom } from '../runtime/random.ts'
import { sinkKinds, type KnownKind } from '../sinks/kinds.ts'
import type { Sink, SinkKind } from '../sinks/sink.ts'
import type { WorkerDeps } from '../streams/worker.ts'
import { SinkFunctions } from '../streams/transforms/thread-functions.ts'
import { withEnvironment } from './settings-of.ts'
import { configFileOf, type CodeContext } from './transform-functions.ts'

export interface SinkContext extends CodeContext {
  baseDir: string
  /** Folder of folders of sinks. */
  sinksDir: string
  environment: Readonly<Record<string, string | undefined>>
  logger: Logger
}

const callMsMax = 10_000
const memoryBytes = 256 * 2 ** 20

/**
 * What opens the sinks of a plan. Their secrets are looked up at once.
 * @throws FreshetError `config_invalid` for one that is not set
 */
export function sinkOpener(context: SinkContext): WorkerDeps['openSink'] {
  const { plan, environment } = context
  const resolved = new Map(
    Object.values(plan.sinks).map((sink) => [sink.name, withEnvironment(sink, `sinks.${sink.name}`, environment)]),
  )
  return (sink) => {
    const own = resolved.get(sink.name)!
    const { batchBytesMax } = kindOf(sink)
    return { version: versionOf(sink), open: () => openSink(own, context), batchBytesMax }
  }
}

async function openSink(sink: SinkPlan, context: SinkContext): Promise<Sink> {
  const { plan, baseDir, sinksDir, logger, readObject, timers } = context
  const kind: SinkKind = await kindOf(sink).load()
  const functions =
    sink.functions.length === 0
      ? undefined
      : new SinkFunctions({
          data: { configFile: configFileOf(plan), stream: undefined, sink: sink.name, limits: plan.limits },
          timeoutMs: callMsMax,
          memoryBytes,
          readObject,
          timers,
        })
  try {
    const opened = await kind.open({
      plan: sink,
      columns: plan.streams[sink.from]?.columns ?? null,
      baseDir,
      ownFolder: join(sinksDir, sink.name),
      call: async (name, args) => functions?.call(name, args),
      parquet: async (...file) => (await import('../engine/write-parquet.ts')).writeParquet(...file),
      openBucket: async (settings) => {
        // The SDK is large: only who needs it has it in memory.
        const { S3ObjectStore } = await import('../storage/s3/s3-object-store.ts')
        return new S3ObjectStore({ ...settings, timers, random: systemRandom })
      },
      fileSystem: nodeFileSystem,
      clock: systemClock,
      timers,
      random: systemRandom,
      logger,
    })
    return functions === undefined ? opened : closingBoth(opened, functions)
  } catch (error) {
    await functions?.close()
    throw error
  }
}

function closingBoth(sink: Sink, functions: SinkFunctions): Sink {
  return {
    checkpoint: () => sink.checkpoint(),
    deliver: (batch, upTo) => sink.deliver(batch, upTo),
    close: async () => {
      await sink.close()
      await functions.close()
    },
  }
}

function kindOf({ kind }: SinkPlan): KnownKind {
  return sinkKinds[kind as keyof typeof sinkKinds]
}

/** Other settings may make other files or requests of the same events. */
function versionOf({ kind, options, functions }: SinkPlan): string {
  return createHash('sha256')
    .update(JSON.stringify([kind, options, functions]))
    .digest('hex')
    .slice(0, 12)
}
