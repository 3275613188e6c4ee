import { expect, test } from 'vitest'
import { z } from 'zod'
import { linesOf } from '../../test/support/config-mistakes.ts'
import { checkConfig } from './check.ts'
import { section, text } from './readers.ts'

const streams = { trades: {}, arrivals: {} }
const bars = { from: 'trades', bucket: '1 minute', select: { trades: 'count(*)' } }
const sinkKinds = { mail: { settings: section({ to: text('an address'), note: z.unknown().optional() }) } }

test('a part that is no object of named ones', () => {
  expect(linesOf({ streams, rollups: [bars] })).toEqual(['rollups: must be an object of rollups by name, not an array'])
  expect(linesOf({ streams, sinks: 7 })).toEqual(['sinks: must be an object of sinks by name, not 7'])
})

test('a rollup is read by its name in SQL, as a stream is: it cannot have a name that is taken', () => {
  expect(linesOf({ streams, rollups: { trades: bars } })).toEqual(['rollups.trades: a stream has this name already'])
  expect(linesOf({ streams, rollups: { freshet: bars } })).toEqual([
    expect.stringContaining('rollups.freshet: the name is reserved'),
  ])
  expect(linesOf({ streams, rollups: { 'Bars 1m': bars } })).toEqual([
    expect.stringContaining('did you mean "bars_1m"?'),
  ])
})

test('rollups of rollups end somewhere', () => {
  const rollups = { a: { ...bars, from: 'b' }, b: { ...bars, from: 'a' } }
  expect(linesOf({ streams, rollups })).toEqual(['rollups.a.from: goes round in a circle: a from b from a'])
})

test('a sink is checked by the settings of its kind, under its own keys', () => {
  const sinks = { post: { kind: 'mail', from: 'trades', to: '', tp: 'x' } }
  expect(linesOf({ streams, sinks }, { sinkKinds })).toEqual([
    'sinks.post.to: must be an address, not ""',
    'sinks.post.tp: unknown key; did you mean "to"?',
  ])
  expect(linesOf({ streams, sinks: { post: { kind: 'maill', from: 'trades' } } }, { sinkKinds })).toEqual([
    'sinks.post.kind: there is no kind of sink "maill" (known: mail); did you mean "mail"?',
  ])
})

test('functions of a sink stay in the file, and are known by their names', () => {
  const sinks = { post: { kind: 'mail', from: 'trades', to: 'a@b', note: () => 'hello' } }
  const plan = checkConfig({ streams, sinks }, { baseDir: '/project', mode: 'start', sinkKinds })
  expect(plan.sinks['post']).toEqual({
    name: 'post',
    kind: 'mail',
    from: 'trades',
    start: 'all',
    options: { to: 'a@b' },
    functions: ['note'],
  })
  expect(() => structuredClone(plan)).not.toThrow()
})
