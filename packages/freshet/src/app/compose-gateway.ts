import { streamNamePattern, type Plan } from '../config/plan.ts'
import { letterBytesMax, letteredStream } from '../events/dead-letter.ts'
import { createGateway } from '../gateway/gateway.ts'
import { openAppendDoor } from '../log/file/append-door.ts'
import { openFileLog } from '../log/file/file-log.ts'
import { systemClock } from '../runtime/clock.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { systemRandom } from '../runtime/random.ts'
import { openSiteRegistry } from '../sites/sqlite/sqlite-site-registry.ts'
import type { Service } from '../runtime/supervised.ts'
import { systemTimers } from '../runtime/timers.ts'
import { socketPath } from './sockets.ts'
import { objectsFor } from './objects.ts'
import { startOrUndo, takeRole, type RoleContext } from './role.ts'
import { sitesFile } from './sites-file.ts'
import { version } from './version.ts'

/** What a gateway says when it is ready. */
export interface GatewayInfo {
  url: string
}

/** Starts the HTTP front door and the log it writes. */
export function startGateway(plan: Plan, context: RoleContext): Promise<Service & { info: GatewayInfo }> {
  return startOrUndo(async (undo) => {
    const { logger } = context
    const { folder, socket } = await takeRole('gateway', plan, context, undo)
    const log = await openFileLog({
      dir: folder.logDir,
      mode: 'write',
      segmentBytes: plan.log.segmentBytes,
      diskFreeBytesMin: plan.limits.diskFreeBytesMin,
      fileSystem: nodeFileSystem,
      clock: systemClock,
      timers: systemTimers,
      logger,
    })
    undo.push(() => log.close())
    const door = await openAppendDoor({ socket, log, bodyBytesMax: doorBytesMax(plan), logger })
    undo.push(() => door.close())
    const sites = openSiteRegistry(sitesFile(folder), systemClock)
    undo.push(() => sites.close())
    const hasBuckets = Object.keys(plan.buckets).length > 0
    const objects = hasBuckets ? await objectsFor(plan, folder, logger) : undefined
    undo.push(() => objects?.stop())
    const gateway = createGateway({
      plan,
      log,
      rollLog: (stream) => log.roll(stream),
      clock: systemClock,
      random: systemRandom,
      logger,
      engineSocket: socketPath(plan.dataDir, 'engine'),
      workerSocket: socketPath(plan.dataDir, 'worker'),
      version,
      processes: context.processes,
      sites,
      ...(objects && { objects }),
      existingStreams: (await nodeFileSystem.readDir(folder.logDir)).filter(
        (name) => streamNamePattern.test(name) && letteredStream(name) === undefined,
      ),
    })
    undo.push(() => gateway.stop())
    return gateway.start()
  })
}

/** Whoever appends cuts its batches at some megabytes; a single dead letter may be longer. */
function doorBytesMax(plan: Plan): number {
  return Math.max(64 * 2 ** 20, letterBytesMax(plan.limits.eventBytesMax))
}
