/** Sends the events of changes to the log: at once, and again until the log has them. */
import type { Logger } from '../runtime/logging.ts'
import type { Timers } from '../runtime/timers.ts'
import { messageOf } from '../runtime/errors.ts'
import type { IndexedObject, ObjectIndex } from './object-index.ts'
import type { EventMark, ObjectVersion } from './object-event.ts'

/** How events reach the log. The gateway has it. */
export interface Announce {
  /** @throws FreshetError when the bucket's stream would not take the event of this change */
  check(object: ObjectVersion): void
  /** Resolves when the event is durable, whether it was already or not. @throws FreshetError what the log refuses */
  send(object: ObjectVersion, mark: EventMark): Promise<void>
}

/** Changes that are sent again at a time. */
const batch = 100
const retryMs = { first: 500, max: 30_000 }

export interface AnnouncerOptions {
  index: ObjectIndex
  timers: Timers
  logger: Logger
}

export class Announcer {
  readonly #options: AnnouncerOptions
  #to: Announce | undefined
  #retry: (() => void) | undefined
  #waitMs = retryMs.first
  #sweeping: Promise<void> | undefined
  #stopped = false

  constructor(options: AnnouncerOptions) {
    this.#options = options
  }

  /** Says how events reach the log, and sends those that a process which has ended left. */
  start(to: Announce): void {
    this.#to = to
    this.#sendPending()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#retry?.()
    await this.#sweeping
  }

  check(object: ObjectVersion): void {
    this.#to?.check(object)
  }

  /** Sends the event of a change. When the log refuses it, the change stays, and its event is sent later. */
  async announce(object: IndexedObject): Promise<void> {
    try {
      await this.#to!.send(object, object.mark)
      await this.#options.index.announced(object.version)
    } catch (error) {
      this.#sendLater()
      throw error
    }
  }

  /** Sends what is left of a key's changes, so that the next one comes behind them. The caller has the key's lock. */
  async settle(bucket: string, key: string): Promise<void> {
    for (const object of await this.#options.index.pendingOf(bucket, key)) await this.announce(object)
  }

  #sendPending(): void {
    if (this.#stopped || this.#sweeping !== undefined) return
    this.#sweeping = this.#sendAll().finally(() => (this.#sweeping = undefined))
  }

  async #sendAll(): Promise<void> {
    const { index, logger } = this.#options
    try {
      for (;;) {
        const pending = await index.pending(batch)
        for (const object of pending) {
          if (this.#stopped) return
          await this.announce(object)
        }
        if (pending.length < batch) break
      }
      this.#waitMs = retryMs.first
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'events of objects are not in the log yet; sending them again')
      this.#sendLater()
    }
  }

  #sendLater(): void {
    if (this.#stopped || this.#retry !== undefined) return
    const waitMs = this.#waitMs
    this.#waitMs = Math.min(waitMs * 2, retryMs.max)
    this.#retry = this.#options.timers.after(waitMs, () => {
      this.#retry = undefined
      this.#sendPending()
    })
  }
}
