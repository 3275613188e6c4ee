import type { Plan } from '../config/plan.ts'
import { openEngine } from '../engine/engine.ts'
import { FileCatalog } from '../lake/file-catalog/file-catalog.ts'
import { openFileLog } from '../log/file/file-log.ts'
import { systemClock } from '../runtime/clock.ts'
import { openDataFolder } from '../runtime/data-folder.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { systemRandom } from '../runtime/random.ts'
import { openSiteReader } from '../sites/sqlite/sqlite-site-registry.ts'
import type { Service } from '../runtime/supervised.ts'
import { systemTimers } from '../runtime/timers.ts'
import { LocalObjectStore } from '../storage/local/local-object-store.ts'
import { engineSocketPath, prepareSocketFolder } from './engine-socket.ts'
import { logSearch } from './log-search.ts'
import { lockRole, startOrUndo, type RoleContext } from './role.ts'
import { sitesFile } from './sites-file.ts'
import { version } from './version.ts'

/** Starts the loader and the query service. */
export function startEngine(plan: Plan, context: RoleContext): Promise<Service> {
  return startOrUndo(async (undo) => {
    const { logger } = context
    const folder = await openDataFolder({ dataDir: plan.dataDir, version, fileSystem: nodeFileSystem })
    const lock = await lockRole('engine', plan, context)
    undo.push(() => lock.release())
    const socket = engineSocketPath(plan.dataDir)
    await prepareSocketFolder(socket)
    // With the lock held nobody listens there: what is left is of an engine that was killed.
    if (process.platform !== 'win32') await nodeFileSystem.remove(socket)
    const log = await openFileLog({
      dir: folder.logDir,
      mode: 'read',
      segmentBytes: plan.log.segmentBytes,
      diskFreeBytesMin: plan.limits.diskFreeBytesMin,
      fileSystem: nodeFileSystem,
      clock: systemClock,
      timers: systemTimers,
      logger,
    })
    undo.push(() => log.close())
    const store = new LocalObjectStore({ root: folder.lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
    const sites = openSiteReader(sitesFile(folder))
    undo.push(() => sites.close())
    const engine = await openEngine({
      plan,
      log,
      catalog: new FileCatalog({ store, rootLocation: `file://${folder.lakeDir}`, logger }),
      store,
      existingStreams: await log.streams(),
      logDir: folder.logDir,
      lakeDir: folder.lakeDir,
      tmpDir: folder.tmpDir,
      cacheDir: folder.cacheDir,
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
