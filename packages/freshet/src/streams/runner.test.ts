import { expect, test } from 'vitest'
import { logOptions, makeDisk, openLog } from '../../test/simulation/log-fixture.ts'
import { seededRandom } from '../../test/simulation/seeded-random.ts'
import { openFileLog } from '../log/file/file-log.ts'
import { silentLogger, type Logger } from '../runtime/logging.ts'
import { systemTimers } from '../runtime/timers.ts'
import { ConsumerRecords } from './consumer-records.ts'
import type { Consumer } from './consumer.ts'
import { Runner } from './runner.ts'

test('a consumer that fails says so at once, with when it tries again, and then seldom while it is the same', async () => {
  const disk = await makeDisk(1)
  const written = await openLog(disk.process())
  const at = '2026-11-20T20:29:00.000Z'
  const line = `{"_event_id":"a","_event_time":"${at}","_received_at":"${at}","n":1}\n`
  await written.append('trades', { lines: [Buffer.from(line)], count: 1, receivedAtMs: Date.parse(at) })
  const process = disk.process()
  const logged: Record<string, unknown>[] = []
  const logger = {
    ...silentLogger,
    warn: (fields: Record<string, unknown>) => logged.push(fields),
  } as unknown as Logger
  let sleeps = 0
  let nowMs = 0
  const failing = Promise.withResolvers<void>()
  const consumer: Consumer = {
    name: 'sink:site',
    from: 'trades',
    version: '',
    startsAt: 'all',
    batchBytesMax: 1000,
    checkpoint: async () => '',
    take: () => Promise.reject(new Error('the target is away')),
    close: async () => undefined,
  }
  const runner = new Runner(consumer, {
    log: await openFileLog(logOptions(process, { mode: 'read' })),
    records: new ConsumerRecords('/data/consumers', process),
    backFill: { begin: async () => undefined, read: () => expect.fail('no rows'), end: async () => undefined },
    fileSystem: process,
    clock: { nowMs: () => nowMs },
    timers: {
      ...systemTimers,
      monotonicMs: () => nowMs,
      sleep: async () => {
        nowMs += 60_000
        if (++sleeps === 15) failing.resolve()
        await systemTimers.turn()
      },
    },
    random: seededRandom(1),
    logger,
  })
  runner.start()
  await failing.promise
  await runner.stop()
  expect(logged).toHaveLength(2)
  expect(logged[0]).toMatchObject({ consumer: 'sink:site', error: 'the target is away', times: 1 })
  expect(logged[0]!['retryInMs']).toBeGreaterThan(0)
  expect(logged[1]).toMatchObject({ times: 11 })
})
