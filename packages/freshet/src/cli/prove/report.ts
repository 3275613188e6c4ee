/** The report for people, as text. */
import { sanitiseText } from '../output/sanitise.ts'
import type { Style } from '../output/style.ts'
import { formatCount, formatDuration, plural } from '../output/units.ts'
import { isProved, type Check, type Facts } from './facts.ts'
import { jsonReport } from './json-report.ts'
import type { Quantiles } from './quantiles.ts'

/** The verdict in one sentence. */
export function verdict(facts: Facts): string {
  const { audit, kills, sites } = facts
  if (isProved(facts)) {
    const after = kills.length === 0 ? '' : `, after ${plural(kills.length, 'kill')}`
    return `PROVED: ${formatCount(facts.acknowledged)} events from ${plural(sites.length, 'site')}, each there once${after}. None missing, none twice.`
  }
  const { missing, twice } = audit
  const failed = facts.checks.filter(({ ok }) => ok === false)
  if (missing + twice > 0) return `FAILED: ${formatCount(missing)} missing, ${formatCount(twice)} twice.`
  return `FAILED: ${plural(failed.length, 'check')} of ${facts.checks.length}.`
}

/** Names and values, for the text and the page. */
export function numbersOf(facts: Facts): [name: string, value: string][] {
  const { counts, readings, options, versions } = facts
  const json = jsonReport(facts)
  const count = (name: string): string => formatCount(Number(json[name]))
  return [
    ['Sent', `${count('sent')} events in ${plural(counts.requests, 'request')}, ${formatDuration(facts.sendingMs)}`],
    ['Throughput', `${count('eventsPerSecond')} events/s${facts.kills.length > 0 ? ', kills included' : ''}`],
    [
      'Sent again',
      `${plural(counts.repeatedEvents, 'event')} in other batches, ${formatCount(counts.repeatedBatches)} whole ${counts.repeatedBatches === 1 ? 'batch' : 'batches'}; ` +
        `${formatCount(counts.retries)} retries, ${formatCount(counts.lostAnswers)} answers not waited for`,
    ],
    [
      'Taken',
      `${count('accepted')} into the log = ${count('committed')} committed + ${count('deduplicated')} de-duplicated + ${count('deadLettered')} dead letters`,
    ],
    ['Freshness', quantilesText(facts.freshnessMs)],
    ...(facts.kills.length === 0
      ? []
      : [['... without kills', quantilesText(facts.freshnessQuietMs)] as [string, string]]),
    [
      'Read',
      `${plural(readings.queries, 'answer')} checked while sending, ${formatCount(readings.unanswered)} not answered; ${formatCount(facts.audit.rows)} rows audited`,
    ],
    ...(facts.kills.length === 0 ? [] : [['Killed', killsText(facts)] as [string, string]]),
    [
      'Took',
      `${formatDuration(facts.totalMs)}: sending ${formatDuration(facts.sendingMs)}, committing the rest ${formatDuration(facts.settlingMs)}, audit ${formatDuration(facts.auditMs)}`,
    ],
    ['Seed', `${options.seed} (--seed ${options.seed} decides the same again)`],
    [
      'With',
      `freshet ${versions.server}, Node ${versions.node}, ${versions.platform}, ${plural(versions.cpus, 'core')}`,
    ],
  ]
}

function quantilesText(quantiles: Quantiles | null): string {
  if (quantiles === null) return 'not measured'
  const { p50, p99, max } = quantiles
  return `${formatDuration(p50)} p50, ${formatDuration(p99)} p99, ${formatDuration(max)} at most, from the acknowledgement to the answer of a query`
}

function killsText({ kills }: Facts): string {
  const roles = [...new Set(kills.map(({ role }) => role))].toSorted()
  return roles.map((role) => `${role} ${kills.filter((kill) => kill.role === role).length}`).join(', ')
}

/** The whole report. */
export function textReport(facts: Facts, style: Style): string {
  const line = verdict(facts)
  const lines = [style.bold(isProved(facts) ? style.green(line) : style.red(line)), '']
  for (const [name, value] of numbersOf(facts)) lines.push(`  ${name.padEnd(18)}${sanitiseText(value)}`)
  lines.push('')
  for (const check of facts.checks) lines.push(...checkLines(check, style))
  return `${lines.join('\n')}\n`
}

function checkLines({ name, ok, detail, advice }: Check, style: Style): string[] {
  const mark = ok === null ? style.dim('not checked') : ok ? style.green('ok') : style.red('FAILED')
  const lines = [`  ${mark}  ${sanitiseText(name)}  ${style.dim(sanitiseText(detail))}`]
  if (ok === false && advice !== undefined) lines.push(`      ${style.cyan('what to do:')} ${sanitiseText(advice)}`)
  return lines
}
