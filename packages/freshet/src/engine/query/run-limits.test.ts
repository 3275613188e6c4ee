import { Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { bytesOf, database, rowsOf, runnerWith, textOf } from '../../../test/support/query-lab.ts'
import { FreshetError } from '../../runtime/errors.ts'

describe('limits', () => {
  test('a result with more rows than allowed ends with an error', async () => {
    const runner = runnerWith({ rowsMax: 10 })
    const result = JSON.parse(await textOf('select * from numbers', { runner })) as {
      rows: unknown[]
      error: { code: string }
    }
    expect(result.rows).toHaveLength(10)
    expect(result.error.code).toBe('result_too_large')
    expect(await rowsOf('select * from numbers limit 10', { runner })).toHaveLength(10)
  })

  test('Parquet with more rows than allowed is refused', async () => {
    const runner = runnerWith({ rowsMax: 10 })
    await expect(bytesOf('select * from numbers', { runner, format: 'parquet' })).rejects.toMatchObject({
      code: 'result_too_large',
    })
    await bytesOf('select * from numbers limit 10', { runner, format: 'parquet' })
  })

  const endless = 'select count(*) from range(10000000) a, range(10000000) b where hash(a.range + b.range) = 0'

  test.each(['json', 'parquet'] as const)(
    'a query (%s) that takes too long is stopped, and its slot is free',
    async (format) => {
      const runner = runnerWith({ timeoutMs: 50, concurrency: 1 })
      await expect(bytesOf(endless, { runner, format })).rejects.toMatchObject({ code: 'query_timeout' })
      expect(await rowsOf('select 1 as a', { runner })).toEqual([{ a: 1 }])
    },
  )

  test('the time limit holds when it strikes before the statement begins', async () => {
    const runner = runnerWith({
      timeoutMs: 20,
      context: () => ({ streams: new Set(['numbers']), systemTables: new Set(['streams']) }),
      refreshSystemTables: () => new Promise((resolve) => setTimeout(resolve, 60)),
    })
    await database.with((connection) => connection.run('CREATE TABLE IF NOT EXISTS freshet.streams (a INT)'))
    await expect(bytesOf(`${endless} and exists (from freshet.streams) or true`, { runner })).rejects.toMatchObject({
      code: 'query_timeout',
    })
  })

  test('a client that does not read cannot hold its slot beyond the time limit', async () => {
    const runner = runnerWith({ timeoutMs: 100, concurrency: 1 })
    const stalled = new Writable({ highWaterMark: 1024, write: () => undefined })
    const request = {
      sql: 'select * from numbers',
      parameters: {},
      format: 'json' as const,
      signal: new AbortController().signal,
    }
    await runner.run(request, { begin: () => stalled })
    expect(await rowsOf('select 1 as a', { runner })).toEqual([{ a: 1 }])
  })

  test('a query whose client has gone is stopped, and its slot is free', async () => {
    const runner = runnerWith({ concurrency: 1 })
    const gone = new AbortController()
    const running = bytesOf(endless, { runner, signal: gone.signal })
    await turn()
    gone.abort()
    await expect(running).rejects.toBeInstanceOf(FreshetError)
    expect(await rowsOf('select 1 as a', { runner })).toEqual([{ a: 1 }])
  })

  test('a query that waits while its client goes leaves the line', async () => {
    const runner = runnerWith({ concurrency: 1 })
    const [first, second] = [new AbortController(), new AbortController()]
    const running = bytesOf(endless, { runner, signal: first.signal })
    const waiting = bytesOf('select 1 as a', { runner, signal: second.signal })
    const last = rowsOf('select 2 as a', { runner })
    second.abort()
    await expect(waiting).rejects.toBeInstanceOf(FreshetError)
    first.abort()
    await expect(running).rejects.toBeInstanceOf(FreshetError)
    expect(await last).toEqual([{ a: 2 }])
  })

  test('only so many run and so many wait; the rest are told to come back', async () => {
    const runner = runnerWith({ concurrency: 1 })
    const gone = new AbortController()
    const asked = Array.from({ length: 66 }, () => bytesOf(endless, { runner, signal: gone.signal }))
    const outcomes = Promise.allSettled(asked)
    await expect(asked.at(-1)).rejects.toMatchObject({ code: 'too_many_queries' })
    gone.abort()
    expect((await outcomes).every(({ status }) => status === 'rejected')).toBe(true)
    expect(await rowsOf('select 1 as a', { runner })).toEqual([{ a: 1 }])
  })
})

test('a large result goes out in pieces, no faster than it is taken', async () => {
  let taken = 0
  let largest = 0
  let waiting = 0
  const out = new Writable({
    highWaterMark: 64 * 1024,
    write(piece: Buffer, _, done) {
      taken += piece.length
      largest = Math.max(largest, piece.length)
      waiting = Math.max(waiting, out.writableLength)
      setImmediate(done)
    },
  })
  const request = {
    sql: 'select n, n as m from numbers',
    parameters: {},
    format: 'ndjson' as const,
    signal: new AbortController().signal,
  }
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning)
  process.on('warning', onWarning)
  await runnerWith().run(request, { begin: () => out })
  await turn()
  process.off('warning', onWarning)
  expect(taken).toBeGreaterThan(20_000_000)
  expect(largest).toBeLessThan(256 * 1024)
  expect(waiting).toBeLessThan(512 * 1024)
  expect(out.listenerCount('close') + out.listenerCount('drain')).toBeLessThan(5)
  expect(warnings).toEqual([])
})
