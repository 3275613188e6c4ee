import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Lineage, type FormerFile } from './lineage.ts'

let dir: string
let path: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'freshet-lineage-'))
  path = join(dir, 'lineage')
})

afterEach(() => rmSync(dir, { recursive: true }))

const from = (keys: string, partition?: number): FormerFile[] => keys.split('').map((key) => ({ key, partition }))
const set = (keys: string): Set<string> => new Set(keys.split(''))

test('a file is present as long as all that came of it is, through any number of steps', () => {
  const lineage = new Lineage(path)
  lineage.add(from('ab'), ['K', 'L'], set('KL'))
  lineage.add(from('KL'), ['M'], set('M'))
  for (const known of [lineage, new Lineage(path)]) {
    expect(known.of(set('M')).endsOf('a')).toEqual(['M'])
    expect(known.of(set('KL')).endsOf('b')).toEqual(['K', 'L'])
    expect(known.of(set('K')).isPresent('a')).toBe(false)
    expect(known.of(set('a')).endsOf('a')).toEqual(['a'])
    expect(known.of(set('M')).isPresent('z')).toBe(false)
  }
})

test('a file is covered by all that it was made of, in the partition that is asked for', () => {
  const lineage = new Lineage(path)
  lineage.add([...from('ab', 1), ...from('c', 2), ...from('d')], ['K'], set('K'))
  const known = lineage.of(set('K'))
  expect(known.isCovered('K', 1, set('abd'))).toBe(true)
  expect(known.isCovered('K', 1, set('ab'))).toBe(false)
  expect(known.isCovered('K', 2, set('cd'))).toBe(true)
  expect(known.isCovered('K', 3, set('d'))).toBe(true)
  expect(known.isCovered('K', 3, set('K'))).toBe(true)
  expect(known.isCovered('x', 1, set('abcd'))).toBe(false)
})

test('what others were made of entirely goes by the names of these', () => {
  const lineage = new Lineage(path)
  lineage.add(from('ab'), ['K'], set('K'))
  lineage.add(from('Kc'), ['L'], set('L'))
  expect(lineage.of(set('L')).renamed(['a', 'b', 'c', 'x'])).toEqual(['x', 'L'])
  expect(lineage.of(set('L')).renamed(['a', 'c'])).toEqual(['a', 'c'])
  // A roll-back has brought them back.
  expect(lineage.of(set('abc')).renamed(['a', 'b', 'c'])).toEqual(['a', 'b', 'c'])
})

test('what leads nowhere is forgotten, and the oldest where there is too much; what is left is still there', () => {
  const lineage = new Lineage(path, { filesMax: 20 })
  for (let step = 0; step < 30; step++) {
    lineage.add(
      [
        { key: `a${step}`, partition: 0 },
        { key: `b${step}`, partition: 0 },
      ],
      [`k${step}`],
      set(''),
    )
    const table = new Set(Array.from({ length: step + 1 }, (_, index) => `k${index}`))
    lineage.add([{ key: `c${step}`, partition: 0 }], [`d${step}`], table)
  }
  const table = new Set(Array.from({ length: 30 }, (_, index) => `k${index}`))
  for (const known of [lineage, new Lineage(path)]) {
    expect(known.of(table).endsOf('a29')).toEqual(['k29'])
    expect(known.of(table).isPresent('a0')).toBe(false)
  }
  expect(readFileSync(path, 'utf8').split('\n').length).toBeLessThan(40)
})

test('a folder that cannot be written costs the memory of the next process, no more', () => {
  const lineage = new Lineage(join(dir, 'nowhere', 'lineage'))
  lineage.add(from('ab'), ['K'], set('K'))
  expect(lineage.of(set('K')).isPresent('a')).toBe(true)
})
