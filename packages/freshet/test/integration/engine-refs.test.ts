/** Tags and rollbacks: what is tagged stays, what is rolled back is gone, loading goes on, and the ledger balances (I3, I5, I6). */
import { afterEach, expect, test } from 'vitest'
import { expectVerified } from './erasure-lab.ts'
import { Lab, tradeEvents, type LabEngine } from './engine-harness.ts'
import { balancedLedger, expectLedgerOfTable } from './ledger-checks.ts'

let lab: Lab
afterEach(() => lab.close())

const fast = { plan: { lake: { flushIntervalMs: 1 } } }

async function ask(
  engine: LabEngine,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const { status, text } = await engine.send(method, `/v1/tables/trades/${path}`, {}, body && JSON.stringify(body))
  return { status, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) }
}

const count = (engine: LabEngine): Promise<unknown> => engine.value('select count(*) from trades')

/** Three commits of ten trades, the first tagged `one`, the second `two`. */
async function started(): Promise<LabEngine> {
  lab = await Lab.open(fast)
  const engine = await lab.start()
  for (const [index, name] of ['one', 'two', undefined].entries()) {
    await lab.post('trades', tradeEvents(10, { from: index * 10 }))
    await engine.committed('trades')
    if (name !== undefined) expect((await ask(engine, 'POST', 'tags', { name })).status).toBe(201)
  }
  return engine
}

test('tags are made, shown and dropped', async () => {
  const engine = await started()
  const { body } = await ask(engine, 'GET', 'tags')
  expect(body).toMatchObject({ tags: [{ name: 'one', maxAgeMs: null }, { name: 'two' }] })
  const shown = await engine.sql('select snapshot_id, tags from freshet.snapshots where tags is not null order by tags')
  expect(shown.map(({ tags }) => tags)).toEqual(['one', 'two'])
  const again = { name: 'also', snapshot: 'one', maxAgeMs: 1000 }
  expect((await ask(engine, 'POST', 'tags', again)).body).toMatchObject({
    name: 'also',
    snapshotId: String(shown[0]!['snapshot_id']),
    maxAgeMs: 1000,
  })
  expect((await ask(engine, 'DELETE', 'tags/one')).status).toBe(204)
  expect((await ask(engine, 'DELETE', 'tags/one')).body['code']).toBe('not_found')
  expect((await ask(engine, 'POST', 'tags', { name: 'main' })).body['code']).toBe('invalid_request')
  expect((await ask(engine, 'POST', 'tags', { name: 'x', snapshot: '17' })).body['code']).toBe('not_found')
  expect((await ask(engine, 'POST', 'tags', { nmae: 'x' })).body['hint']).toBe('Did you mean "name"?')
})

test('a rollback takes out what was committed since, and nothing else', async () => {
  const engine = await started()
  const planned = await ask(engine, 'POST', 'rollback', { to: 'one', dryRun: true })
  expect(planned.body).toMatchObject({ dryRun: true, snapshotId: null, removed: { rows: 20, files: 2 } })
  expect(await count(engine)).toBe(30)
  const done = await ask(engine, 'POST', 'rollback', { to: 'one' })
  expect(done).toMatchObject({
    status: 200,
    body: { removed: { rows: 20, files: 2 }, restored: { rows: 0, files: 0 } },
  })
  expect(await count(engine)).toBe(10)
  await expectLedgerOfTable(engine, 'trades')

  // Loading goes on, and what is sent again is new.
  await lab.post('trades', tradeEvents(15, { from: 5 }))
  await engine.committed('trades')
  expect(await count(engine)).toBe(20)
  await expectLedgerOfTable(engine, 'trades')
  const ledger = await balancedLedger(engine, 'trades')
  expect(ledger.reduce((sum, { removed }) => sum + removed, 0)).toBe(20)
  await expectVerified(lab)
})

test('a rollback can be taken back, and outlives a restart', async () => {
  const engine = await started()
  const newest = await engine.value(
    "select arg_max(snapshot_id, committed_at) from freshet.snapshots where stream = 'trades'",
  )
  await ask(engine, 'POST', 'rollback', { to: 'one' })
  await engine.stop()
  const next = await lab.start()
  await next.caughtUp('trades')
  expect(await count(next)).toBe(10)
  const back = await ask(next, 'POST', 'rollback', { to: String(newest) })
  expect(back.body).toMatchObject({ removed: { rows: 0 }, restored: { rows: 20 } })
  expect(await count(next)).toBe(30)
  await lab.post('trades', tradeEvents(30))
  await next.committed('trades')
  expect(await count(next)).toBe(30)
  const ledger = await balancedLedger(next, 'trades')
  expect(ledger.reduce((sum, { removed }) => sum + removed, 0)).toBe(0)
  await expectVerified(lab)
})

test('hot rows stay when the table goes back', async () => {
  lab = await Lab.open()
  const engine = await lab.start()
  await lab.post('trades', tradeEvents(10))
  await engine.caughtUp('trades')
  await engine.stop()
  const next = await lab.start()
  await ask(next, 'POST', 'tags', { name: 'one' })
  await lab.post('trades', tradeEvents(10, { prefix: 'x' }))
  await next.caughtUp('trades')
  expect((await ask(next, 'POST', 'rollback', { to: 'one' })).body['code']).toBe('invalid_request')
  await next.stop()
  const last = await lab.start()
  await lab.post('trades', tradeEvents(10, { prefix: 'y' }))
  await last.caughtUp('trades')
  await ask(last, 'POST', 'rollback', { to: 'one' })
  expect(await last.value("select count(*) from trades where starts_with(_event_id, 'y')")).toBe(10)
  expect(await count(last)).toBe(20)
})

test('what cannot be gone back to is said', async () => {
  const engine = await started()
  expect((await ask(engine, 'POST', 'rollback', { to: 'three' })).body).toMatchObject({
    code: 'not_found',
    detail: expect.stringContaining('Its tags: one, two.'),
  })
  expect((await ask(engine, 'POST', 'rollback', {})).body['code']).toBe('invalid_request')
  const { text } = await engine.send('POST', '/v1/tables/nothing/rollback', {}, '{"to":"one"}')
  expect(text).toContain('not_found')
})
