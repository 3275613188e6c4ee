/** What SQL shows right after an engine's start: never less than before it (I4, I10), or how far it is behind. */
import { afterEach, expect, test } from 'vitest'
import type { Log } from '../../src/log/log.ts'
import { FreshetError } from '../../src/runtime/errors.ts'
import { Lab, trade, tradeEvents, until, type EngineOptions, type LabEngine } from './engine-harness.ts'

let lab: Lab
afterEach(() => lab.close())

const count = { sql: 'select count(*) as n from trades' }
const lagHeader = 'freshet-lag-bytes'

function passedOn(log: Log): Log {
  return {
    append: (...request) => log.append(...request),
    read: (...request) => log.read(...request),
    ends: (...request) => log.ends(...request),
    trim: (...request) => log.trim(...request),
    subscribe: (...request) => log.subscribe(...request),
  }
}

/** A log that cannot be read of one stream until it is mended. */
function damaged(stream: string): { options: EngineOptions; mend(): void; reads: number } {
  let isDamaged = true
  const found = {
    reads: 0,
    mend: () => void (isDamaged = false),
    options: {
      wrapLog: (log: Log): Log => ({
        ...passedOn(log),
        read: (...request) => {
          if (!isDamaged || request[0] !== stream) return log.read(...request)
          found.reads++
          return Promise.reject(new FreshetError('corrupt_log', 'A bad sector.'))
        },
      }),
    },
  }
  return found
}

async function readyz(engine: LabEngine): Promise<unknown> {
  return JSON.parse((await engine.send('GET', '/readyz')).text) as unknown
}

test('a query waits until the log that was there at the start is read, and then sees all of it', async () => {
  lab = await Lab.open({ plan: { sql: { catchUpMsMax: 3_600_000 } } })
  await lab.post('trades', tradeEvents(50))
  const log = damaged('trades')
  const engine = await lab.start(log.options)
  let answered = false
  const answers = Promise.all([engine.value(count.sql), engine.query({ sql: 'from freshet.streams' })]).finally(
    () => (answered = true),
  )
  await until('the log is read', async () => log.reads > 0)
  expect(await readyz(engine)).toEqual({ ready: true, catchingUp: true })
  const { behindBytes, rows } = await engine.status('trades')
  expect({ behindBytes, rows }).toEqual({ behindBytes: Number((await lab.log.ends('trades')).get(0)), rows: 0 })
  expect(answered).toBe(false)
  log.mend()
  const [rowCount, streams] = await answers
  expect(rowCount).toBe(50)
  expect(streams.headers).not.toHaveProperty(lagHeader)
  expect(await readyz(engine)).toEqual({ ready: true, catchingUp: false })
  expect(await engine.status('trades')).toMatchObject({ behindBytes: 0 })
})

test('when that takes too long a query is answered, and says how far what it reads is behind', async () => {
  lab = await Lab.open({ plan: { sql: { catchUpMsMax: 0 } } })
  await lab.post('trades', tradeEvents(50))
  const end = (await lab.log.ends('trades')).get(0)!
  const log = damaged('trades')
  const engine = await lab.start(log.options)
  for (const format of ['json', 'ndjson', 'csv', 'parquet']) {
    const answer = await engine.query({ ...count, format })
    expect(answer.headers).toMatchObject({ [lagHeader]: `trades=${end}` })
  }
  const system = await engine.query({ sql: 'select rows from freshet.streams' })
  expect(system.headers).toMatchObject({ [lagHeader]: `trades=${end}` })
  const other = await engine.query({ sql: 'select 1' })
  expect(other.headers).not.toHaveProperty(lagHeader)
  // What comes now was not there at the start: nobody has to wait for it.
  await lab.post('trades', [trade('later', '2013-10-07T12:00:00Z')])
  log.mend()
  await until('it is behind no longer', async () => !(lagHeader in (await engine.query(count)).headers))
  expect(Number(await engine.value(count.sql))).toBeGreaterThanOrEqual(50)
})

test('a stream that is stuck holds the others back for that time and no longer', async () => {
  lab = await Lab.open({ plan: { sql: { catchUpMsMax: 100 } }, streams: {} })
  await lab.post('stuck', tradeEvents(5))
  await lab.post('trades', tradeEvents(50))
  const log = damaged('stuck')
  const engine = await lab.start(log.options)
  const answer = await engine.query(count)
  expect(JSON.parse(answer.text)).toMatchObject({ rows: [{ n: 50 }] })
  expect(answer.headers).not.toHaveProperty(lagHeader)
  expect((await engine.query({ sql: 'from freshet.streams' })).headers).toHaveProperty(lagHeader)
  expect(await readyz(engine)).toEqual({ ready: true, catchingUp: true })
  log.mend()
  await engine.caughtUp('stuck')
  expect(await readyz(engine)).toEqual({ ready: true, catchingUp: false })
})

test('a client that leaves while its query waits gives up its turn', async () => {
  lab = await Lab.open({ plan: { sql: { catchUpMsMax: 3_600_000, concurrency: 1 } } })
  await lab.post('trades', tradeEvents(50))
  const log = damaged('trades')
  const engine = await lab.start(log.options)
  const leave = new AbortController()
  const gone = engine.query(count, leave.signal).catch((error: Error) => error.name)
  await until('the log is read', async () => log.reads > 0)
  const next = engine.query(count)
  leave.abort()
  expect(await gone).toBe('AbortError')
  log.mend()
  expect(JSON.parse((await next).text)).toMatchObject({ rows: [{ n: 50 }] })
})

test('I4, I10: what was visible when an engine ended is visible to the first query of the next one', async () => {
  lab = await Lab.open({ streams: {} })
  let expected = 0
  for (let round = 0; round < 4; round++) {
    // Both are in the log only: no stream is declared, and nothing is committed before the engine ends.
    await lab.post('trades', tradeEvents(100, { from: round * 100 }))
    await lab.post('other', tradeEvents(10, { from: round * 10 }))
    expected += 100
    const frozen: { on: boolean } = { on: false }
    const never = new Promise<never>(() => undefined)
    const engine = await lab.start({
      wrapStore: (store) => ({
        get: (...request) => store.get(...request),
        list: (...request) => store.list(...request),
        delete: (...request) => store.delete(...request),
        put: (...request) => (frozen.on ? never : store.put(...request)),
        putIfAbsent: (...request) => (frozen.on ? never : store.putIfAbsent(...request)),
      }),
    })
    expect(await engine.value(count.sql)).toBe(expected)
    expect(await engine.value('select count(*) from other')).toBe(expected / 10)
    frozen.on = true
    await engine.abandon()
  }
})
