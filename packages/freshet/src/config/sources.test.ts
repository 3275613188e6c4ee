import { describe, expect, test } from 'vitest'
import { circleMistakes, Sources } from './sources.ts'

const trades = { id: 'id' }
const bars = { from: trades }
const sources = new Sources({ streams: { trades, quotes: {} }, rollups: { bars } })

describe('what `from` means', () => {
  test('a stream by its name, or as the object that the configuration has under it', () => {
    expect(sources.find('trades', 'streams.clean.from')).toBe('trades')
    expect(sources.find(trades, 'streams.clean.from')).toBe('trades')
  })

  test('a rollup only where one is allowed', () => {
    expect(sources.find('bars', 'rollups.hours.from', ['streams', 'rollups'])).toBe('bars')
    expect(sources.find(bars, 'rollups.hours.from', ['streams', 'rollups'])).toBe('bars')
    expect(sources.find('bars', 'sinks.site.from')).toMatchObject({ key: 'sinks.site.from' })
    expect(sources.isRollup('bars')).toBe(true)
    expect(sources.isRollup('trades')).toBe(false)
  })

  test('a name that is not there is answered with the nearest', () => {
    expect(sources.find('trade', 'k')).toEqual({
      key: 'k',
      reason: 'there is no stream "trade" (there are: trades, quotes)',
      suggestion: 'trades',
    })
  })

  test('names of what every object has are no streams', () => {
    expect(sources.find('constructor', 'k')).toMatchObject({ reason: expect.stringContaining('there is no stream') })
  })

  test('a stream that was made but not put into the configuration', () => {
    expect(sources.find({ id: 'id' }, 'k')).toEqual({
      key: 'k',
      reason: 'is a stream that the configuration does not have: put it under `streams` as well',
    })
  })

  test.each([undefined, 7, null, ['trades']])('anything else is none: %o', (from) => {
    expect(sources.find(from, 'k')).toMatchObject({ reason: expect.stringContaining('must be a stream, by its name') })
  })
})

describe('circles', () => {
  const keyOf = (name: string): string => `streams.${name}.from`

  test('a chain is none', () => {
    expect(
      circleMistakes(
        new Map([
          ['b', 'a'],
          ['c', 'b'],
          ['d', 'b'],
        ]),
        keyOf,
      ),
    ).toEqual([])
  })

  test('each is told once, by one of its members, with those that lead into it left alone', () => {
    const around = new Map([
      ['a', 'b'],
      ['b', 'c'],
      ['c', 'a'],
      ['x', 'a'],
      ['self', 'self'],
    ])
    expect(circleMistakes(around, keyOf)).toEqual([
      { key: 'streams.a.from', reason: 'goes round in a circle: a from b from c from a' },
      { key: 'streams.self.from', reason: 'goes round in a circle: self from self' },
    ])
  })
})
