/** Reads the sample: real trades of the ETF SPY, in the order of the file they come from (see data/README.md). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

export const sampleFile = join(import.meta.dirname, 'data', 'spy-2013-10-07.csv.gz')

/** Midnight in New York on 2013-10-07, which was four hours behind UTC; milliseconds since 1970. */
const midnightMs = Date.UTC(2013, 9, 7, 4)
const dayMs = 24 * 3600 * 1000

/** When the exchanges open, half past nine in New York; milliseconds since 1970. */
export const openingBellMs = midnightMs + 9.5 * 3600 * 1000

/** The exchanges by the letter they have in the sample, which is the one of the consolidated tape in 2013. */
export const venueNames: Readonly<Record<string, string>> = {
  B: 'NASDAQ OMX BX',
  C: 'National Stock Exchange',
  D: 'FINRA (off exchange)',
  J: 'EDGA',
  K: 'EDGX',
  M: 'Chicago Stock Exchange',
  P: 'NYSE Arca',
  Q: 'NASDAQ',
  W: 'CBOE',
  X: 'NASDAQ OMX PSX',
  Y: 'BATS Y',
  Z: 'BATS',
}

/** One trade, as the event that is sent. */
export interface Trade {
  /**
   * Venue and line number in the original file. Trades are not unique by content: the same line twice means two trades, so the
   * place in the file is all that tells them apart.
   */
  id: string
  symbol: string
  venue: string
  /** US dollars. */
  price: number
  size: number
  /** Sale conditions, a set of bits in hexadecimal. */
  condition: string
  suspicious: boolean
  /** When it was made, ISO 8601 with milliseconds. */
  at: string
}

/** The whole sample. @throws Error naming the line that is not a trade */
export function readSample(): Trade[] {
  return parseTrades(gunzipSync(readFileSync(sampleFile)).toString('latin1'))
}

/**
 * Trades from CSV without a header: milliseconds since midnight in New York, price x 10,000, size, exchange letter, sale-condition
 * bits in hexadecimal, suspicious flag.
 * @throws Error naming the line that is not a trade
 */
export function parseTrades(csv: string): Trade[] {
  const lines = csv.endsWith('\n') ? csv.slice(0, -1).split('\n') : csv.split('\n')
  return lines.map((line, index) => parseTrade(line, index + 1))
}

function parseTrade(line: string, number: number): Trade {
  const fields = line.split(',')
  const [timeMs = '', price = '', size = '', venue = '', condition = '', suspicious = ''] = fields
  const numeric = [timeMs, price, size].every((field) => /^\d{1,9}$/.test(field))
  const known = Object.hasOwn(venueNames, venue) && /^[0-9A-Fa-f]+$/.test(condition) && /^[01]$/.test(suspicious)
  if (fields.length !== 6 || !numeric || !known || Number(timeMs) >= dayMs) {
    throw new Error(`line ${number} of the sample is not a trade: ${JSON.stringify(line)}`)
  }
  return {
    id: `${venue}-${number}`,
    symbol: 'SPY',
    venue,
    price: Number(price) / 10_000,
    size: Number(size),
    condition,
    suspicious: suspicious === '1',
    at: new Date(midnightMs + Number(timeMs)).toISOString(),
  }
}
