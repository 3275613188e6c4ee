/**
 * What each site sends, and in which order: the sample cut into batches, with the faults of a real network worked in. Nothing is
 * invented but the one event that is wrong on purpose.
 */
import { openingBellMs, type Trade } from './sample.ts'

/** How often each kind of fault comes: in every so-many-th delivery of a site. */
const sentTwiceEvery = 10
const resendsEvery = 7
/** Trades of the delivery before that such a delivery carries again. */
const resentTrades = 4
/** A site sends its trades in about this many batches, if that makes them no larger than `batchTradesMax`. */
const batchesPerSite = 25
const batchTradesMax = 250

/** One batch on its way from a site to the server. */
export interface Delivery {
  /** Number of the batch in the site's sequence, from 0. */
  sequence: number
  /** When it is sent, as a part (0 to 1) of the time the replay takes. */
  due: number
  trades: Trade[]
  /** How many of `trades`, at the front, went out before in another batch. */
  resent: number
  /** The answer to the first attempt got lost on the way, as it were: the site sends the same batch again. */
  sentTwice: boolean
  /** Made hours before what the server has seen by then. */
  late: boolean
}

/** A data centre at one exchange. */
export interface Site {
  venue: string
  deliveries: Delivery[]
}

/** Cuts trades into what each venue's site sends, venues in alphabetical order. */
export function planSites(trades: readonly Trade[]): Site[] {
  const byVenue = Map.groupBy(trades, (trade) => trade.venue)
  return [...byVenue]
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([venue, own]) => ({ venue, deliveries: planDeliveries(own) }))
}

/**
 * The trades from the opening bell on go out first, spread evenly. Those made before it were held back and come at the end, and
 * with them the site's first batch once more, as if the site had been restored from an old copy of itself.
 */
function planDeliveries(trades: readonly Trade[]): Delivery[] {
  const early = trades.filter((trade) => Date.parse(trade.at) < openingBellMs)
  const regular = trades.filter((trade) => Date.parse(trade.at) >= openingBellMs)
  const size = Math.min(batchTradesMax, Math.ceil(trades.length / batchesPerSite))
  const deliveries: Delivery[] = []
  const add = (batch: readonly Trade[], again: readonly Trade[], due: number, late: boolean): void => {
    const sequence = deliveries.length
    const sentTwice = sequence % sentTwiceEvery === sentTwiceEvery - 1
    deliveries.push({ sequence, due, trades: [...again, ...batch], resent: again.length, sentTwice, late })
  }
  const batches = cut(regular, size)
  batches.forEach((batch, index) => {
    const before = index % resendsEvery === resendsEvery - 1 ? (batches[index - 1] ?? []) : []
    add(batch, before.slice(-resentTrades), index / batches.length, false)
  })
  for (const batch of cut(early, size)) add(batch, [], 1, true)
  if (batches[0] !== undefined) add([], batches[0], 1, true)
  return deliveries
}

function cut(trades: readonly Trade[], size: number): Trade[][] {
  const batches: Trade[][] = []
  for (let at = 0; at < trades.length; at += size) batches.push(trades.slice(at, at + size))
  return batches
}

/** A trade whose price is text: the one event of the quickstart that is wrong. */
export function wrongTrade(trade: Trade): Record<string, unknown> {
  return { ...trade, id: `${trade.id}-wrong`, price: `${trade.price} USD` }
}
