import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeFileSystem, type FileSystem } from '../../src/runtime/file-system.ts'
import { makeDisk, openLog } from '../simulation/log-fixture.ts'
import { logSuite, type LogUnderTest } from './log-suite.ts'

/** Small, so that the suite crosses many segments. */
const segmentBytes = 700

async function fileLog(dir: string, files: () => FileSystem, dispose: () => Promise<void>): Promise<LogUnderTest> {
  const start = async (): Promise<Pick<LogUnderTest, 'log' | 'reader'>> => {
    const log = await openLog(files(), { dir, segmentBytes })
    const reader = await openLog(files(), { dir, segmentBytes, mode: 'read' })
    stop = async () => {
      await log.close()
      await reader.close()
    }
    return { log, reader }
  }
  let stop = async (): Promise<void> => undefined
  return {
    ...(await start()),
    restart: async () => {
      await stop()
      return start()
    },
    dispose: async () => {
      await stop()
      await dispose()
    },
  }
}

logSuite('file, on disk', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'freshet-log-'))
  return fileLog(
    join(folder, 'log'),
    () => nodeFileSystem,
    () => rm(folder, { recursive: true }),
  )
})

logSuite('file, on a simulated disk', async () => {
  const disk = await makeDisk(1)
  return fileLog(
    '/data/log',
    () => disk.process(),
    async () => undefined,
  )
})
