import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Corpus, distinctEvents, eventTime } from './corpus.ts'

interface Event {
  id: string
  at: string
  venue: string
  price: number
  line: number
  size: number
}

const corpus = new Corpus()

function events(first: number, count: number): Event[] {
  const buffer = Buffer.alloc(corpus.lineBytesMax * count)
  const end = corpus.fill(buffer, 0, first, count)
  return buffer
    .toString('latin1', 0, end)
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Event)
}

describe('the events of the benchmarks', () => {
  test('carry the id and the time of their number', () => {
    for (const first of [0, 1, 19, 20, 123_456, 4_999_990, 99_999_999]) {
      events(first, 10).forEach((event, index) => {
        expect(event.id).toBe(corpus.id(first + index))
        expect(event.at).toBe(eventTime(first + index))
      })
    }
  })

  test('are the real trades, over and over', () => {
    const [before, after] = [events(10, 3), events(50_010, 3)]
    expect(after.map(({ price, venue, line }) => [price, venue, line])).toEqual(
      before.map(({ price, venue, line }) => [price, venue, line]),
    )
    expect(after.map((event) => event.id)).not.toEqual(before.map((event) => event.id))
  })

  test('go on where the sample starts again', () => {
    const around = events(49_998, 4)
    expect(around.map((event) => event.line)).toEqual([49_999, 50_000, 1, 2])
    expect(around.map((event) => Number(event.id.slice(2)))).toEqual([49_998, 49_999, 50_000, 50_001])
  })

  test('have sizes that can be added up without making them', () => {
    const total = events(0, 50_010).reduce((all, event) => all + event.size, 0)
    expect(corpus.sizes(50_010)).toBe(total)
  })

  test('of a day that has no more room are refused', () => {
    expect(() => events(2_000_000_000, 1)).toThrow(RangeError)
  })

  test('overlap from batch to batch as the shape says, in files too', async () => {
    const shape = { events: 50, overlap: 5 }
    const folder = mkdtempSync(join(tmpdir(), 'freshet-corpus-'))
    try {
      const path = join(folder, 'events.ndjson')
      await corpus.writeFile(path, 90, 41, shape)
      const lines = readFileSync(path, 'latin1').trimEnd().split('\n')
      expect(lines).toHaveLength(41 * 50)
      expect((JSON.parse(lines[0]!) as Event).id).toBe(corpus.id(90))
      expect(new Set(lines).size).toBe(distinctEvents(41, shape))
      expect(lines.slice(45, 50)).toEqual(lines.slice(50, 55))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
