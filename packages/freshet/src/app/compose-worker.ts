import { dirname } from 'node:path'
import type { Plan } from '../config/plan.ts'
import { systemClock } from '../runtime/clock.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { systemRandom } from '../runtime/random.ts'
import type { Service } from '../runtime/supervised.ts'
import { systemTimers } from '../runtime/timers.ts'
import { ConsumerRecords } from '../streams/consumer-records.ts'
import { serveControl } from '../streams/control.ts'
import { openBackFill } from '../streams/engine-back-fill.ts'
import { Reruns } from '../streams/replay/reruns.ts'
import { derivedStreams, Worker } from '../streams/worker.ts'
import { objectReaderFor } from './objects.ts'
import { startOrUndo, takeRole, type RoleContext } from './role.ts'
import { openReadLog } from './read-log.ts'
import { socketPath } from './sockets.ts'
import { sinkOpener } from './open-sink.ts'
import { functionsOf } from './transform-functions.ts'

/** Starts what runs transforms and sinks. @throws FreshetError `config_invalid` for a secret that is not set */
export function startWorker(plan: Plan, context: RoleContext): Promise<Service> {
  return startOrUndo(async (undo) => {
    const { logger } = context
    const { folder, socket } = await takeRole('worker', plan, context, undo)
    const { log, appender } = await openReadLog(plan, folder, logger, undo)
    const backFill = openBackFill(socketPath(plan.dataDir, 'engine'))
    undo.push(() => backFill.close())
    const objects = Object.keys(plan.buckets).length > 0 ? objectReaderFor(plan, folder) : undefined
    const code = {
      plan,
      readObject: async (bucket: string, sha256: string) => objects?.read(bucket, sha256),
      timers: systemTimers,
      tmpDir: folder.workerTmpDir,
    }
    const worker = new Worker({
      plan,
      log,
      records: new ConsumerRecords(folder.consumersDir, nodeFileSystem),
      backFill,
      appendAll: (stream, batches) => appender.appendAll(stream, batches),
      functionsOf: (stream) => functionsOf(stream, code),
      openSink: sinkOpener({
        ...code,
        baseDir: dirname(plan.configFile ?? plan.dataDir),
        sinksDir: folder.sinksDir,
        environment: process.env,
        logger,
      }),
      fileSystem: nodeFileSystem,
      clock: systemClock,
      timers: systemTimers,
      random: systemRandom,
      logger,
    })
    undo.push(() => worker.stop())
    const reruns = new Reruns({
      streams: derivedStreams(plan),
      functionsOf: (stream) => functionsOf(stream, code),
      clock: systemClock,
      timers: systemTimers,
    })
    undo.push(() => reruns.close())
    const control = await serveControl({ socket, worker, reruns, logger })
    undo.push(() => control.close())
    worker.start()
    return { socket }
  })
}
