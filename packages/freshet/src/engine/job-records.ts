/**
 * What is known of jobs that outlive the process, erasures and replays: one small JSON file each, `<id>.json`, in a folder of their kind's own. It is
 * there, durable, before the job changes anything, and is all that a resumed one goes by.
 *
 * A file is written under a temporary name, synced and renamed: a crash leaves the former state or the next one, and perhaps a temporary file,
 * which the next start removes.
 */
import { join } from 'node:path'
import { messageOf } from '../runtime/errors.ts'
import type { FileSystem } from '../runtime/file-system.ts'
import type { Logger } from '../runtime/logging.ts'

export interface JobRecord {
  format: 1
  id: string
  requestedAt: string
}

/** Where records are. */
export interface JobPlace {
  fileSystem: FileSystem
  dir: string
  logger: Logger
}

interface JobRecordsOptions<Job> extends JobPlace {
  /** Whether nothing is left to do. */
  isOver: (job: Job) => boolean
  /** Jobs that are over and are kept; older ones are forgotten. */
  overMax: number
}

const suffix = '.json'
const temporarySuffix = '.tmp'

export class JobRecords<Job extends JobRecord> {
  readonly #options: JobRecordsOptions<Job>
  readonly #jobs = new Map<string, Job>()

  /** Reads what there is. A file that cannot be read is reported, and left. */
  static async open<Job extends JobRecord>(options: JobRecordsOptions<Job>): Promise<JobRecords<Job>> {
    const records = new JobRecords(options)
    await records.#read()
    return records
  }

  private constructor(options: JobRecordsOptions<Job>) {
    this.#options = options
  }

  /** All of them, the oldest request first. */
  list(): Job[] {
    return [...this.#jobs.values()].toSorted(
      (a, b) => Date.parse(a.requestedAt) - Date.parse(b.requestedAt) || (a.id < b.id ? -1 : 1),
    )
  }

  get(id: string): Job | undefined {
    return this.#jobs.get(id)
  }

  /** The oldest of those that are not over. */
  next(): Job | undefined {
    return this.list().find((job) => !this.#options.isOver(job))
  }

  /** Makes a state durable. Never two calls for one record at once. */
  async save(job: Job): Promise<void> {
    const { fileSystem, dir } = this.#options
    const path = join(dir, job.id + suffix)
    const temporary = path + temporarySuffix
    const file = await fileSystem.open(temporary, 'create')
    try {
      await file.truncate(0)
      await file.write([Buffer.from(`${JSON.stringify(job, null, 1)}\n`)], 0)
      await file.sync()
    } finally {
      await file.close()
    }
    await fileSystem.rename(temporary, path)
    await fileSystem.syncDir(dir)
    this.#jobs.set(job.id, job)
  }

  /** Forgets the oldest of those that are over, beyond `overMax`. One that cannot be removed is reported, and left. */
  async prune(): Promise<void> {
    const { fileSystem, dir, isOver, overMax, logger } = this.#options
    const over = this.list().filter(isOver)
    try {
      for (const { id } of over.slice(0, Math.max(0, over.length - overMax))) {
        await fileSystem.remove(join(dir, id + suffix))
        this.#jobs.delete(id)
      }
    } catch (error) {
      logger.warn({ dir, reason: messageOf(error) }, 'records of former jobs could not be removed')
    }
  }

  async #read(): Promise<void> {
    const { fileSystem, dir, logger } = this.#options
    await fileSystem.makeDir(dir)
    for (const name of await fileSystem.readDir(dir)) {
      const path = join(dir, name)
      if (name.endsWith(temporarySuffix)) await fileSystem.remove(path)
      if (!name.endsWith(suffix)) continue
      try {
        const job = JSON.parse((await fileSystem.readFile(path)).toString()) as Job
        if (job.format !== 1) throw new Error(`it has the format ${String(job.format)}`)
        this.#jobs.set(job.id, job)
      } catch (error) {
        logger.error({ file: path, reason: messageOf(error) }, 'the record of a job cannot be read')
      }
    }
  }
}
