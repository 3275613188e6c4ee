import { join } from 'node:path'
import type { Plan } from '../config/plan.ts'
import type { BatchSql } from '../engine/batch-sql.ts'
import { openDoor } from '../events/door.ts'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import type { Timers } from '../runtime/timers.ts'
import type { Functions } from '../streams/transforms/functions.ts'
import { OutputLines } from '../streams/transforms/output-lines.ts'
import { SqlFunctions } from '../streams/transforms/sql-functions.ts'
import { ThreadFunctions } from '../streams/transforms/thread-functions.ts'
import type { DerivedStream } from '../streams/worker.ts'

/** What functions of the configuration are run with. */
export interface CodeContext {
  plan: Plan
  readObject: (bucket: string, sha256: string) => Promise<Uint8Array | undefined>
  timers: Timers
  /** Scratch folder. */
  tmpDir: string
}

/** What runs the transform of a stream. */
export function functionsOf(stream: DerivedStream, code: CodeContext): Functions {
  const { plan, readObject, timers } = code
  const { kind, timeoutMs, memoryBytes } = stream.transform
  if (kind === 'sql') return sqlFunctions(stream, code)
  const data = { configFile: configFileOf(plan), stream, sink: undefined, limits: plan.limits }
  return new ThreadFunctions({ data, timeoutMs, memoryBytes, readObject, timers })
}

/** The database of a statement is opened when it is first needed. */
function sqlFunctions(stream: DerivedStream, { plan, tmpDir }: CodeContext): Functions {
  const { from, sql, memoryBytes, timeoutMs } = stream.transform
  const columns = plan.streams[from]?.columns ?? null
  let opening: Promise<BatchSql> | undefined
  const open = async (): Promise<BatchSql> => {
    const { openBatchSql } = await import('../engine/batch-sql.ts')
    const own = join(tmpDir, stream.name)
    await nodeFileSystem.makeDir(own)
    const database = await openBatchSql({ memoryBytes, tmpDir: own, threads: 1 })
    await database.check(sql!).catch((error: unknown) => {
      database.close()
      throw new FreshetError('config_invalid', `streams.${stream.name}.sql: ${messageOf(error)}`, {
        hint: 'It is one SELECT over the table `batch`, the events of the source.',
        cause: error,
      })
    })
    return database
  }
  return new SqlFunctions({
    run: async (lines) => {
      opening ??= open()
      // One that could not be opened is opened anew at the next try.
      const database = await opening.catch((error: unknown) => {
        opening = undefined
        throw error
      })
      return database.run({ sql: sql!, lines, columns, timeoutMs })
    },
    lines: new OutputLines(openDoor(stream, plan.limits.nestingMax, true), plan.limits),
    close: async () => (await opening)?.close(),
  })
}

/** @throws Error for a plan that was made without a file: functions are in files */
export function configFileOf({ configFile }: Plan): string {
  if (configFile === null) throw new Error('The plan has functions, and no file that has them')
  return configFile
}
