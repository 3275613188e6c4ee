import { describe, expect, test } from 'vitest'
import { openingBellMs, parseTrades, readSample, venueNames } from './sample.ts'

describe('the sample', () => {
  test('holds 50,000 trades of all twelve venues, in the order of the day', () => {
    const trades = readSample()
    expect(trades).toHaveLength(50_000)
    expect([...new Set(trades.map((trade) => trade.venue))].toSorted()).toEqual(Object.keys(venueNames))
    const times = trades.map((trade) => Date.parse(trade.at))
    expect(times.every((time, index) => index === 0 || time >= times[index - 1]!)).toBe(true)
    expect(times.filter((time) => time < openingBellMs)).toHaveLength(2835)
  })

  test('gives every trade an id of its own, also where a line occurs twice', () => {
    const trades = readSample()
    expect(new Set(trades.map((trade) => trade.id)).size).toBe(trades.length)
    expect(new Set(trades.map((trade) => JSON.stringify({ ...trade, id: undefined }))).size).toBeLessThan(trades.length)
  })

  test('reads a line as New York time and dollars', () => {
    expect(parseTrades('34200000,1677400,199,P,20002000,1\n')).toEqual([
      {
        id: 'P-1',
        symbol: 'SPY',
        venue: 'P',
        price: 167.74,
        size: 199,
        condition: '20002000',
        suspicious: true,
        at: '2013-10-07T13:30:00.000Z',
      },
    ])
  })

  test.each([
    ['too few fields', '34200000,1677400,199,P,20002000'],
    ['a price that is no number', '34200000,x,199,P,20002000,0'],
    ['an unknown venue', '34200000,1677400,199,A,20002000,0'],
    ['a time past midnight', '86400000,1677400,199,P,20002000,0'],
    ['an empty line', ''],
  ])('refuses %s and names the line', (_, line) => {
    expect(() => parseTrades(`34200000,1677400,199,P,20002000,0\n${line}\n`)).toThrow(
      /line 2 of the sample is not a trade/,
    )
  })
})
