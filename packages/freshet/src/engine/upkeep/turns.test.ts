import { expect, test } from 'vitest'
import { UpkeepTurns } from './turns.ts'

const stop = new AbortController().signal

/** A pass that runs until it is told to end, and notes what happens to it. */
function passUntil(log: string[], name: string, end: Promise<void>): (signal: AbortSignal) => Promise<void> {
  return async (signal) => {
    log.push(`${name} begins`)
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
    await Promise.race([end, aborted])
    log.push(`${name} ${signal.aborted ? 'is interrupted' : 'ends'}`)
    signal.throwIfAborted()
  }
}

test('a hold interrupts the pass that runs, waits until it has ended, and lets it begin anew', async () => {
  const turns = new UpkeepTurns()
  const log: string[] = []
  const end = Promise.withResolvers<void>()
  const pass = turns.pass(stop, passUntil(log, 'a pass', end.promise))
  await expect.poll(() => log).toEqual(['a pass begins'])
  const held = Promise.withResolvers<void>()
  const hold = turns.hold(async () => {
    log.push('held')
    await held.promise
    log.push('released')
    return 17
  })
  await expect.poll(() => log).toContain('held')
  const second = turns.pass(stop, passUntil(log, 'another', end.promise))
  await new Promise((resolve) => setImmediate(resolve))
  expect(log).toEqual(['a pass begins', 'a pass is interrupted', 'held'])
  held.resolve()
  expect(await hold).toBe(17)
  await expect.poll(() => log.filter((line) => line.endsWith('begins'))).toHaveLength(2)
  end.resolve()
  await Promise.all([pass, second])
  expect(log.slice(3)).toHaveLength(5)
  expect(log).toEqual(expect.arrayContaining(['a pass ends', 'another ends']))
})

test('holds take turns, and no pass comes between those that wait', async () => {
  const turns = new UpkeepTurns()
  const log: string[] = []
  const hold = (name: string) =>
    turns.hold(async () => {
      log.push(`${name} in`)
      await new Promise((resolve) => setImmediate(resolve))
      log.push(`${name} out`)
    })
  const first = hold('first')
  const pass = turns.pass(stop, async () => void log.push('pass'))
  await Promise.all([first, hold('second'), pass])
  expect(log).toEqual(['first in', 'first out', 'second in', 'second out', 'pass'])
})

test('a hold that fails lets go, and a pass that fails fails', async () => {
  const turns = new UpkeepTurns()
  await expect(turns.hold(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  await expect(turns.pass(stop, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken')
  await turns.idle()
})

test('a stop ends a pass that runs, and one that waits for a hold', async () => {
  const turns = new UpkeepTurns()
  const stopped = new AbortController()
  const held = Promise.withResolvers<void>()
  const hold = turns.hold(() => held.promise)
  const waiting = turns.pass(stopped.signal, async () => expect.unreachable())
  await new Promise((resolve) => setImmediate(resolve))
  stopped.abort(new Error('over'))
  held.resolve()
  await Promise.all([hold, waiting])
  await turns.pass(stopped.signal, async () => expect.unreachable())
  await expect(
    turns.pass(stop, async (signal) => {
      expect(signal.aborted).toBe(false)
      throw new Error('its own')
    }),
  ).rejects.toThrow('its own')
})
