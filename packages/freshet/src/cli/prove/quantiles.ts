export interface Quantiles {
  p50: number
  p99: number
  max: number
}

/** Quantiles by nearest rank; null without values. */
export function quantilesOf(values: readonly number[]): Quantiles | null {
  if (values.length === 0) return null
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number): number => Math.round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]! * 10) / 10
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
