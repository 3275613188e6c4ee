import { expect, test } from 'vitest'
import { z } from 'zod'
import { linesOf } from '../../test/support/config-mistakes.ts'
import { checkConfig } from './check.ts'
import { mistake } from './mistakes.ts'
import { section, text } from './readers.ts'
import type { SinkKinds } from './sinks.ts'

const streams = { trades: {} }
const sinkKinds: SinkKinds = {
  mail: {
    settings: section({
      to: text('an address').optional(),
      cc: text('an address').optional(),
      note: z.unknown().optional(),
    }),
    check: ({ to, cc }) => (to === undefined && cc === undefined ? [mistake('to', 'is missing, and `cc` too')] : []),
  },
}

const linesFor = (words: unknown): string[] => linesOf({ streams, sinks: { post: words } }, { sinkKinds })

test('what is no sink, or of no kind', () => {
  expect(linesFor('mail')).toEqual(['sinks.post: must be a sink, such as sink.postgres({ ... }), not "mail"'])
  expect(linesFor({ from: 'trades' })).toEqual(['sinks.post.kind: is missing (known: mail)'])
  expect(linesFor({ kind: 7, from: 'trades' })).toEqual(['sinks.post.kind: there is no kind of sink 7 (known: mail)'])
  expect(linesFor({ kind: 'constructor', from: 'trades' })).toEqual([
    'sinks.post.kind: there is no kind of sink "constructor" (known: mail)',
  ])
})

test('everything that is wrong is told at once: the stream, the start, and the settings', () => {
  expect(linesFor({ kind: 'mail', from: 'tradse', start: 'now', to: 7 })).toEqual([
    expect.stringMatching(/^sinks\.post\.from: .*"tradse".*did you mean "trades"\?$/),
    expect.stringMatching(/^sinks\.post\.start: must be one of "all", "new", not "now"/),
    'sinks.post.to: must be an address, not 7',
  ])
  expect(linesFor({ kind: 'mail', to: 'a@b' })).toEqual([expect.stringMatching(/^sinks\.post\.from: /)])
})

test('settings that do not go together are told under their keys', () => {
  expect(linesFor({ kind: 'mail', from: 'trades' })).toEqual(['sinks.post.to: is missing, and `cc` too'])
})

test('a sink has all that the stream has, unless it says otherwise', () => {
  const planned = (start: object): unknown =>
    checkConfig(
      { streams, sinks: { post: { kind: 'mail', from: 'trades', to: 'a@b', ...start } } },
      { baseDir: '/project', mode: 'start', sinkKinds },
    ).sinks['post']
  expect(planned({})).toMatchObject({ start: 'all', options: { to: 'a@b' } })
  expect(planned({ start: 'new' })).toMatchObject({ start: 'new', options: { to: 'a@b' } })
})
