import { join, relative } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FileNames, nameMistake, type FileFacts } from './file-name.ts'

const facts: FileFacts = {
  stream: 'orders',
  sink: 'out',
  sequence: 7,
  from: '2026-11-20T10:00:00Z',
  to: '2026-11-20T11:00:00.5Z',
  count: 3,
  ext: 'csv.gz',
}
const time = '2026-11-20T20:29:00.123Z'

function nameFor(template: string, fields: Record<string, unknown>): string {
  const names = new FileNames(template)
  const group = names.groupOf({ time, fields })
  if (typeof group === 'object') throw new Error(group.reason)
  return names.nameOf(group, facts)
}

test('all places are filled', () => {
  const template =
    '{stream}/{sink}/{year}-{month}-{day}/{hour}/{date}_{fields.a.b}_{from}_{to}_{count}_{sequence}.{ext}'
  expect(nameMistake(template)).toBeUndefined()
  expect(nameFor(template, { a: { b: 'x' } })).toBe(
    'orders/out/2026-11-20/20/2026-11-20_x_20261120T100000Z_20261120T110000.5Z_3_00000007.csv.gz',
  )
})

test('braces in a name stay braces', () => {
  expect(nameFor('a{{{sequence}}}.{ext}', {})).toBe('a{00000007}.csv.gz')
})

test('no value of an event leads out of its folder, or into a hidden file', () => {
  const value = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('..', '.', '/', '\\', '../..', '{count}'),
  )
  const holds = fc.property(value, value, (a, b) => {
    const path = nameFor('{fields.a}/{fields.b}.{ext}', { a, b })
    const parts = path.split('/')
    expect(parts).toHaveLength(2)
    expect(relative('/out', join('/out', path))).toBe(path)
    for (const part of parts) expect(part).toMatch(/^[\w%@+=~-][\w%@+=~.-]*$/)
  })
  fc.assert(holds, { numRuns: 2000 })
})

test('different values are in different files', () => {
  const value = fc.oneof(fc.string({ maxLength: 300 }), fc.constantFrom('_', '', '%', '%5F', '.', '%2E', null, 'null'))
  const holds = fc.property(value, value, (a, b) => {
    const same = (a ?? '') === (b ?? '')
    expect(nameFor('{fields.a}', { a }) === nameFor('{fields.a}', { a: b })).toBe(same)
  })
  fc.assert(holds, { numRuns: 3000 })
})
