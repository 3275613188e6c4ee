/** The report as one page: its own styles, charts drawn in place, nothing loaded from anywhere. */
import { formatBytes, formatCount, formatDuration } from '../output/units.ts'
import { chart, escapeHtml, type ChartMark } from './chart.ts'
import { isProved, type Check, type Facts } from './facts.ts'
import { quietSamples } from './freshness.ts'
import { numbersOf, verdict } from './report.ts'

const styles = `
:root { color-scheme: light dark; --text: #1c2430; --soft: #5b6675; --back: #fff; --panel: #f5f7fa; --rule: #dde3ea;
  --blue: #1769c5; --orange: #c2560c; --good: #15803d; --bad: #b91c1c; --gateway: #7c3aed; --engine: #c2560c; --supervisor: #b91c1c }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --soft: #9aa7b8; --back: #12161c; --panel: #1b222c; --rule: #2c3644;
  --blue: #6cb0ff; --orange: #f6a35c; --good: #4ade80; --bad: #f87171; --gateway: #b794f6; --engine: #f6a35c; --supervisor: #f87171 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1rem 4rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.35rem; line-height: 1.3; padding: .9rem 1.1rem; border-left: .4rem solid var(--good); background: var(--panel); margin: 0 0 1.5rem }
h1.bad { border-color: var(--bad) }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem }
table { border-collapse: collapse; width: 100%; font-size: .92rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere }
th { font-weight: 500; color: var(--soft); white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.ok { color: var(--good) } .failed { color: var(--bad); font-weight: 600 } .soft { color: var(--soft) }
figure { margin: 0 0 1.2rem; background: var(--panel); padding: .8rem .8rem .2rem; border-radius: .4rem }
figcaption { font-weight: 500; margin-bottom: .3rem } svg { display: block; width: 100%; height: auto }
.grid { stroke: var(--rule) } .axis { fill: var(--soft); font-size: 11px }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round } .dots { fill: none; stroke-width: 3.4; stroke-linecap: round; opacity: .75 }
.line.blue, .dots.blue { stroke: var(--blue) } .line.orange, .dots.orange { stroke: var(--orange) }
.mark rect { opacity: .1 } .mark line { stroke-width: 1.4; stroke-dasharray: 4 3 }
.mark.gateway rect { fill: var(--gateway) } .mark.gateway line { stroke: var(--gateway) }
.mark.engine rect { fill: var(--engine) } .mark.engine line { stroke: var(--engine) }
.mark.supervisor rect { fill: var(--supervisor) } .mark.supervisor line { stroke: var(--supervisor) }
.key { font-weight: 400; font-size: .85rem; color: var(--soft); margin-left: .8rem; white-space: nowrap }
.key::before { content: ''; display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .35rem }
.key.blue::before { background: var(--blue) } .key.orange::before { background: var(--orange) } .key.gateway::before { background: var(--gateway) }
.key.engine::before { background: var(--engine) } .key.supervisor::before { background: var(--supervisor) }
code { font-size: .88em; overflow-wrap: anywhere }`

/** A whole HTML document. */
export function htmlReport(facts: Facts): string {
  const { sites, startedAt } = facts
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>freshet prove: ${isProved(facts) ? 'proved' : 'failed'}</title>
<style>${styles}</style>
</head>
<body>
<h1${isProved(facts) ? '' : ' class="bad"'}>${escapeHtml(verdict(facts))}</h1>
<p class="soft">freshet prove, ${escapeHtml(startedAt.replace('T', ' ').replace(/\..*/, ' UTC'))}</p>
${table(numbersOf(facts).map(([name, value]) => `<th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td>`))}
<h2>What had to hold</h2>
${table(facts.checks.map(checkCells))}
<h2>Over time${killKeys(facts)}</h2>
${charts(facts)}
<h2>Sites</h2>
${table([
  '<th>Site</th><th>Recognised by</th><th>Stream</th><th>Events</th><th>Clock</th><th>Outages</th>',
  ...sites.map(
    (site) =>
      `<td>${escapeHtml(site.name)}</td><td>${escapeHtml(site.kind)}</td><td>${escapeHtml(site.stream)}</td>` +
      `<td>${formatCount(site.events)}</td><td>${(site.clockOffsetMs / 1000).toFixed(1)} s</td><td>${site.outages}</td>`,
  ),
])}
<h2>Options</h2>
<p><code>${escapeHtml(JSON.stringify(facts.options))}</code></p>
</body>
</html>
`
}

function table(rows: readonly string[]): string {
  return `<table>\n${rows.map((cells) => `<tr>${cells}</tr>`).join('\n')}\n</table>`
}

function checkCells({ name, ok, detail, advice }: Check): string {
  const [style, word] = ok === null ? ['soft', 'not checked'] : ok ? ['ok', 'ok'] : ['failed', 'FAILED']
  const what = ok === false && advice !== undefined ? `<br><strong>What to do:</strong> ${escapeHtml(advice)}` : ''
  return `<th class="${style}">${word}</th><td>${escapeHtml(name)}<br><span class="soft">${escapeHtml(detail)}</span>${what}</td>`
}

function killKeys({ kills }: Facts): string {
  const roles = [...new Set(kills.map(({ role }) => role))].toSorted()
  return roles.map((role) => ` <span class="key ${role}">kill -9 of the ${role}</span>`).join('')
}

function charts(facts: Facts): string {
  const { moments, kills, samples } = facts
  const endMs = Math.max(1, ...moments.slice(-1).map(({ atMs }) => atMs))
  const marks = kills.map(({ role, atMs, backMs }): ChartMark => {
    const recovered = backMs === null ? 'never recovered' : `recovered after ${formatDuration(backMs - atMs)}`
    return { fromMs: atMs, toMs: backMs ?? endMs, style: role, label: `kill -9 of the ${role}, ${recovered}` }
  })
  const quiet = new Set(quietSamples(samples, kills))
  const points = (wanted: boolean) =>
    samples.filter((sample) => quiet.has(sample) === wanted).map(({ atMs, delayMs }) => [atMs, delayMs] as const)
  const common = { endMs, marks }
  return [
    chart({
      ...common,
      title: 'Throughput, events acknowledged a second',
      series: [{ name: 'events/s', style: 'blue', as: 'line', points: rates(facts) }],
      logarithmic: false,
      format: (value) => formatCount(Math.round(value)),
    }),
    chart({
      ...common,
      title: 'Freshness, from the acknowledgement of an event until a query shows it',
      series: [
        { name: 'server whole', style: 'blue', as: 'dots', points: points(true) },
        ...(kills.length === 0
          ? []
          : [{ name: 'waited for a killed process', style: 'orange', as: 'dots', points: points(false) } as const]),
      ],
      logarithmic: true,
      format: formatDuration,
    }),
    chart({
      ...common,
      title: 'Lag, bytes of the log that are not committed to the table yet',
      series: [
        {
          name: 'lag',
          style: 'blue',
          as: 'line',
          points: moments.map(({ atMs, lagBytes }) => [atMs, lagBytes] as const),
        },
      ],
      logarithmic: false,
      format: formatBytes,
    }),
  ].join('\n')
}

/** Events a second between two moments. */
function rates({ moments }: Facts): (readonly [number, number])[] {
  return moments.slice(1).map((moment, index) => {
    const before = moments[index]!
    const seconds = Math.max(0.001, (moment.atMs - before.atMs) / 1000)
    return [moment.atMs, (moment.acknowledged - before.acknowledged) / seconds] as const
  })
}
