/**
 * Checks the objects of a data folder: that each change in the index has its blob, whole and with the right hash; that each upload has its
 * parts; and that the newest event of each object says what the index says.
 *
 * A server may be writing meanwhile. A blob is there before the index has it, and goes after the index has forgotten it; an event is sent
 * after the change is in the index, and no change is forgotten before its event is sent. So what is missing is looked at again, and counts
 * only where the index still has it.
 */
import { join } from 'node:path'
import type { Plan } from '../../config/plan.ts'
import { arrivalOf, type Arrival } from '../../engine/verify/arrivals.ts'
import type { MasterKeys } from '../../objects/master-keys.ts'
import { blobPlace } from '../../objects/blobs.ts'
import { verifyBlob } from '../../objects/verify-blob.ts'
import { FreshetError, messageOf } from '../../runtime/errors.ts'
import { nodeFileSystem } from '../../runtime/file-system.ts'
import type { Finding } from '../../runtime/finding.ts'
import { systemRandom } from '../../runtime/random.ts'
import { LocalObjectStore } from '../../storage/local/local-object-store.ts'
import { indexName, ObjectIndexView, type IndexedBlob } from './object-index-view.ts'
import type { BucketReport } from './report.ts'
import { contentsOf, type StreamVerifierOptions } from './verify-stream.ts'

export interface VerifyObjectsOptions extends Omit<StreamVerifierOptions, 'name'> {
  plan: Plan
  keys: ReadonlyMap<string, MasterKeys | null>
  /** Only buckets of these streams; empty: all, those that are no longer declared too. */
  streams: readonly string[]
  scratchDir: string
}

const attemptsMax = 3
const atATime = 8
/** Differences between events and index that are told of one bucket. */
const shownMax = 20
const headEnding = '.head'

export async function verifyObjects(
  options: VerifyObjectsOptions,
): Promise<{ buckets: BucketReport[]; findings: Finding[] }> {
  for (let attempt = 1; ; attempt++) {
    const check = new ObjectsCheck(options)
    const stale = await check.run()
    if (!stale || attempt === attemptsMax) return { buckets: check.buckets, findings: check.findings }
  }
}

class ObjectsCheck {
  readonly buckets: BucketReport[] = []
  readonly findings: Finding[] = []
  readonly #options: VerifyObjectsOptions
  readonly #store: LocalObjectStore

  constructor(options: VerifyObjectsOptions) {
    this.#options = options
    const root = options.folder.objectsDir
    this.#store = new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom })
  }

  /** @returns whether the index was taken to be at rest, and was not */
  async run(): Promise<boolean> {
    const view = await this.#openIndex()
    if (view === undefined) return false
    try {
      for (const bucket of this.#names(view)) await this.#checkBucket(bucket, view)
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ERR_SQLITE_ERROR') throw error
      this.#indexProblem(messageOf(error))
    } finally {
      view.close()
    }
    return await view.isStale()
  }

  /** undefined where there is none to check. */
  async #openIndex(): Promise<ObjectIndexView | undefined> {
    const { folder, scratchDir } = this.#options
    try {
      const view = await ObjectIndexView.open(folder.objectsDir, scratchDir)
      if (view === undefined && (await this.#store.list('blobs/')).length > 0)
        this.#indexProblem('it is missing, and there are blobs')
      return view
    } catch (error) {
      this.#indexProblem(messageOf(error))
      return undefined
    }
  }

  #indexProblem(reason: string): void {
    const file = join(this.#options.folder.objectsDir, indexName)
    const what = `The index of objects cannot be read: ${reason}.`
    const mend = 'Restore it from a copy. The bytes of the objects are beside it, by their hash.'
    this.findings.push({ severity: 'problem', check: 'objects', file, what, mend })
  }

  #names(view: ObjectIndexView): string[] {
    const { plan, streams } = this.#options
    const declared = Object.values(plan.buckets)
    if (streams.length > 0) return declared.filter(({ stream }) => streams.includes(stream)).map(({ name }) => name)
    return [...new Set([...declared.map(({ name }) => name), ...view.buckets()])].toSorted()
  }

  async #checkBucket(bucket: string, view: ObjectIndexView): Promise<void> {
    const { versions, unannounced, ...counts } = view.counts(bucket)
    const report: BucketReport = {
      bucket,
      ...counts,
      versions,
      blobs: 0,
      storedBytes: 0,
      withoutKey: 0,
      orphans: { files: 0, bytes: 0 },
    }
    this.buckets.push(report)
    const missingKeys = new Set<string>()
    const check = async (place: string, blob: IndexedBlob, isKnown: () => boolean): Promise<void> => {
      const missing = await this.#checkBlob(bucket, place, blob, isKnown)
      if (missing === undefined) return
      missingKeys.add(missing)
      report.withoutKey++
    }
    for (let number = 0; number < 256; number++) {
      const digits = number.toString(16).padStart(2, '0')
      // Listed first: what is put in between is in the index, and not among what nobody refers to.
      const listed = await this.#store.list(`blobs/${bucket}/${digits}/`)
      const blobs = view.blobs(bucket, digits)
      await inTurns(blobs, (blob) =>
        check(blobPlace(bucket, blob.sha256), blob, () => view.refersTo(bucket, blob.sha256)),
      )
      countFiles(report, listed, new Set(blobs.map(({ sha256 }) => blobPlace(bucket, sha256))))
    }
    await inTurns(view.parts(bucket), ({ place, ...part }) =>
      check(place, part, () => view.parts(bucket).some((known) => known.place === place)),
    )
    if (missingKeys.size > 0) {
      const ids = [...missingKeys].toSorted().join(', ')
      const what = `${report.withoutKey} objects or parts of the bucket ${bucket} are encrypted under keys that are not at hand (${ids}): `
      this.#note(bucket, `${what}what is stored of them was held against checksums, and not decrypted.`)
    }
    if (report.orphans.files > 0) {
      const { files, bytes } = report.orphans
      const what = `Files of the bucket ${bucket} that no object has: ${files} (${bytes} bytes). They are being written, or a crash has left `
      this.#note(bucket, `${what}them; the server removes those that are a day old.`)
    }
    if (unannounced > 0)
      this.#note(
        bucket,
        `Events of the bucket ${bucket} that may not be in the log yet: ${unannounced}. They are sent by the server.`,
      )
    await this.#checkEvents(bucket, view)
  }

  /** @returns the key that is not at hand */
  async #checkBlob(
    bucket: string,
    place: string,
    { sha256, bytes }: IndexedBlob,
    isKnown: () => boolean,
  ): Promise<string | undefined> {
    const { keys, deep, onProgress, folder } = this.#options
    const onBytes = (read: number): void => onProgress(bucket, 'objects', read)
    onBytes(0)
    for (let attempt = 1; ; attempt++) {
      try {
        const common = { store: this.#store, place, keys: keys.get(bucket) ?? null }
        return await verifyBlob({ ...common, sha256, bytes, deep, onBytes })
      } catch (error) {
        if (!(error instanceof FreshetError)) throw error
        if (!isKnown()) return undefined
        if (attempt < attemptsMax) continue
        const { message: what, hint } = error
        const file = join(folder.objectsDir, place)
        this.findings.push({ severity: 'problem', check: 'objects', bucket, file, what, ...(hint && { mend: hint }) })
        return undefined
      }
    }
  }

  /** Holds the newest event of each object against the index. */
  async #checkEvents(bucket: string, view: ObjectIndexView): Promise<void> {
    const { plan } = this.#options
    const stream = plan.buckets[bucket]?.stream
    if (stream === undefined) return
    let suspects = await this.#differences(bucket, stream, () => true, view)
    // An event that came meanwhile explains a difference.
    for (let attempt = 1; attempt < attemptsMax && suspects !== undefined && suspects.size > 0; attempt++) {
      const known: ReadonlyMap<string, string> = suspects
      suspects = await this.#differences(bucket, stream, (key) => known.has(key), view)
    }
    if (suspects === undefined) {
      this.#note(
        bucket,
        `The events of the bucket ${bucket} were not compared with its index: those of ${stream} cannot be read as such.`,
      )
      return
    }
    const problems = [...suspects.values()]
    const mend =
      'Restore the objects and their index from a copy as new as the events, or put the object again. If events of its removal were erased, erase those of its arrival.'
    for (const what of problems.slice(0, shownMax))
      this.findings.push({ severity: 'problem', check: 'objects', bucket, stream, what, mend })
    if (problems.length <= shownMax) return
    const what = `${problems.length - shownMax} more objects of the bucket ${bucket} are not what their newest events say.`
    this.findings.push({ severity: 'problem', check: 'objects', bucket, stream, what, mend })
  }

  /** What is wrong, by key; undefined where events cannot be relied on. */
  async #differences(
    bucket: string,
    stream: string,
    isMeant: (key: string) => boolean,
    view: ObjectIndexView,
  ): Promise<Map<string, string> | undefined> {
    const contents = await contentsOf({ ...this.#options, name: stream }, (event) => {
      const arrival = arrivalOf(event)
      return arrival === undefined ? [] : [arrival]
    })
    if (contents === undefined) return undefined
    const found = new Map<string, string>()
    const told = await this.#options.data.eachArrival(contents, (arrival) => {
      if (arrival.bucket !== bucket || !isMeant(arrival.key)) return
      const what = differenceOf(arrival, view)
      if (what !== undefined) found.set(arrival.key, what)
    })
    return told ? found : undefined
  }

  #note(bucket: string, what: string): void {
    this.findings.push({ severity: 'note', check: 'objects', bucket, what })
  }
}

function differenceOf({ bucket, key, version, sha256, deleted }: Arrival, view: ObjectIndexView): string | undefined {
  const name = `The object ${JSON.stringify(key)} of the bucket ${bucket}`
  const current = view.current(bucket, key)
  if (current === undefined)
    return deleted ? undefined : `${name} is not in the index: its newest event says that version ${version} arrived.`
  if (current.version > version) return undefined
  if (current.version < version)
    return `${name} has version ${current.version} in the index; its newest event is of version ${version}.`
  if (current.deleted !== deleted || current.sha256 !== sha256)
    return `${name} has other bytes in the index than its event of version ${version} says.`
  return undefined
}

/** Counts blobs and their files; heads are no blobs. */
function countFiles(
  report: BucketReport,
  listed: readonly { key: string; bytes: number }[],
  known: ReadonlySet<string>,
): void {
  for (const { key, bytes } of listed) {
    const isHead = key.endsWith(headEnding)
    if (known.has(isHead ? key.slice(0, -headEnding.length) : key)) {
      report.storedBytes += bytes
      if (!isHead) report.blobs++
    } else {
      report.orphans.files++
      report.orphans.bytes += bytes
    }
  }
}

async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += atATime) await Promise.all(items.slice(at, at + atATime).map(work))
}
