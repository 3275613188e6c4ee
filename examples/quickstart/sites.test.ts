import { describe, expect, test } from 'vitest'
import { openingBellMs, readSample } from './sample.ts'
import { planSites, wrongTrade, type Delivery } from './sites.ts'

const trades = readSample()
const sites = planSites(trades)
const fresh = (delivery: Delivery): Delivery['trades'] => delivery.trades.slice(delivery.resent)

describe('what the sites send', () => {
  test('is every trade once, apart from what is sent again', () => {
    const sent = sites.flatMap((site) => site.deliveries.flatMap(fresh)).map((trade) => trade.id)
    expect(sent.toSorted()).toEqual(trades.map((trade) => trade.id).toSorted())
  })

  test('comes from twelve sites, each with the trades of its own venue and an unbroken sequence', () => {
    expect(sites).toHaveLength(12)
    for (const { venue, deliveries } of sites) {
      expect(deliveries.flatMap((delivery) => delivery.trades).every((trade) => trade.venue === venue)).toBe(true)
      expect(deliveries.map((delivery) => delivery.sequence)).toEqual(deliveries.map((_, index) => index))
      expect(deliveries.every((delivery) => delivery.trades.length > 0)).toBe(true)
    }
  })

  test('sends again only what went out before', () => {
    for (const { deliveries } of sites) {
      const seen = new Set<string>()
      for (const delivery of deliveries) {
        expect(delivery.trades.slice(0, delivery.resent).every((trade) => seen.has(trade.id))).toBe(true)
        for (const trade of fresh(delivery)) seen.add(trade.id)
      }
    }
  })

  test('has batches that go out twice, and trades from before the opening bell that come last', () => {
    for (const { deliveries } of sites) {
      expect(deliveries.some((delivery) => delivery.sentTwice)).toBe(true)
      const firstLate = deliveries.findIndex((delivery) => delivery.late)
      expect(deliveries.slice(firstLate).every((delivery) => delivery.late)).toBe(true)
      const onTime = deliveries.slice(0, firstLate).flatMap((delivery) => delivery.trades)
      expect(onTime.every((trade) => Date.parse(trade.at) >= openingBellMs)).toBe(true)
    }
    const late = sites.flatMap((site) => site.deliveries.filter((delivery) => delivery.late).flatMap(fresh))
    expect(late).toHaveLength(2835)
  })

  test('holds one event that does not fit the schema', () => {
    expect(wrongTrade(trades[0]!)).toMatchObject({ price: '167.41 USD' })
  })
})
