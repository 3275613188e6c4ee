/** The smallest of the samples that `part` (0 to 1) of them do not exceed; NaN for no samples. */
export function quantile(samples: readonly number[], part: number): number {
  const sorted = samples.toSorted((left, right) => left - right)
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN
}
