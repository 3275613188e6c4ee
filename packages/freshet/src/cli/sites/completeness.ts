import { sanitiseCell } from '../output/sanitise.ts'
import { formatDuration } from '../output/units.ts'

/** How far a stream is complete, as the server tells it. */
export interface StreamCompleteness {
  name: string
  completeThrough?: string | null
  sites?: { site: string; state: string; silentMs?: number | null; holdsBack: boolean }[] | null
}

const namedMax = 3

/**
 * A line on each stream that has active sites: through when it is complete, and for whom it waits.
 * `trades: complete through 2013-10-07T20:00:00.000Z; waiting for london, silent for 3 min 2 s`
 */
export function completenessLines(streams: readonly StreamCompleteness[]): string[] {
  return streams.flatMap(({ name, completeThrough, sites }) => {
    const waiting = (sites ?? []).filter(({ holdsBack }) => holdsBack)
    if (waiting.length === 0) return []
    const named = waiting.slice(0, namedMax).map(({ site, silentMs }) => `${site}, ${silence(silentMs)}`)
    const more = waiting.length > namedMax ? ['and others'] : []
    const state = completeThrough == null ? 'not known to be complete' : `complete through ${completeThrough}`
    return [sanitiseCell(`${name}: ${state}; waiting for ${[...named, ...more].join('; ')}`)]
  })
}

function silence(ms: number | null | undefined): string {
  return ms == null ? 'which has not reported yet' : `silent for ${formatDuration(ms)}`
}
