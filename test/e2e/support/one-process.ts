/** A whole server in the test's own process, so that its clock can be moved. */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { checkConfig } from '../../../packages/freshet/src/config/check.ts'
import { openEngine } from '../../../packages/freshet/src/engine/engine.ts'
import { createGateway } from '../../../packages/freshet/src/gateway/gateway.ts'
import { FileCatalog } from '../../../packages/freshet/src/lake/file-catalog/file-catalog.ts'
import { openFileLog } from '../../../packages/freshet/src/log/file/file-log.ts'
import type { Clock } from '../../../packages/freshet/src/runtime/clock.ts'
import { openDataFolder } from '../../../packages/freshet/src/runtime/data-folder.ts'
import { nodeFileSystem as fileSystem } from '../../../packages/freshet/src/runtime/file-system.ts'
import { silentLogger as logger } from '../../../packages/freshet/src/runtime/logging.ts'
import { systemRandom as random } from '../../../packages/freshet/src/runtime/random.ts'
import { systemTimers as timers } from '../../../packages/freshet/src/runtime/timers.ts'
import { openSiteRegistry } from '../../../packages/freshet/src/sites/sqlite/sqlite-site-registry.ts'
import { LocalObjectStore } from '../../../packages/freshet/src/storage/local/local-object-store.ts'

/** The system's time, and however far it was moved. */
export class MovableClock implements Clock {
  #movedMs = 0

  nowMs(): number {
    return Date.now() + this.#movedMs
  }

  move(ms: number): void {
    this.#movedMs += ms
  }
}

export interface OneProcess {
  url: string
  stop(): Promise<void>
}

/** @param words the configuration, plain JSON */
export async function serveHere(dataDir: string, words: Record<string, unknown>, clock: Clock): Promise<OneProcess> {
  const plan = checkConfig(words, { baseDir: dataDir, cwd: dataDir, mode: 'dev', overrides: { dataDir, port: 0 } })
  const version = '0.0.0'
  const { logDir, lakeDir, sitesDir, tmpDir, cacheDir, runDir } = await openDataFolder({ dataDir, version, fileSystem })
  const socket = join(runDir, 'engine.sock')
  const logOptions = {
    dir: logDir,
    segmentBytes: plan.log.segmentBytes,
    diskFreeBytesMin: 0,
    fileSystem,
    clock,
    timers,
    logger,
  }
  const written = await openFileLog({ ...logOptions, mode: 'write' })
  const read = await openFileLog({ ...logOptions, mode: 'read', appender: written })
  const store = new LocalObjectStore({ root: lakeDir, fileSystem, random })
  const catalog = new FileCatalog({ store, rootLocation: pathToFileURL(lakeDir).href, logger })
  const sites = openSiteRegistry(join(sitesDir, 'registry.db'), clock)
  const common = { plan, sites, clock, timers, random, logger, version }
  const folders = { logDir, lakeDir, tmpDir, cacheDir, socket }
  const engine = await openEngine({
    ...common,
    ...folders,
    log: read,
    rollLog: (stream) => written.roll(stream),
    catalog,
    store,
    fileSystem,
  })
  await engine.start()
  const gateway = createGateway({ ...common, log: written, engineSocket: socket, processes: () => [] })
  const { url } = await gateway.start()
  return {
    url,
    stop: async () => {
      await gateway.stop()
      sites.close()
      await written.close()
      await engine.stop()
      await read.close()
    },
  }
}
