import { expect, test } from 'vitest'
import { patternProblem } from './pattern-safety.ts'

test.each([
  '^[A-Z]{3}$',
  '^\\d{4}-\\d{2}-\\d{2}$',
  '^([0-9a-f]{2}:){5}[0-9a-f]{2}$',
  '^(?:\\d{3}-){2}\\d{4}$',
  '^(a|b)*$',
  '^(?:buy|sell)$',
  '^\\p{L}+$',
  '^(?:cat|dog)+$',
])('%s may be used', (pattern) => {
  expect(patternProblem(pattern)).toBeUndefined()
})

test.each([
  '^(a+)+$',
  '(x*)*y',
  '^(a|a)*$',
  '^(a|ab)+$',
  '^(\\w|\\d)*$',
  '^(.|x)+$',
  '(a|b?)+',
  '^(?:[a-f]|[e-z])*$',
  '^(\\w+\\s?)*$',
])('%s could take very long, and is refused', (pattern) => {
  expect(patternProblem(pattern)).toContain('could take very long')
})

test.each(['(', '[', '\\-', '{1}'])('%s is no regular expression', (pattern) => {
  expect(patternProblem(pattern)).toContain('is not a valid regular expression')
})
