import type { Plan } from '../config/plan.ts'
import { openAppendClient, type AppendClient } from '../log/file/append-client.ts'
import { openFileLog, type FileLog } from '../log/file/file-log.ts'
import { systemClock } from '../runtime/clock.ts'
import type { DataFolder } from '../runtime/data-folder.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'
import { systemTimers } from '../runtime/timers.ts'
import type { Undo } from './role.ts'
import { socketPath } from './sockets.ts'

/** The log as processes have it that are not its writer: read from its files, and appended to through the gateway. */
export async function openReadLog(
  plan: Plan,
  folder: DataFolder,
  logger: Logger,
  undo: Undo,
): Promise<{ log: FileLog; appender: AppendClient }> {
  const appender = openAppendClient(socketPath(plan.dataDir, 'gateway'))
  undo.push(() => appender.close())
  const log = await openFileLog({
    dir: folder.logDir,
    mode: 'read',
    appender,
    segmentBytes: plan.log.segmentBytes,
    diskFreeBytesMin: plan.limits.diskFreeBytesMin,
    fileSystem: nodeFileSystem,
    clock: systemClock,
    timers: systemTimers,
    logger,
  })
  undo.push(() => log.close())
  return { log, appender }
}
