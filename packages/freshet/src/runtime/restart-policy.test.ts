import { expect, test } from 'vitest'
import { defaultRestartSettings, RestartPolicy } from './restart-policy.ts'

test('the wait before a restart doubles with each death, up to a limit', () => {
  const policy = new RestartPolicy({ ...defaultRestartSettings, loopDeaths: 100 })
  const delays = Array.from({ length: 11 }, (_, index) => policy.died(index * 100_000, undefined).delayMs)
  expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000])
})

test('five deaths within a minute are a crash loop, which is tried again only every 30 seconds', () => {
  const policy = new RestartPolicy(defaultRestartSettings)
  const loops = [0, 1, 2, 3, 4].map((at) => policy.died(at * 1000, at * 1000 - 10))
  expect(loops.map(({ loop }) => loop)).toEqual([false, false, false, false, true])
  expect(loops.at(-1)?.delayMs).toBe(30_000)
  expect(policy.died(40_000, 39_000)).toEqual({ delayMs: 30_000, loop: true })
})

test('deaths further apart than the window are no crash loop', () => {
  const policy = new RestartPolicy(defaultRestartSettings)
  const loops = Array.from({ length: 20 }, (_, index) => policy.died(index * 20_000, index * 20_000 - 10).loop)
  expect(loops).not.toContain(true)
})

test('a minute of health forgets the deaths before it', () => {
  const policy = new RestartPolicy(defaultRestartSettings)
  for (const at of [0, 1, 2, 3, 4]) policy.died(at, undefined)
  expect(policy.died(100_000, 40_000)).toEqual({ delayMs: 100, loop: false })
})
