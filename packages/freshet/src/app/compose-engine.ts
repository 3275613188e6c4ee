import type { Plan } from '../config/plan.ts'
import { openEngine } from '../engine/engine.ts'
import { FileCatalog } from '../lake/file-catalog/file-catalog.ts'
import { systemClock } from '../runtime/clock.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { systemRandom } from '../runtime/random.ts'
import { ConsumerRecords } from '../streams/consumer-records.ts'
import { consumersOf } from '../streams/plan-consumers.ts'
import { openSiteReader } from '../sites/sqlite/sqlite-site-registry.ts'
import type { Service } from '../runtime/supervised.ts'
import { systemTimers } from '../runtime/timers.ts'
import { LocalObjectStore } from '../storage/local/local-object-store.ts'
import { openReadLog } from './read-log.ts'
import { socketPath } from './sockets.ts'
import { logSearch } from './log-search.ts'
import { startOrUndo, takeRole, type RoleContext } from './role.ts'
import { sitesFile } from './sites-file.ts'
import { version } from './version.ts'
import { openWorkerClient } from './worker-client.ts'

/** Starts the loader and the query service. */
export function startEngine(plan: Plan, context: RoleContext): Promise<Service> {
  return startOrUndo(async (undo) => {
    const { logger } = context
    const { folder, socket } = await takeRole('engine', plan, context, undo)
    const worker = openWorkerClient(socketPath(plan.dataDir, 'worker'))
    undo.push(() => worker.close())
    const { log, appender } = await openReadLog(plan, folder, logger, undo)
    const records = new ConsumerRecords(folder.consumersDir, nodeFileSystem)
    const held = consumersOf(plan)
    const store = new LocalObjectStore({ root: folder.lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
    const sites = openSiteReader(sitesFile(folder))
    undo.push(() => sites.close())
    const engine = await openEngine({
      plan,
      log,
      rollLog: (stream) => appender.roll(stream),
      catalog: new FileCatalog({ store, rootLocation: `file://${folder.lakeDir}`, logger }),
      store,
      existingStreams: await log.streams(),
      logDir: folder.logDir,
      lakeDir: folder.lakeDir,
      tmpDir: folder.tmpDir,
      cacheDir: folder.cacheDir,
      heldBy: (stream) => records.floor(stream, held.get(stream) ?? []),
      letterReplays: { dir: folder.letterReplaysDir, ...(held.size > 0 && { atConsumer: worker.replayAtConsumer }) },
      replays: { dir: folder.replaysDir, transforms: worker.transforms },
      erasures: { dir: folder.erasuresDir, searchLog: logSearch(folder.logDir) },
      socket,
      fileSystem: nodeFileSystem,
      sites,
      clock: systemClock,
      timers: systemTimers,
      random: systemRandom,
      logger,
      version,
    })
    undo.push(() => engine.stop())
    await engine.start()
    return { socket }
  })
}
