/** What has to hold, and what was found. */
import { formatCount, plural } from '../output/units.ts'
import type { AuditResult } from './audit.ts'
import type { Readings } from './consumer.ts'
import type { Check } from './facts.ts'
import type { Kill } from './killer.ts'
import type { SendCounts } from './record.ts'

const reportIt =
  'This is a fault of the server: keep the folder with --keep, and report it with the seed and the options of this run.'

export interface Found {
  audit: AuditResult
  counts: SendCounts
  readings: Readings
  kills: readonly Kill[]
  unknown: number
  refused: number
  hasInput: boolean
  committed: boolean
}

/** The checks of what was sent against what is there. */
export function checksOf(found: Found): Check[] {
  const { audit, counts, readings, kills, unknown } = found
  const { examples } = audit
  return [
    none('No acknowledged event is missing', audit.missing, 'event is missing', 'events are missing', examples.missing),
    none('No event is there twice', audit.twice, 'row is one too many', 'rows are too many', examples.twice),
    none(
      'No event has changed',
      audit.changed,
      'event holds something else',
      'events hold something else',
      examples.changed,
    ),
    none(
      'Nothing is there that was not sent',
      audit.unexpected,
      'row was not sent like this',
      'rows were not sent like this',
      examples.unexpected,
    ),
    none('Every event was answered for', unknown, 'event was never answered', 'events were never answered', []),
    refusals(found),
    none(
      'No answer contradicts another',
      counts.contradictions.length,
      'answer does',
      'answers do',
      counts.contradictions,
    ),
    consumers('No reader saw an event twice, at any moment', readings, readings.twice),
    consumers('No reader saw events vanish again', readings, readings.vanished),
    {
      name: 'All acknowledged events were committed in time',
      ok: found.committed,
      detail: found.committed
        ? 'The log was in the table to its end.'
        : 'The log was not in the table to its end after minutes.',
      advice: 'See the problem of the stream in `freshet status`, and what the server logs.',
    },
    ...(kills.length === 0 ? [] : [recovery(kills)]),
  ]
}

function none(name: string, count: number, one: string, many: string, examples: readonly string[]): Check {
  if (count === 0) return { name, ok: true, detail: 'None.' }
  const shown = examples.length === 0 ? '' : `: ${examples.slice(0, 5).join('; ')}${count > 5 ? '; ...' : ''}`
  return { name, ok: false, detail: `${formatCount(count)} ${count === 1 ? one : many}${shown}.`, advice: reportIt }
}

/** Rows of files may be anything; made-up events fit their schema. */
function refusals({ refused, counts, hasInput, audit }: Found): Check {
  const letters = audit.deadLettered
  const detail =
    refused + letters === 0
      ? 'None.'
      : `${plural(refused, 'event')} refused, ${plural(letters, 'dead letter')}${counts.reasons.length === 0 ? '' : `; first: ${counts.reasons[0]}`}.`
  return {
    name: hasInput ? 'Rows that the server did not take are known, with the reason' : 'Every event was taken',
    ok: hasInput || refused + letters === 0,
    detail,
    advice: reportIt,
  }
}

function consumers(name: string, readings: Readings, findings: readonly string[]): Check {
  if (readings.queries === 0) return { name, ok: null, detail: 'Nobody has read.' }
  if (findings.length > 0) return none(name, findings.length, 'answer shows it', 'answers show it', findings)
  return { name, ok: true, detail: `${plural(readings.queries, 'answer')} checked while events came in.` }
}

function recovery(kills: readonly Kill[]): Check {
  const back = kills.filter(({ backMs }) => backMs !== null)
  const longestMs = Math.max(...back.map(({ atMs, backMs }) => backMs! - atMs))
  return {
    name: 'The server recovered from every kill by itself',
    ok: back.length === kills.length,
    detail: `${plural(kills.length, 'kill')}, at most ${(longestMs / 1000).toFixed(1)} s until all was well again, kills that followed meanwhile included.`,
    advice: reportIt,
  }
}
