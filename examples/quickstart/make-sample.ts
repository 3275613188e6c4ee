/**
 * Makes `data/spy-2013-10-07.csv.gz`, the first 50,000 trades of the day, from the file it comes from:
 *
 *     node examples/quickstart/make-sample.ts PATH/TO/spy-2013-10-07.zip
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { gzipSync, inflateRawSync } from 'node:zlib'
import { parseTrades, sampleFile } from './sample.ts'

const sampleTrades = 50_000

/**
 * The first file of a zip archive. The local header at the archive's start says where its bytes begin (APPNOTE.TXT, section
 * 4.3.7); deflate itself knows where they end.
 */
function firstFileOf(zip: Buffer): Buffer {
  const deflated = 8
  if (zip.length < 30 || zip.readUInt32LE(0) !== 0x04034b50 || zip.readUInt16LE(8) !== deflated) {
    throw new Error('this is not a zip archive that starts with a deflated file')
  }
  return inflateRawSync(zip.subarray(30 + zip.readUInt16LE(26) + zip.readUInt16LE(28)))
}

const [source] = process.argv.slice(2)
if (source === undefined) throw new Error('usage: node make-sample.ts PATH/TO/spy-2013-10-07.zip')

const lines = firstFileOf(readFileSync(source)).toString('latin1').split(/\r?\n/)
const text = `${lines.slice(0, sampleTrades).join('\n')}\n`
const trades = parseTrades(text)
writeFileSync(sampleFile, gzipSync(text, { level: 9 }))
const venues = new Set(trades.map((trade) => trade.venue))
console.log(`${sampleFile}: ${trades.length} trades of ${venues.size} venues, until ${trades.at(-1)?.at}`)
