import { streamNamePattern, type Plan } from '../config/plan.ts'
import { createGateway } from '../gateway/gateway.ts'
import { openFileLog } from '../log/file/file-log.ts'
import { systemClock } from '../runtime/clock.ts'
import { openDataFolder } from '../runtime/data-folder.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { systemRandom } from '../runtime/random.ts'
import { openSiteRegistry } from '../sites/sqlite/sqlite-site-registry.ts'
import type { Service } from '../runtime/supervised.ts'
import { systemTimers } from '../runtime/timers.ts'
import { engineSocketPath } from './engine-socket.ts'
import { lockRole, startOrUndo, type RoleContext } from './role.ts'
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
    const folder = await openDataFolder({ dataDir: plan.dataDir, version, fileSystem: nodeFileSystem })
    const lock = await lockRole('gateway', plan, context)
    undo.push(() => lock.release())
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
    const sites = openSiteRegistry(sitesFile(folder), systemClock)
    undo.push(() => sites.close())
    const gateway = createGateway({
      plan,
      log,
      rollLog: (stream) => log.roll(stream),
      clock: systemClock,
      random: systemRandom,
      logger,
      engineSocket: engineSocketPath(plan.dataDir),
      version,
      processes: context.processes,
      sites,
      existingStreams: (await nodeFileSystem.readDir(folder.logDir)).filter((name) => streamNamePattern.test(name)),
    })
    undo.push(() => gateway.stop())
    return gateway.start()
  })
}
