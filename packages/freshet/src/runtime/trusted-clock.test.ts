import { expect, test } from 'vitest'
import { jumpMsMax, TrustedClock, waitMs } from './trusted-clock.ts'

const startMs = Date.parse('2026-01-01T00:00:00Z')
const hourMs = 3_600_000
const dayMs = 24 * hourMs
const yearMs = 365 * dayMs

test('a clock that goes on is believed, however long the process runs', () => {
  const clock = new TrustedClock(undefined)
  for (let ms = 0; ms < 100 * dayMs; ms += hourMs) {
    expect(clock.look(startMs + ms, ms, startMs)).toEqual({ nowMs: startMs + ms })
  }
  expect(clock.seenMs).toBe(startMs + 100 * dayMs - hourMs)
})

test('a jump of years is not believed before the clock has stood by it for a day', () => {
  const clock = new TrustedClock(startMs)
  const later = startMs + 10 * yearMs
  expect(clock.look(later, 0, undefined)).toEqual({
    reason: expect.stringMatching(/3650\.0 days after the last time that was seen; .* in 24 hours/),
  })
  for (let ms = hourMs; ms < waitMs; ms += hourMs)
    expect(clock.look(later + ms, ms, undefined)).toHaveProperty('reason')
  expect(clock.seenMs).toBe(startMs)
  expect(clock.look(later + waitMs, waitMs, undefined)).toEqual({ nowMs: later + waitMs })
  expect(clock.seenMs).toBe(later + waitMs)
})

test('a clock that is mended within the day is believed again at once', () => {
  const clock = new TrustedClock(startMs)
  expect(clock.look(startMs + yearMs, 0, undefined)).toHaveProperty('reason')
  expect(clock.look(startMs + hourMs, hourMs, undefined)).toEqual({ nowMs: startMs + hourMs })
  expect(clock.look(startMs + yearMs, 2 * hourMs, undefined)).toEqual({
    reason: expect.stringContaining('in 24 hours'),
  })
})

test('a second jump begins the wait anew', () => {
  const clock = new TrustedClock(startMs)
  clock.look(startMs + yearMs, 0, undefined)
  expect(clock.look(startMs + 5 * yearMs, 20 * hourMs, undefined)).toEqual({
    reason: expect.stringContaining('in 24 hours'),
  })
  expect(clock.look(startMs + 5 * yearMs + 5 * hourMs, 25 * hourMs, undefined)).toHaveProperty('reason')
})

test('a clock that goes back is followed, and what was seen is not forgotten', () => {
  const clock = new TrustedClock(startMs)
  expect(clock.look(startMs - yearMs, 0, undefined)).toEqual({ nowMs: startMs - yearMs })
  expect(clock.seenMs).toBe(startMs)
  expect(clock.look(startMs + jumpMsMax, hourMs, undefined)).toEqual({ nowMs: startMs + jumpMsMax })
})

test('without a history, the newest commit says what time has passed', () => {
  expect(new TrustedClock(undefined).look(startMs, 0, startMs - hourMs)).toEqual({ nowMs: startMs })
  expect(new TrustedClock(undefined).look(startMs, 0, startMs - yearMs)).toHaveProperty('reason')
})
