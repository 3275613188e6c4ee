/** One run from beginning to end: send, kill, read, wait, audit. */
import { cpus } from 'node:os'
import type { CliContext } from '../context.ts'
import { formatBytes, formatCount } from '../output/units.ts'
import { audit, type AuditResult } from './audit.ts'
import { Background } from './background.ts'
import { checksOf } from './checks.ts'
import { noReadings } from './consumer.ts'
import { Door } from './door.ts'
import type { Check, Facts } from './facts.ts'
import { FreshnessProbe, otherClockMarginMs, quietSamples, sameClockMarginMs } from './freshness.ts'
import { Generator } from './generator.ts'
import { InputFiles } from './input-rows.ts'
import { InputWorkload } from './input-workload.ts'
import type { Kill } from './killer.ts'
import { checkLedger, readLedger, totalsOf } from './ledger-check.ts'
import { defaultEvents, type ProveOptions } from './options.ts'
import { OwnServer } from './own-server.ts'
import { quantilesOf } from './quantiles.ts'
import { checkReceipts, ReceiptSample } from './receipts-check.ts'
import { eventStates, RunRecord } from './record.ts'
import { checkRestart, checkVerify } from './restart-checks.ts'
import { sendAll, startReaders } from './sending.ts'
import { waitUntilCommitted } from './settle.ts'
import type { Show } from './show.ts'
import { planSites, type Site } from './sites.ts'
import { checkStream, ownStreams, streamOf, streamsConfig, type ProveStream } from './streams.ts'
import { Timeline } from './timeline.ts'
import type { Workload } from './workload.ts'

const committedPatienceMs = 180_000
const freshnessPatienceMs = 30_000

export interface RunSetting {
  options: ProveOptions
  context: CliContext
  version: string
  show: Show
}

export class ProveRun {
  readonly #setting: RunSetting
  readonly #stop = new AbortController()
  readonly #startedAtMs = Date.now()
  readonly #zeroMs = performance.now()
  readonly #run: string
  readonly #kills: Kill[] = []
  readonly #readings = noReadings()
  readonly #receipts: ReceiptSample
  #server: OwnServer | undefined
  #interrupted = false

  constructor(setting: RunSetting) {
    this.#setting = setting
    const { seed } = setting.options
    // Ids of one run are those of no other, also on a server that keeps the events of earlier runs.
    this.#run = `${seed.toString(36)}x${this.#startedAtMs.toString(36)}`
    this.#receipts = new ReceiptSample(seed)
  }

  get interrupted(): boolean {
    return this.#interrupted
  }

  /** Folder of the server that was started; undefined when there was none. */
  get folder(): string | undefined {
    return this.#server?.folder
  }

  /** Ends the run at once: `run` rejects soon after. */
  interrupt(): void {
    this.#interrupted = true
    this.#stop.abort()
    this.#server?.abandon()
  }

  /** @throws FreshetError when the run cannot be made or finished; an AbortError when interrupted */
  async run(): Promise<Facts> {
    const { options } = this.#setting
    const sites = planSites({ ...options, withoutIds: options.url === null })
    const workload = await this.#workload(sites)
    const streams = options.url === null ? ownStreams(options.stream) : [{ name: options.stream, hasIds: true }]
    let door: Door | undefined
    try {
      this.#stop.signal.throwIfAborted()
      const url = options.url ?? (await this.#startServer(streams))
      door = new Door(url, options.sites + options.readers + 4)
      if (options.url !== null) await checkStream(door, options.stream)
      return await this.#prove(door, streams, sites, workload)
    } catch (error) {
      // What failed because all ended is not the reason.
      this.#stop.signal.throwIfAborted()
      throw error
    } finally {
      workload.close()
      await door?.close()
      await this.#server?.close(options.keep)
    }
  }

  async #workload(sites: readonly Site[]): Promise<Workload> {
    const { options, context, show } = this.#setting
    const { seed, late, events } = options
    const common = { run: this.#run, sites, seed, late, startedAtMs: this.#startedAtMs }
    if (options.input.length === 0) return new Generator({ ...common, events: events ?? defaultEvents })
    const files = await InputFiles.find(options.input, options.columns, context)
    show.line('Counting the rows of the input ...')
    return InputWorkload.open({ ...common, files, rowsMax: events ?? Infinity })
  }

  async #startServer(streams: readonly ProveStream[]): Promise<string> {
    const { options, context, show } = this.#setting
    const config = streamsConfig(streams, options.input.length > 0)
    this.#server = await OwnServer.create({ folder: options.folder, env: context.env, streams: config })
    show.line(`Starting a server in ${this.#server.folder} ...`)
    await this.#server.start()
    return this.#server.url
  }

  async #prove(
    door: Door,
    streams: readonly ProveStream[],
    sites: readonly Site[],
    workload: Workload,
  ): Promise<Facts> {
    const { options, version, show } = this.#setting
    const record = new RunRecord(sites, workload.counts)
    const nowMs = (): number => performance.now() - this.#zeroMs
    const stop = this.#stop.signal
    const background = new Background((error) => this.#stop.abort(error))
    const clockMarginMs = options.url === null ? sameClockMarginMs : otherClockMarginMs
    const probe = new FreshnessProbe({ door, stream: options.stream, nowMs, clockMarginMs })
    const timeline = new Timeline({ door, record, streams: streams.map(({ name }) => name), nowMs })
    const { version: serverVersion = 'unknown' } = await door.status()
    show.line(`Sending ${formatCount(record.total)} events from ${options.sites} sites, seed ${options.seed} ...`)

    background.start((end) => timeline.run(end))
    background.start((end) => probe.run(end))
    const common = { door, streams, record, options, run: this.#run, nowMs }
    startReaders(background, { ...common, readings: this.#readings })
    const sendingFromMs = nowMs()
    let facts: Pick<Facts, 'sendingMs' | 'settlingMs'> & { committed: boolean }
    try {
      await sendAll({
        ...common,
        workload,
        probe,
        show,
        server: this.#server,
        kills: this.#kills,
        receipts: this.#receipts,
        stop,
        onFailure: (error) => this.#stop.abort(error),
      })
      const sendingMs = nowMs() - sendingFromMs
      show.line(`Sent in ${(sendingMs / 1000).toFixed(1)} s; waiting until all of it is committed ...`)
      const committed = await waitUntilCommitted(
        door,
        streams.map(({ name }) => name),
        {
          patienceMs: committedPatienceMs,
          stop,
          onWait: (bytes) => show.progress(() => `${formatBytes(bytes)} of the log to be committed`),
        },
      )
      const settledMs = nowMs()
      while (probe.waiting > 0 && nowMs() - settledMs < freshnessPatienceMs && !stop.aborted)
        await new Promise((resolve) => setTimeout(resolve, 20))
      facts = { sendingMs, settlingMs: settledMs - sendingFromMs - sendingMs, committed }
    } finally {
      await background.stop()
    }
    stop.throwIfAborted()

    const auditFromMs = nowMs()
    const found = await this.#audit(door, streams, record)
    const ledger = await readLedger(door, this.#run)
    const checks: Check[] = [
      ...checksOf({
        audit: found,
        counts: record.counts,
        readings: this.#readings,
        kills: this.#kills,
        unknown: record.count(eventStates.unknown),
        refused: record.count(eventStates.refused),
        hasInput: options.input.length > 0,
        committed: facts.committed,
      }),
      checkLedger(ledger, record, this.#run, found),
      await checkReceipts(door, this.#receipts),
    ]
    if (this.#server !== undefined) {
      show.line('Stopping the server and starting it again ...')
      checks.push(await checkRestart(this.#server, door, streams, this.#run))
      checks.push(await checkVerify(this.#server, this.#setting.context.env))
    }
    stop.throwIfAborted()
    return {
      options,
      run: this.#run,
      startedAt: new Date(this.#startedAtMs).toISOString(),
      versions: {
        freshet: version,
        server: serverVersion,
        node: process.versions.node,
        platform: `${process.platform} ${process.arch}`,
        cpus: cpus().length,
      },
      sites: sites.map((site, index) => ({
        name: site.name,
        kind: site.kind,
        stream: streamOf(site, streams),
        events: workload.counts[index]!,
        clockOffsetMs: site.clockOffsetMs,
        outages: site.outages.length,
      })),
      sent: record.total - record.count(eventStates.ahead),
      acknowledged: record.count(eventStates.acknowledged),
      refused: record.count(eventStates.refused),
      unknown: record.count(eventStates.unknown),
      accepted: record.sites.reduce((sum, { accepted }) => sum + accepted, 0),
      counts: record.counts,
      audit: found,
      ledger: ledger === null ? null : totalsOf(ledger),
      readings: this.#readings,
      kills: this.#kills,
      samples: probe.samples,
      freshnessMs: quantilesOf(probe.samples.map(({ delayMs }) => delayMs)),
      freshnessQuietMs: quantilesOf(quietSamples(probe.samples, this.#kills).map(({ delayMs }) => delayMs)),
      moments: timeline.moments,
      sendingMs: facts.sendingMs,
      settlingMs: facts.settlingMs,
      auditMs: nowMs() - auditFromMs,
      totalMs: nowMs(),
      checks,
    }
  }

  async #audit(door: Door, streams: readonly ProveStream[], record: RunRecord): Promise<AuditResult> {
    const { show } = this.#setting
    show.line('Auditing every event ...')
    return audit({
      door,
      record,
      run: this.#run,
      streams,
      stop: this.#stop.signal,
      onProgress: (rows) => show.progress(() => `${formatCount(rows)} rows compared`),
    })
  }
}
