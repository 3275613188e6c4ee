import { expect, test } from 'vitest'
import { checkConfig } from '../../config/check.ts'
import { ownDatabaseLimits } from './own-database.ts'

const MiB = 2 ** 20

function limitsOf(words: object): ReturnType<typeof ownDatabaseLimits> {
  return ownDatabaseLimits(checkConfig(words, { baseDir: '/srv', cwd: '/srv', mode: 'start', overrides: {} }))
}

test('what DuckDB may count is a third of the setting', () => {
  expect(limitsOf({})).toMatchObject({ memoryBytes: 256 * MiB })
  expect(limitsOf({ upkeep: { memory: '6 GiB' }, engine: { spill: '9 GiB' } })).toMatchObject({
    memoryBytes: 2048 * MiB,
    spillBytesMax: 9 * 1024 * MiB,
  })
})

test('it has half of the threads, as far as each has the memory it needs, and always one', () => {
  expect(limitsOf({ engine: { threads: 16 } }).threads).toBe(1)
  expect(limitsOf({ engine: { threads: 16 }, upkeep: { memory: '3 GiB' } }).threads).toBe(5)
  expect(limitsOf({ engine: { threads: 16 }, upkeep: { memory: '64 GiB' } }).threads).toBe(8)
  expect(limitsOf({ engine: { threads: 1 }, upkeep: { memory: '640 MiB' } }).threads).toBe(1)
})
