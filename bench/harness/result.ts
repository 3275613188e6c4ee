/** What a benchmark hands back, and how it is shown. */
import { table } from '../../examples/quickstart/report.ts'
import { rounded } from './statistics.ts'

export interface Result {
  name: string
  value: number
  unit: string
  /** The best that could be had, measured in the same run; null where the table of goals has none. */
  limit: { name: string; value: number } | null
  /** Value against limit; null without one. */
  ratio: number | null
  /** What was hoped for, and whether it was reached; it decides nothing. */
  goal: { text: string; met: boolean }
  /** More figures, by name. */
  details: Record<string, unknown>
}

export function resultTable(results: readonly Result[]): string {
  return table(
    ['benchmark', 'value', 'unit', 'limit', 'ratio', 'goal', ''],
    results.map(({ name, value, unit, limit, ratio, goal }) => [
      name,
      figure(value),
      unit,
      limit === null ? '' : `${figure(limit.value)} (${limit.name})`,
      ratio === null ? '' : ratio.toFixed(2),
      goal.text,
      goal.met ? 'met' : 'missed',
    ]),
    { right: [1, 4] },
  )
}

function figure(value: number): string {
  return rounded(value).toLocaleString('en-US', { maximumSignificantDigits: 12 })
}
