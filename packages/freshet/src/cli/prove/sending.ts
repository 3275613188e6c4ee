/** The part of a run in which sites send, readers read, and processes die. */
import { formatCount } from '../output/units.ts'
import type { Background } from './background.ts'
import { Consumer, type Readings } from './consumer.ts'
import type { Door } from './door.ts'
import type { FreshnessProbe } from './freshness.ts'
import { Killer, type Kill } from './killer.ts'
import type { ProveOptions } from './options.ts'
import type { OwnServer } from './own-server.ts'
import { Pacer } from './pacer.ts'
import type { ReceiptSample } from './receipts-check.ts'
import type { RunRecord, SiteRecord } from './record.ts'
import { Seeded } from './seeded.ts'
import type { Show } from './show.ts'
import { SiteSender } from './site-sender.ts'
import { streamOf, type ProveStream } from './streams.ts'
import type { Workload } from './workload.ts'

interface Scene {
  door: Door
  streams: readonly ProveStream[]
  record: RunRecord
  options: ProveOptions
  run: string
  nowMs: () => number
}

/** Starts the readers, which go on until `background` is stopped. */
export function startReaders(background: Background, scene: Scene & { readings: Readings }): void {
  const { door, streams, record, options, run, readings, nowMs } = scene
  for (let index = 0; index < options.readers; index++) {
    const consumer = new Consumer({
      door,
      sites: record.sites,
      streamOf: ({ site }) => streamOf(site, streams),
      run,
      random: new Seeded(options.seed, 13, index),
      readings,
      nowMs,
    })
    background.start((end) => consumer.run(end))
  }
}

export interface SendScene extends Scene {
  workload: Workload
  probe: FreshnessProbe
  show: Show
  /** The server to kill processes of; undefined when it is somebody else's. */
  server: OwnServer | undefined
  /** Kills are added to it as they happen. */
  kills: Kill[]
  receipts: ReceiptSample
  stop: AbortSignal
  /** Told of the first failure before the others have ended, so that they can be stopped. */
  onFailure: (error: unknown) => void
}

/** Sends everything, and kills meanwhile. @throws FreshetError what a site or the killer met; an AbortError when stopped */
export async function sendAll(scene: SendScene): Promise<void> {
  const { record, options, streams, stop, server, kills, show, onFailure } = scene
  const pacer = new Pacer({ record, rate: options.rate, stop })
  const duplicates = partRepeated(scene)
  const tasks = record.sites.map((site) =>
    new SiteSender({
      ...scene,
      stream: streamOf(site.site, streams),
      site,
      seed: options.seed,
      duplicates,
      pacer,
      onAcknowledged: (id, ageMs) => acknowledged(site, id, ageMs, scene),
      onReceipt: (receipt, events) => scene.receipts.add(receipt, events),
    }).run(),
  )
  if (server !== undefined && options.kills > 0) {
    const onKill = (kill: Kill): void => {
      kills.push(kill)
      show.line(`kill -9 of the ${kill.role}, ${kills.length} of ${options.kills}`)
    }
    tasks.push(new Killer({ ...scene, kills: options.kills, seed: options.seed, server, pacer, onKill }).run())
  }
  for (const task of tasks) task.catch(onFailure)
  await Promise.all(tasks)
}

/** Events are sent again as often as asked for over all sites, by those whose events can be told apart. */
function partRepeated({ record, options }: SendScene): number {
  const withIds = record.sites.reduce((count, { site, events }) => count + (site.hasIds ? events : 0), 0)
  return Math.min(1, (options.duplicates * record.total) / Math.max(1, withIds))
}

function acknowledged(site: SiteRecord, id: string, ageMs: number, scene: SendScene): void {
  const { probe, show, record, options, kills, nowMs } = scene
  if (site.site.hasIds) probe.acknowledged(id, ageMs)
  show.progress(() => {
    const rate = Math.round((record.settled * 1000) / Math.max(1, nowMs()))
    const parts = [`${formatCount(record.settled)} of ${formatCount(record.total)} events`, `${formatCount(rate)}/s`]
    if (options.kills > 0) parts.push(`${kills.length} of ${options.kills} kills`)
    return [...parts, `${formatCount(record.counts.retries)} retries`].join('  ')
  })
}
