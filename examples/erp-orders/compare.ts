/** Compares what was found with what is expected, and says where the first difference is. */
import type { Row } from './final-state.ts'

export interface Comparison {
  expected: number
  found: number
  missing: number
  unexpected: number
  /** There, but with other values. */
  different: number
  /** The first difference, in words. */
  example?: string
}

export function agrees({ missing, unexpected, different }: Comparison): boolean {
  return missing + unexpected + different === 0
}

/** Compares the rows of two tables, by key and column by column. */
export function compareRows(expected: ReadonlyMap<string, Row>, found: ReadonlyMap<string, Row>): Comparison {
  const differences: string[] = []
  const count = { missing: 0, unexpected: 0, different: 0 }
  for (const [key, row] of expected) {
    const other = found.get(key)
    if (other === undefined) {
      count.missing++
      differences.push(`${key} is missing`)
      continue
    }
    const columns = new Set([...Object.keys(row), ...Object.keys(other)])
    const wrong = [...columns].filter((column) => row[column] !== other[column])
    if (wrong.length === 0) continue
    count.different++
    const [column = ''] = wrong
    differences.push(`${key}: ${column} is ${show(other[column])} and should be ${show(row[column])}`)
  }
  for (const key of found.keys()) {
    if (expected.has(key)) continue
    count.unexpected++
    differences.push(`${key} should not be there`)
  }
  return { expected: expected.size, found: found.size, ...count, ...exampleOf(differences) }
}

/** Compares two lists whose order does not matter, but how often each text is in them. */
export function compareTexts(expected: readonly string[], found: readonly string[]): Comparison {
  const left = new Map<string, number>()
  for (const text of expected) left.set(text, (left.get(text) ?? 0) + 1)
  const unexpected: string[] = []
  for (const text of found) {
    const count = left.get(text) ?? 0
    if (count > 0) left.set(text, count - 1)
    else unexpected.push(text)
  }
  const missing = [...left].flatMap(([text, count]) => Array<string>(count).fill(text))
  return {
    expected: expected.length,
    found: found.length,
    missing: missing.length,
    unexpected: unexpected.length,
    different: 0,
    ...exampleOf([
      ...missing.map((text) => `"${text.trimEnd()}" is missing`),
      ...unexpected.map((text) => `"${text.trimEnd()}" is there too often`),
    ]),
  }
}

function exampleOf([example]: readonly string[]): { example?: string } {
  return example === undefined ? {} : { example }
}

function show(value: unknown): string {
  return value === undefined ? 'not there' : JSON.stringify(value)
}
