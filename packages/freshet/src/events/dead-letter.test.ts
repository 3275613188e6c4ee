import { describe, expect, test } from 'vitest'
import type { AppendBatch } from '../log/log.ts'
import {
  appendDeadLetters,
  deadLetterLine,
  deadLettersOf,
  deadLetterStream,
  letterBytesMax,
  letteredStream,
  letterId,
  type DeadLetter,
} from './dead-letter.ts'

const letter: DeadLetter = {
  stream: 'orders',
  stage: 'load',
  code: 'unreadable',
  message: 'no good',
  event: '{"a":1}',
  position: 17n,
  eventId: 'e-1',
  failedAtMs: Date.parse('2026-11-20T12:00:00.000Z'),
  eventTime: '2026-11-20T11:00:00.123456Z',
  receivedAt: '2026-11-20T11:00:01.000Z',
}

test('names of streams and of their letters', () => {
  expect(deadLettersOf('orders')).toBe('orders_dead_letters')
  expect(letteredStream('orders_dead_letters')).toBe('orders')
  for (const name of ['orders', 'dead_letters', '_dead_letters', 'Orders_dead_letters'])
    expect(letteredStream(name)).toBeUndefined()
  expect(deadLetterStream('orders', 5)).toMatchObject({ name: 'orders_dead_letters', id: '_event_id', retainMs: 5 })
  expect(deadLetterStream('orders')).not.toHaveProperty('retainMs')
})

describe('a letter is known by where it failed', () => {
  test.each<[Partial<DeadLetter>, string]>([
    [{}, 'load:17'],
    [{ stage: 'transform', consumer: 'transform:legacy' }, 'transform:legacy:e-1'],
    [{ stage: 'sink', consumer: 'sink:crm' }, 'sink:crm:e-1'],
    [{ stage: 'door', place: 'p:4:0' }, 'door:p:4:0'],
  ])('%j', (changes, id) => {
    expect(letterId({ ...letter, ...changes })).toBe(id)
  })

  test('in no more bytes than an id may have, and still apart from others', () => {
    const long = (end: string): string =>
      letterId({ ...letter, stage: 'sink', consumer: 'sink:crm', eventId: `${'é'.repeat(255)}${end}` })
    expect(Buffer.byteLength(long('a'))).toBeLessThanOrEqual(512)
    expect(long('a')).toMatch(/^sink:crm:sha256-/)
    expect(long('a')).not.toBe(long('b'))
  })

  test('one that says nothing is a mistake of ours', () => {
    const { position: _, eventId: __, ...nothing } = letter
    expect(() => letterId({ ...nothing, stage: 'door' })).toThrow(/known again/)
  })
})

test('the line has the system columns in front, and text that can be stored', () => {
  const odd = { ...letter, message: 'half \ud800', event: 'x\u0000"\n', source: 's', stack: 'y'.repeat(100_000) }
  const line = deadLetterLine(odd)
  expect(line).toMatch(
    /^\{"_event_id":"load:17","_event_time":"2026-11-20T11:00:00.123456Z","_received_at":"2026-11-20T11:00:01.000Z","_source":"s","stage":"load"/,
  )
  expect(line.endsWith('\n')).toBe(true)
  expect(line.indexOf('\n')).toBe(line.length - 1)
  const read = JSON.parse(line) as Record<string, string>
  expect(read).toMatchObject({ message: 'half \ufffd', event: odd.event, position: 17, event_id: 'e-1' })
  expect(read['stack']).toHaveLength(16_384)
  expect(read['failed_at']).toBe('2026-11-20T12:00:00.000Z')
})

test('the longest event fits into a line, whatever it is made of', () => {
  const event = '\u0001'.repeat(100_000)
  const full = {
    ...letter,
    event,
    message: '\u0001'.repeat(9000),
    stack: '\u0001'.repeat(99_000),
    path: '/'.repeat(9000),
  }
  expect(Buffer.byteLength(deadLetterLine(full))).toBeLessThanOrEqual(letterBytesMax(100_000))
})

test('letters are appended by stream, source and hour, as the ledger counts them', async () => {
  const appended: [string, Omit<AppendBatch, 'lines'> & { lines: string }][] = []
  const log = {
    append: async (stream: string, { lines, ...batch }: AppendBatch) => {
      appended.push([stream, { ...batch, lines: Buffer.concat(lines).toString() }])
      return { from: 0n, position: 0n, duplicate: false }
    },
  }
  const later = { ...letter, position: 20n, receivedAt: '2026-11-20T11:59:00.000Z' }
  const letters = [
    letter,
    later,
    { ...letter, position: 30n, receivedAt: '2026-11-20T12:00:00.000Z' },
    { ...letter, position: 40n, source: 'site-1' },
    { ...letter, stream: 'trades', position: 50n },
  ]
  await appendDeadLetters(log, letters)
  expect(appended.map(([stream, { count, receivedAtMs, source }]) => [stream, count, receivedAtMs, source])).toEqual([
    ['orders_dead_letters', 2, Date.parse(later.receivedAt), undefined],
    ['orders_dead_letters', 1, Date.parse('2026-11-20T12:00:00.000Z'), undefined],
    ['orders_dead_letters', 1, Date.parse(letter.receivedAt), 'site-1'],
    ['trades_dead_letters', 1, Date.parse(letter.receivedAt), undefined],
  ])
  expect(appended[0]![1].lines).toBe(deadLetterLine(letter) + deadLetterLine(later))
})

test('many letters are appended in pieces', async () => {
  const counts: number[] = []
  const log = {
    append: async (_: string, { count }: AppendBatch) => {
      counts.push(count)
      return { from: 0n, position: 0n, duplicate: false }
    },
  }
  const event = 'x'.repeat(1024 * 1024)
  await appendDeadLetters(
    log,
    Array.from({ length: 9 }, (_, at) => ({ ...letter, position: BigInt(at), event })),
  )
  expect(counts).toEqual([3, 3, 3])
})
