/** Charts over time as SVG, drawn here so that the page needs nothing else. */

interface ChartSeries {
  name: string
  /** Class that gives it its colour. */
  style: string
  /** Milliseconds since the beginning, and value; null leaves a gap. */
  points: readonly (readonly [atMs: number, value: number | null])[]
  /** Dots for single measurements, a filled line for what goes on. */
  as: 'line' | 'dots'
}

export interface ChartMark {
  fromMs: number
  toMs: number
  style: string
  label: string
}

export interface ChartOptions {
  title: string
  /** Right end of the time axis, milliseconds. */
  endMs: number
  series: readonly ChartSeries[]
  /** Stretches of time to show behind the data. */
  marks: readonly ChartMark[]
  /** Powers of ten at equal distances. */
  logarithmic: boolean
  format: (value: number) => string
}

const width = 920
const height = 240
const left = 84
const right = 12
const top = 12
const bottom = 30
const pointsMax = 2_000

/** Text that is safe in HTML, also within quotes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** One chart, as a `figure`. */
export function chart(options: ChartOptions): string {
  const { title, endMs, series, marks, logarithmic, format } = options
  const values = series.flatMap(({ points }) => points.flatMap(([, value]) => (value === null ? [] : [value])))
  if (values.length === 0) return `<figure><figcaption>${escapeHtml(title)}</figcaption><p>Not measured.</p></figure>`
  const y = logarithmic ? logarithmicScale(values) : linearScale(values)
  const x = (ms: number): number => left + (Math.min(ms, endMs) / Math.max(1, endMs)) * (width - left - right)
  const parts = [
    ...y.ticks.map((tick) => gridLine(y.place(tick), format(tick))),
    ...timeTicks(endMs).map((ms) => timeLabel(x(ms), `${ms / 1000} s`)),
    ...marks.map((mark) => markBand(mark, x)),
    ...series.map((one) => drawn(one, x, y.place)),
  ]
  const legend =
    series.length < 2
      ? ''
      : series.map(({ name, style }) => `<span class="key ${style}">${escapeHtml(name)}</span>`).join(' ')
  return `<figure><figcaption>${escapeHtml(title)} ${legend}</figcaption>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(title)}">
${parts.join('\n')}
</svg></figure>`
}

interface Scale {
  ticks: number[]
  place: (value: number) => number
}

function linearScale(values: readonly number[]): Scale {
  const most = values.reduce((a, b) => Math.max(a, b), 0) || 1
  const step = niceStep(most / 4)
  const end = Math.ceil(most / step) * step
  const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, index) => index * step)
  return { ticks, place: (value) => height - bottom - (value / end) * (height - top - bottom) }
}

function logarithmicScale(values: readonly number[]): Scale {
  const measured = values.filter((value) => value > 0)
  const positive = measured.length === 0 ? [1] : measured
  const least = Math.floor(Math.log10(positive.reduce((a, b) => Math.min(a, b), Infinity)))
  const most = Math.max(least + 1, Math.ceil(Math.log10(positive.reduce((a, b) => Math.max(a, b), 0))))
  const ticks = Array.from({ length: most - least + 1 }, (_, index) => 10 ** (least + index))
  const place = (value: number): number => {
    const share = (Math.log10(Math.max(value, 10 ** least)) - least) / (most - least)
    return height - bottom - share * (height - top - bottom)
  }
  return { ticks, place }
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least))
  return power * ([1, 2, 5].find((factor) => factor * power >= least) ?? 10)
}

function timeTicks(endMs: number): number[] {
  const stepMs = Math.max(1000, niceStep(Math.max(1, endMs / 8)))
  return Array.from({ length: Math.floor(endMs / stepMs) + 1 }, (_, index) => index * stepMs)
}

function gridLine(y: number, label: string): string {
  return `<line class="grid" x1="${left}" x2="${width - right}" y1="${fixed(y)}" y2="${fixed(y)}"/><text class="axis" x="${left - 8}" y="${fixed(y + 4)}" text-anchor="end">${escapeHtml(label)}</text>`
}

function timeLabel(x: number, label: string): string {
  return `<text class="axis" x="${fixed(x)}" y="${height - 10}" text-anchor="middle">${escapeHtml(label)}</text>`
}

function markBand({ fromMs, toMs, style, label }: ChartMark, x: (ms: number) => number): string {
  const from = x(fromMs)
  return `<g class="mark ${style}"><title>${escapeHtml(label)}</title><rect x="${fixed(from)}" y="${top}" width="${fixed(Math.max(1, x(toMs) - from))}" height="${height - top - bottom}"/><line x1="${fixed(from)}" x2="${fixed(from)}" y1="${top}" y2="${height - bottom}"/></g>`
}

function drawn(
  { points, style, as, name }: ChartSeries,
  x: (ms: number) => number,
  y: (value: number) => number,
): string {
  const every = Math.ceil(points.length / pointsMax)
  const shown = points.filter((_, index) => index % every === 0)
  if (as === 'dots') {
    const dots = shown.flatMap(([ms, value]) => (value === null ? [] : [`M${fixed(x(ms))} ${fixed(y(value))}h0`]))
    return `<path class="dots ${style}" d="${dots.join('')}"><title>${escapeHtml(name)}</title></path>`
  }
  let path = ''
  let isOpen = false
  for (const [ms, value] of shown) {
    if (value !== null) path += `${isOpen ? 'L' : 'M'}${fixed(x(ms))} ${fixed(y(value))}`
    isOpen = value !== null
  }
  return `<path class="line ${style}" d="${path}"><title>${escapeHtml(name)}</title></path>`
}

function fixed(value: number): string {
  return value.toFixed(1)
}
