import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { silentLogger } from '../runtime/logging.ts'
import { stopOnSignals } from './signals.ts'

let now: number
let remove: () => void
const stop = vi.fn<() => Promise<void>>(async () => {})
const force = vi.fn<() => void>()

beforeEach(() => {
  now = 1000
  vi.spyOn(performance, 'now').mockImplementation(() => now)
  remove = stopOnSignals({ stop, force, logger: silentLogger })
})

afterEach(() => {
  remove()
  vi.restoreAllMocks()
  stop.mockClear()
  force.mockClear()
})

test('the first signal stops the server, once, however often wrappers pass the same Ctrl-C on', () => {
  process.emit('SIGINT', 'SIGINT')
  now += 20
  process.emit('SIGINT', 'SIGINT')
  now += 20
  process.emit('SIGTERM', 'SIGTERM')
  expect(stop).toHaveBeenCalledTimes(1)
  expect(force).not.toHaveBeenCalled()
})

test('a second signal of its own forces it', () => {
  process.emit('SIGINT', 'SIGINT')
  now += 2000
  process.emit('SIGINT', 'SIGINT')
  expect(stop).toHaveBeenCalledTimes(1)
  expect(force).toHaveBeenCalledTimes(1)
})

test('handlers are gone once the server has stopped', () => {
  const before = process.listenerCount('SIGTERM')
  remove()
  expect(process.listenerCount('SIGTERM')).toBe(before - 1)
})
