/** Rollups: tables of aggregates over buckets of time. */
import { z } from 'zod'
import { isPlainObject, keyPath, kindOf, mistake, quoted, type Mistake } from './mistakes.ts'
import type { PartContext } from './part-context.ts'
import type { RollupPlan } from './plan.ts'
import { readDuration, type Reading } from './quantities.ts'
import { choice, duration, names, section, setting, text } from './readers.ts'

/** A bucket divides an hour, a day or a week, or is whole days or weeks, or of a calendar. */
const bucket = setting((words): Reading<RollupPlan['bucket']> => {
  const calendar = typeof words === 'string' ? /^\s*(\d+)?\s*(month|year)s?\s*$/.exec(words) : null
  if (calendar !== null) return { value: { unit: calendar[2] as 'month' | 'year', count: Number(calendar[1] ?? 1) } }
  const reading = readDuration(words)
  if (!('value' in reading)) return { reason: `${reading.reason}, or months or years` }
  const ms = reading.value
  if (ms < 1000 || ms % 1000 !== 0) return { reason: `must be whole seconds, not ${kindOf(words)}` }
  return { value: { ms } }
})

const select = setting((words): Reading<Record<string, string>> => {
  if (!isPlainObject(words) || Object.keys(words).length === 0)
    return {
      reason: `must be an object of SQL expressions by column, such as { trades: 'count(*)' }, not ${kindOf(words)}`,
    }
  for (const [name, expression] of Object.entries(words)) {
    if (typeof expression !== 'string' || expression.trim() === '')
      return { reason: `${quoted(name)} must be a SQL expression, such as 'sum(size)', not ${kindOf(expression)}` }
  }
  return { value: words as Record<string, string> }
})

/** The keys of one rollup. */
export const rollupSettings = section({
  from: z.unknown().describe('The stream or rollup that it is made of, by name or as it is.'),
  bucket: bucket.describe('Width of a bucket of time: `1 minute`, `1 hour`, `1 day`, `1 month`; in UTC.'),
  by: names('a list of columns of `from`').optional().describe('Columns that rows are grouped by, besides the bucket.'),
  select: select.optional().describe('The aggregates: SQL expressions by the name of their column.'),
  where: text('a SQL condition').optional().describe('Condition on the rows of `from`; only with `select`.'),
  sql: text('a SELECT')
    .optional()
    .describe(
      'In place of `select`: a SELECT over `from` that gives a column `bucket`, and those of `by`. It is given the rows of whole buckets.',
    ),
  partition: choice(['hour', 'day', 'month'])
    .optional()
    .describe("Width of the table's partitions; by default what fits the bucket."),
  retain: duration({ min: 3_600_000, max: 1000 * 365 * 86_400_000 })
    .optional()
    .describe('How long rows are kept. Left out: for ever.'),
})

/** The plan of one rollup, or everything that is wrong with it. */
export function planRollup(
  name: string,
  words: unknown,
  key: string,
  { sources, mistakesOf }: PartContext,
): RollupPlan | Mistake[] {
  const read = rollupSettings.safeParse(words)
  if (!read.success) return mistakesOf(read.error, { schema: rollupSettings, under: ['rollups', name] })
  const { bucket: width, by = [], select: aggregates, where, sql, partition, retain } = read.data
  const mistakes: Mistake[] = []
  const from = sources.find(read.data.from, `${key}.from`, ['streams', 'rollups'])
  if (typeof from !== 'string') mistakes.push(from)
  if ((aggregates === undefined) === (sql === undefined)) mistakes.push(mistake(key, 'needs either "select" or "sql"'))
  if (sql !== undefined && where !== undefined)
    mistakes.push(mistake(`${key}.where`, 'has no meaning with "sql": write it there'))
  if (by.includes('bucket') || aggregates?.['bucket'] !== undefined)
    mistakes.push(mistake(key, 'the name "bucket" is taken by the start of the bucket'))
  const twice = by.find((column) => aggregates?.[column] !== undefined)
  if (twice !== undefined) mistakes.push(mistake(`${key}.select`, `${quoted(twice)} is in "by" already`))
  if (typeof from !== 'string' || mistakes.length > 0) return mistakes
  const time = sources.isRollup(from) ? 'bucket' : '_event_time'
  return {
    name,
    from,
    bucket: width,
    sql: sql ?? selectOf({ from, by, aggregates: aggregates!, where, bucket: bucketOf(width, time) }),
    by,
    partition: { unit: partition ?? partitionFor(width) },
    ...(retain !== undefined && { retainMs: retain }),
  }
}

/** The SQL expression of the bucket that a time is in. Widths in milliseconds count from Monday, 2000-01-03. */
export function bucketOf(width: RollupPlan['bucket'], time: string): string {
  const interval = 'ms' in width ? `INTERVAL ${width.ms / 1000} SECOND` : `INTERVAL ${width.count} ${width.unit}`
  return `time_bucket(${interval}, ${time}, TIMESTAMPTZ '${'ms' in width ? '2000-01-03' : '2000-01-01'} 00:00:00+00')`
}

/** Rollups of rollups whose buckets are not made of whole ones of their source. */
export function widthMistakes(rollups: Readonly<Record<string, RollupPlan>>): Mistake[] {
  return Object.values(rollups).flatMap(({ name, from, bucket: width }) => {
    const source = Object.hasOwn(rollups, from) ? rollups[from] : undefined
    if (source === undefined || isWhole(width, source.bucket)) return []
    const reason = `must be made of whole buckets of ${quoted(from)}, which are ${widthText(source.bucket)}; not ${widthText(width)}`
    return [mistake(keyPath('rollups', name, 'bucket'), reason)]
  })
}

const dayMs = 86_400_000

/** Whether each bucket of `width` is made of whole ones of `part`. */
function isWhole(width: RollupPlan['bucket'], part: RollupPlan['bucket']): boolean {
  if ('ms' in part) return ('ms' in width ? width.ms : dayMs) % part.ms === 0
  return !('ms' in width) && monthsOf(width) % monthsOf(part) === 0
}

function monthsOf({ unit, count }: Exclude<RollupPlan['bucket'], { ms: number }>): number {
  return unit === 'year' ? 12 * count : count
}

/** The width of a bucket, for people. */
export function widthText(width: RollupPlan['bucket']): string {
  return 'ms' in width ? `${width.ms / 1000} seconds` : `${width.count} ${width.unit}${width.count === 1 ? '' : 's'}`
}

/** A quoted SQL identifier. */
const identifier = (name: string): string => `"${name.replaceAll('"', '""')}"`

function selectOf(parts: {
  from: string
  by: readonly string[]
  aggregates: Record<string, string>
  where: string | undefined
  bucket: string
}): string {
  const groups = parts.by.map(identifier)
  const columns = Object.entries(parts.aggregates).map(([name, expression]) => `${expression} AS ${identifier(name)}`)
  const condition = parts.where === undefined ? '' : ` WHERE (${parts.where})`
  return `SELECT ${[`${parts.bucket} AS bucket`, ...groups, ...columns].join(', ')} FROM ${identifier(parts.from)}${condition} GROUP BY ALL`
}

function partitionFor(width: RollupPlan['bucket']): 'day' | 'month' {
  return 'ms' in width && width.ms < 3_600_000 ? 'day' : 'month'
}
