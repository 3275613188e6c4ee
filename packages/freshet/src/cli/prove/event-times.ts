/** When a site says that its events happened: by a clock that is off, and for some hours or days before they are sent. */
import { fractionOf } from './seeded.ts'
import type { Site } from './sites.ts'

export interface EventTimeOptions {
  seed: number
  /** When the run began, milliseconds since 1970. */
  startedAtMs: number
  /** Part of the events that come late, from 0 to 1. */
  late: number
}

/** The events of a run happened within so long before its start, apart from late ones. */
const spanMs = 600_000
const hourMs = 3_600_000
const lateMsMax = 72 * hourMs

/** The time of event `n` of `count` that a site sends, milliseconds since 1970; the same whenever it is asked. */
export function eventTimeMs(site: Site, n: number, count: number, options: EventTimeOptions): number {
  const { seed, startedAtMs, late } = options
  const elapsedMs = (spanMs * n) / Math.max(1, count)
  const clockMs = site.clockOffsetMs + (site.clockDriftMsPerHour * elapsedMs) / hourMs
  const isLate = fractionOf(seed, 3, site.index, n) < late
  const lateMs = isLate ? hourMs + fractionOf(seed, 4, site.index, n) * (lateMsMax - hourMs) : 0
  return Math.round(startedAtMs - spanMs + elapsedMs + clockMs - lateMs)
}
