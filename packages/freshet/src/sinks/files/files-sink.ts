/**
 * Events as files in a folder or a bucket, each event in exactly one file.
 *
 * What is taken is appended to a spool and synced; then the state, with the checkpoint, is replaced (state.ts). Both are in a folder of the
 * sink's own: hidden in the folder of the files (`.freshet-<sink>`), or for a bucket in the server's data folder. That is the moment at which
 * events are delivered, so the files keep their own checkpoint. A segment that is full, or whose time has come, is cut, and becomes files (target.ts).
 *
 * A crash before the state is replaced leaves bytes behind the end of a spool, or a spool that nothing names: the batch is delivered again
 * and overwrites them. After it, everything is in the spool, and goes on from what the state says.
 */
import { join } from 'node:path'
import { FreshetError } from '../../runtime/errors.ts'
import { Mutex } from '../../runtime/mutex.ts'
import { EventsRefused, type Sink, type SinkDeps, type SinkEvent, type SinkKind } from '../sink.ts'
import type { FileContent } from './content.ts'
import { FileNames } from './file-name.ts'
import type { FilesOptions } from './settings.ts'
import { appendSegments, eventsOf, type NewLines } from './spool.ts'
import { openTarget, ownFolderOf } from './open-target.ts'
import type { FilesTarget, PlannedFile } from './target.ts'
import { readState, removeDebris, spoolName, writeState, type FilesState, type Segment } from './state.ts'

/** Files that one segment becomes at most: it is cut before there are more. */
const groupsMax = 1000
/** How long after a failure files are tried again when no events come. */
const retryMs = 10_000

class FilesSink implements Sink {
  readonly #deps: SinkDeps
  readonly #options: FilesOptions
  readonly #spoolFolder: string
  readonly #names: FileNames
  readonly #content: FileContent
  readonly #target: FilesTarget
  readonly #mutex = new Mutex()
  #state: FilesState
  /** Groups in the open segment. */
  #groups = new Set<string>()
  /** A note of the state failed: whether it stands is to be read. */
  #stale = false
  /** Checkpoint of the batch whose taking was noted then. */
  #unsure: string | undefined
  #stopTimer = (): void => undefined
  #closed = false

  private constructor(deps: SinkDeps, opened: { content: FileContent; target: FilesTarget; state: FilesState }) {
    const options = deps.plan.options as unknown as FilesOptions
    this.#deps = deps
    this.#options = options
    this.#spoolFolder = ownFolderOf(deps)
    this.#content = opened.content
    this.#target = opened.target
    this.#names = new FileNames(options.name, opened.target.pathBytesMax)
    this.#state = opened.state
  }

  static async open(deps: SinkDeps): Promise<FilesSink> {
    const { fileSystem } = deps
    const spoolFolder = ownFolderOf(deps)
    await fileSystem.makeDir(spoolFolder)
    const state = await readState(fileSystem, spoolFolder)
    // What was read may not have been durable, if whoever wrote it died before it was.
    await fileSystem.syncDir(spoolFolder)
    await removeDebris(fileSystem, spoolFolder, state)
    const { content, target } = await openTarget(deps)
    const sink = new FilesSink(deps, { content, target, state })
    try {
      await sink.#readGroups()
    } catch (error) {
      await target.close()
      throw error
    }
    sink.#setTimer(1)
    return sink
  }

  async checkpoint(): Promise<string> {
    return this.#mutex.run(async () => {
      await this.#readState()
      // Whoever asks goes on from here, not with the batch that was at hand.
      this.#unsure = undefined
      return this.#state.checkpoint
    })
  }

  deliver(batch: readonly SinkEvent[], upTo: string): Promise<void> {
    return this.#mutex.run(async () => {
      if (await this.#stands(upTo)) return
      await this.#cutWhatIsDue()
      await this.#publish()
      const { lines, refused } = this.#linesOf(batch)
      if (refused.size > 0) throw EventsRefused.each(refused)
      await this.#take(lines, upTo)
      try {
        await this.#publish()
      } catch (error) {
        // The events are taken: what is wrong with the files is told when more are to be.
        this.#deps.logger.warn({ err: error, sink: this.#deps.plan.name }, 'files could not be written; tried again')
      }
      this.#setTimer()
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#stopTimer()
    await this.#target.close()
    await this.#mutex.run(async () => undefined)
  }

  /**
   * Whether the batch that ends at `upTo` is taken already: its note failed, and stands after all.
   * @throws FreshetError when the state is not as this sink left it
   */
  async #stands(upTo: string): Promise<boolean> {
    const unsure = this.#unsure
    await this.#checkState()
    this.#unsure = undefined
    return unsure === upTo && this.#state.checkpoint === upTo
  }

  /** Looks whether nobody else has written the state; reads it when it is not known whether a note stands. */
  async #checkState(): Promise<void> {
    const { checkpoint } = this.#state
    const found = await readState(this.#deps.fileSystem, this.#spoolFolder)
    const isOwn = this.#stale
      ? found.checkpoint === checkpoint || found.checkpoint === this.#unsure
      : JSON.stringify(found) === JSON.stringify(this.#state)
    if (!isOwn) {
      throw new FreshetError('sink_target_unusable', `Another process writes the files of ${this.#spoolFolder}.`, {
        hint: 'Two servers must not have sinks of one name with one folder.',
      })
    }
    if (this.#stale) await this.#readState()
  }

  async #readState(): Promise<void> {
    const { fileSystem } = this.#deps
    this.#state = await readState(fileSystem, this.#spoolFolder)
    // What was read may not be durable yet.
    await fileSystem.syncDir(this.#spoolFolder)
    await this.#readGroups()
    this.#stale = false
  }

  async #note(state: FilesState): Promise<void> {
    try {
      await writeState(this.#deps.fileSystem, this.#spoolFolder, state)
    } catch (error) {
      this.#stale = true
      throw error
    }
    this.#state = state
  }

  /** The lines of a batch with the groups that they belong to, and which events can be in no file. */
  #linesOf(batch: readonly SinkEvent[]): { lines: NewLines[]; refused: Map<number, string> } {
    const lines: NewLines[] = []
    const refused = new Map<number, string>()
    for (const [index, event] of batch.entries()) {
      const group = this.#groupOf(event)
      const reason = typeof group === 'string' ? this.#content.refusal(event) : group.reason
      if (reason !== undefined) refused.set(index, reason)
      else lines.push({ text: event.text, group: group as string })
    }
    return { lines, refused }
  }

  #groupOf(event: SinkEvent): string | { reason: string } {
    return this.#names.groupOf({ time: this.#timeOf(event), fields: event.fields })
  }

  #timeOf(event: SinkEvent): string {
    return this.#options.time === 'event_time' ? event.eventTime : event.receivedAt
  }

  /** Appends lines to the open segment, cutting where it is full, and notes all of it at once. */
  async #take(lines: readonly NewLines[], upTo: string): Promise<void> {
    const { clock, fileSystem } = this.#deps
    const { every, events, size } = this.#options
    const dueMs = (Math.floor(clock.nowMs() / every) + 1) * every
    const added = await appendSegments(
      { fileSystem, folder: this.#spoolFolder },
      { state: this.#state, groups: this.#groups, lines, dueMs, limits: { events, bytes: size, groups: groupsMax } },
    )
    this.#unsure = upTo
    await this.#note({
      ...this.#state,
      checkpoint: upTo,
      cut: [...this.#state.cut, ...added.cut],
      open: added.open,
      sequence: added.sequence,
    })
    this.#unsure = undefined
    this.#groups = added.groups
  }

  async #cutWhatIsDue(): Promise<void> {
    const { open } = this.#state
    if (open === null || open.dueMs > this.#deps.clock.nowMs()) return
    await this.#note({ ...this.#state, cut: [...this.#state.cut, open], open: null })
    this.#groups = new Set()
  }

  /** Makes files of the segments that are cut, the oldest first. */
  async #publish(): Promise<void> {
    for (let segment = this.#state.cut[0]; segment !== undefined; segment = this.#state.cut[0]) {
      await this.#publishSegment(segment)
    }
  }

  async #publishSegment(segment: Segment): Promise<void> {
    const target = this.#target
    if (this.#state.staged?.whole === false) {
      await target.removeParts(this.#state.staged.files)
      await this.#note({ ...this.#state, staged: null })
    }
    if (this.#state.staged === null) {
      const placed = await target.place(await this.#filesOf(segment), segment.sequence)
      const files = placed.flatMap(({ staged }) => staged)
      await this.#note({ ...this.#state, staged: { whole: false, files } })
      await target.writeParts(placed, segment.sequence)
      await this.#note({ ...this.#state, staged: { whole: true, files } })
    }
    await target.putInPlace(this.#state.staged?.files ?? [], (files) =>
      this.#note({ ...this.#state, staged: { whole: true, files: [...files] } }),
    )
    await this.#note({ ...this.#state, cut: this.#state.cut.slice(1), staged: null })
    await this.#deps.fileSystem.remove(join(this.#spoolFolder, spoolName(segment.sequence)))
  }

  /** The events of a segment by the file that they go into, in order. */
  async #filesOf(segment: Segment): Promise<PlannedFile[]> {
    const { fileSystem, plan } = this.#deps
    const groups = new Map<string, SinkEvent[]>()
    for (const event of await eventsOf(fileSystem, this.#spoolFolder, segment)) {
      const group = this.#groupOf(event)
      if (typeof group === 'object') throw new Error(`The event ${event.id} fits no file: ${group.reason}`)
      const events = groups.get(group)
      if (events === undefined) groups.set(group, [event])
      else events.push(event)
    }
    return [...groups].map(([group, events]) => {
      const times = events.map((event) => this.#timeOf(event)).toSorted(earlierFirst)
      const facts = {
        stream: plan.from,
        sink: plan.name,
        sequence: segment.sequence,
        from: times[0]!,
        to: times.at(-1)!,
        count: events.length,
        ext: this.#content.extension,
      }
      return { path: this.#names.nameOf(group, facts), events }
    })
  }

  async #readGroups(): Promise<void> {
    this.#groups = new Set()
    if (this.#state.open === null) return
    for (const event of await eventsOf(this.#deps.fileSystem, this.#spoolFolder, this.#state.open)) {
      const group = this.#groupOf(event)
      if (typeof group === 'string') this.#groups.add(group)
    }
  }

  /** Cuts the open segment when its time has come, whether or not events come. */
  #setTimer(pauseMs = retryMs): void {
    this.#stopTimer()
    const { clock, timers, logger, plan } = this.#deps
    const { open, cut } = this.#state
    if (this.#closed || (open === null && cut.length === 0)) return
    const waitMs = cut.length > 0 ? pauseMs : Math.max(1, open!.dueMs - clock.nowMs())
    this.#stopTimer = timers.after(Math.min(waitMs, 2 ** 31 - 1), () => {
      const cutting = this.#mutex.run(async () => {
        if (this.#closed) return
        if (this.#unsure !== undefined) return
        await this.#checkState()
        await this.#cutWhatIsDue()
        await this.#publish()
      })
      void cutting
        .catch((error: unknown) =>
          logger.warn({ err: error, sink: plan.name }, 'files could not be written; tried again'),
        )
        .finally(() => this.#setTimer())
    })
  }
}

/** Stored times: fractions of different length compare as digits only without the Z. */
function earlierFirst(a: string, b: string): number {
  const [one, other] = [a.slice(0, -1), b.slice(0, -1)]
  return one < other ? -1 : one > other ? 1 : 0
}

export const filesKind: SinkKind = {
  open: (deps) => FilesSink.open(deps),
}
