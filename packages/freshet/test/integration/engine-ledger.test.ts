/** I6: for each stream, source and hour of arrival, accepted = committed + deduplicated + dead-lettered + in flight. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { AppendBatch } from '../../src/log/log.ts'
import { Lab, trade, tradeEvents, until, type LabEngine, type LabEvent } from './engine-harness.ts'
import { balancedLedger, closedToLoader, expectLedgerOfTable, ledgerSums } from './ledger-checks.ts'

let lab: Lab
afterEach(() => lab.close())

const fast = { plan: { lake: { flushIntervalMs: 1 } } }
const hourStart = Date.parse('2026-11-20T10:00:00Z')

/** Posts events as a source does through the gateway. */
async function postAs(
  source: string | undefined,
  events: readonly LabEvent[],
  marks: Partial<AppendBatch> = {},
): Promise<void> {
  const marked = events.map((event) => (source === undefined ? event : withSource(event, source)))
  await lab.post('trades', marked, { ...(source !== undefined && { source }), ...marks })
}

function withSource(event: LabEvent, source: string): LabEvent {
  if (event.raw === undefined) return { ...event, fields: { _source: source, ...event.fields } }
  return { ...event, raw: event.raw.replace('{', `{"_source":${JSON.stringify(source)},`) }
}

function broken(id: string): LabEvent {
  return { id, time: '2013-10-07T00:00:00Z', raw: `{"id":"${id}","price":1,"price":2}` }
}

describe('the ledger', () => {
  test('says what became of every event, by source and hour of arrival', async () => {
    lab = await Lab.open()
    const engine = await lab.start()
    expect(await balancedLedger(engine, 'trades')).toEqual([])
    await postAs('berlin', tradeEvents(10), { receivedAtMs: hourStart })
    await postAs('berlin', [...tradeEvents(4), broken('x'), ...tradeEvents(2, { from: 50 })], {
      receivedAtMs: hourStart + 1,
    })
    await postAs('osaka', tradeEvents(7, { prefix: 'o' }), { receivedAtMs: hourStart + 3_600_000 })
    await postAs(undefined, tradeEvents(3, { prefix: 'n' }), { receivedAtMs: hourStart + 3_599_999 })
    await engine.caughtUp('trades')
    const hours = ['2026-11-20T10:00:00Z', '2026-11-20T11:00:00Z']
    const hot = await balancedLedger(engine, 'trades')
    expect(hot.map((row) => ({ ...row, hour: new Date(row.hour).getTime() }))).toEqual(
      [
        {
          source: null,
          hour: hours[0]!,
          accepted: 3,
          committed: 0,
          deduplicated: 0,
          dead_lettered: 0,
          in_flight: 3,
          removed: 0,
        },
        {
          source: 'berlin',
          hour: hours[0]!,
          accepted: 17,
          committed: 0,
          deduplicated: 4,
          dead_lettered: 1,
          in_flight: 12,
          removed: 0,
        },
        {
          source: 'osaka',
          hour: hours[1]!,
          accepted: 7,
          committed: 0,
          deduplicated: 0,
          dead_lettered: 0,
          in_flight: 7,
          removed: 0,
        },
      ].map((row) => ({ ...row, hour: Date.parse(row.hour) })),
    )
    await engine.stop()
    const next = await lab.start()
    const settled = await balancedLedger(next, 'trades')
    expect(settled).toEqual(hot.map((row) => ({ ...row, committed: row.in_flight, in_flight: 0 })))
    await expectLedgerOfTable(next, 'trades')
  })

  test('has the events that are in the log and not loaded in flight', async () => {
    lab = await Lab.open({ segmentBytes: 10_000 })
    const gate = { open: true }
    const engine = await lab.start(closedToLoader(gate))
    await postAs('a', tradeEvents(10))
    await engine.caughtUp('trades')
    gate.open = false
    for (let batch = 1; batch <= 20; batch++) {
      await postAs(batch % 2 === 0 ? 'a' : 'b', tradeEvents(20, { from: batch * 10 }))
      const { accepted, in_flight, deduplicated } = await ledgerSums(engine, 'trades')
      expect([accepted, in_flight, deduplicated]).toEqual([10 + batch * 20, 10 + batch * 20, 0])
      expect((await engine.status('trades')).ledger).toMatchObject({ accepted, inFlight: in_flight })
    }
    gate.open = true
    await lab.post('trades', tradeEvents(1))
    await engine.caughtUp('trades')
    expect(await ledgerSums(engine, 'trades')).toMatchObject({ accepted: 411, deduplicated: 191, in_flight: 220 })
  })

  test('balances at every moment, while repeats, dead letters, commits and queries go on', async () => {
    lab = await Lab.open({ ...fast, segmentBytes: 20_000 })
    const engine = await lab.start()
    let posted = 0
    const watch = { over: false }
    const watching = (async () => {
      let before = 0
      for (let looks = 0; !watch.over || looks < 3; looks++) {
        const acknowledged = posted
        const sums = await ledgerSums(engine, 'trades')
        expect(sums.accepted).toBeGreaterThanOrEqual(Math.max(acknowledged, before))
        before = sums.accepted
      }
    })()
    for (let batch = 0; batch < 60; batch++) {
      const events = [...tradeEvents(30, { from: batch * 20 }), ...(batch % 7 === 3 ? [broken(`x${batch}`)] : [])]
      await postAs(['a', 'b', undefined][batch % 3], events)
      posted += events.length
    }
    await engine.committed('trades')
    watch.over = true
    await watching
    expect(await ledgerSums(engine, 'trades')).toEqual({
      accepted: posted,
      committed: 1210,
      deduplicated: 590,
      dead_lettered: 9,
      in_flight: 0,
    })
    await expectLedgerOfTable(engine, 'trades')
  })

  test('knows which source a repeat or a dead letter came from when many are loaded at once', async () => {
    lab = await Lab.open()
    for (let batch = 0; batch < 40; batch++) {
      const events = tradeEvents(1 + (batch % 5), { from: batch })
      if (batch % 3 === 1) events.splice(batch % 2, 0, broken(`x${batch}`))
      if (batch % 7 === 5) events.push(trade(`y${batch}`, '2013-10-07T00:00:00Z', { price: 'dear' }))
      await postAs(`s${batch % 4}`, events, { receivedAtMs: hourStart + batch * 240_000 })
    }
    const engine = await lab.start()
    await engine.caughtUp('trades')
    await engine.stop()
    const next = await lab.start()
    await expectLedgerOfTable(next, 'trades')
    expect(await ledgerSums(next, 'trades')).toEqual({
      accepted: 138,
      committed: 44,
      deduplicated: 76,
      dead_lettered: 18,
      in_flight: 0,
    })
  })

  test('goes on where it was after every restart, and so do the totals in status', async () => {
    lab = await Lab.open()
    for (let start = 1; start <= 5; start++) {
      const engine = await lab.start()
      await postAs('a', [...tradeEvents(10, { from: start * 5 }), broken(`x${start}`)])
      if (start % 2 === 0) await engine.caughtUp('trades')
      await until('all is counted', async () => (await engine.status('trades')).ledger?.accepted === start * 11)
      await engine.stop()
    }
    const engine = await lab.start()
    await expectLedgerOfTable(engine, 'trades')
    const { ledger, duplicates, deadLetters } = await engine.status('trades')
    expect(ledger).toEqual({ accepted: 55, committed: 30, deduplicated: 20, deadLettered: 5, inFlight: 0 })
    expect({ duplicates, deadLetters }).toEqual({ duplicates: 20, deadLetters: 5 })
    await engine.letters('trades')
    expect((await engine.status('trades_dead_letters')).ledger).toMatchObject({ deadLettered: 0 })
    await expectLedgerOfTable(engine, 'trades_dead_letters')
    const [row] = await engine.sql("select duplicates, dead_letters from freshet.streams where name = 'trades'")
    expect(row).toEqual({ duplicates: 20, dead_letters: 5 })
  })

  test('counts no event twice when a zombie wakes up that still has it hot, and goes on from the table', async () => {
    lab = await Lab.open({ plan: { lake: { flushRows: 40 } } })
    const zombie = await lab.start()
    await postAs('a', [...tradeEvents(20), ...tradeEvents(5), broken('x')])
    await zombie.caughtUp('trades')
    const engine = await lab.start()
    await engine.caughtUp('trades')
    await engine.stop()
    await postAs('b', [...tradeEvents(70), broken('y')])
    let posted = 70
    await until('the zombie has gone on', async () => {
      await postAs('b', tradeEvents(1, { from: posted++ }))
      return Number((await zombie.status('trades')).ledger?.committed) >= 70
    })
    await zombie.stop()
    const last = await lab.start()
    await last.caughtUp('trades')
    await last.stop()
    const settled = await lab.start()
    await expectLedgerOfTable(settled, 'trades')
    expect(await ledgerSums(settled, 'trades')).toEqual({
      accepted: 27 + posted,
      committed: posted,
      deduplicated: 25,
      dead_lettered: 2,
      in_flight: 0,
    })
  })

  test('counts the sources of an hour beyond a thousand together', async () => {
    lab = await Lab.open({ plan: { lake: { flushIntervalMs: 3_600_000 } } })
    const engine = await lab.start()
    const posts = Array.from({ length: 1010 }, (_, index) =>
      postAs(`s${index}`, tradeEvents(2, { from: index }), { receivedAtMs: hourStart }),
    )
    await Promise.all(posts)
    await engine.caughtUp('trades')
    const hot = await balancedLedger(engine, 'trades')
    expect(hot).toHaveLength(1001)
    expect(hot.find(({ source }) => source === '*')?.accepted).toBe(20)
    await engine.stop()
    const next = await lab.start()
    const rows = await balancedLedger(next, 'trades')
    expect(rows).toEqual(hot.map((row) => ({ ...row, committed: row.in_flight, in_flight: 0 })))
  })
})

describe('a table', () => {
  async function newestMetadata(): Promise<{ path: string; metadata: { properties: Record<string, string> } }> {
    const folder = join(lab.lakeDir, 'trades', 'metadata')
    const versions = (await readdir(folder)).flatMap((name) => /^v(\d+)\.metadata\.json$/.exec(name)?.[1] ?? [])
    const path = join(folder, `v${Math.max(...versions.map(Number))}.metadata.json`)
    return { path, metadata: JSON.parse(await readFile(path, 'utf8')) as { properties: Record<string, string> } }
  }

  /** Commits `count` events, and leaves no engine behind. */
  async function commitSome(events: readonly LabEvent[], source: string): Promise<void> {
    const engine = await lab.start()
    await postAs(source, events)
    await engine.caughtUp('trades')
    await engine.stop()
  }

  async function changeProperties(change: (properties: Record<string, string>) => void): Promise<void> {
    const { path, metadata } = await newestMetadata()
    change(metadata.properties)
    await writeFile(path, JSON.stringify(metadata))
  }

  test('that was made before there was a ledger has one from its next commit on', async () => {
    lab = await Lab.open()
    await commitSome(tradeEvents(10), 'old')
    await changeProperties((properties) => {
      delete properties['freshet.ledger']
      delete properties['freshet.sources']
    })
    const { metadata } = await newestMetadata()
    await commitSome(tradeEvents(15), 'new')
    const engine = await lab.start()
    const rows = await balancedLedger(engine, 'trades')
    expect(rows).toMatchObject([{ source: 'new', accepted: 15, committed: 5, deduplicated: 10 }])
    const { begun } = JSON.parse((await newestMetadata()).metadata.properties['freshet.ledger']!) as { begun: unknown }
    expect(begun).toEqual({ positions: JSON.parse(metadata.properties['freshet.positions']!), rows: 10 })
    expect(await engine.value('select count(*) from trades')).toBe(15)
  })

  test('whose ledger is another state than the table, since someone moved the table, begins a new one', async () => {
    lab = await Lab.open()
    await commitSome(tradeEvents(10), 'a')
    await changeProperties((properties) => {
      properties['freshet.ledger'] = properties['freshet.ledger']!.replace(
        /"positions":\{"0":"\d+"\}/,
        '"positions":{"0":"1"}',
      )
    })
    await commitSome(tradeEvents(12), 'b')
    const engine = await lab.start()
    expect(await balancedLedger(engine, 'trades')).toMatchObject([{ source: 'b', accepted: 12, committed: 2 }])
  })

  test('whose ledger cannot be read is loaded and queried all the same', async () => {
    lab = await Lab.open()
    await commitSome(tradeEvents(10), 'a')
    await changeProperties((properties) => (properties['freshet.ledger'] = '{"format":7'))
    const engine = await lab.start()
    await expect(balancedLedger(engine, 'trades')).rejects.toThrow('corrupt_table')
    expect((await engine.status('trades')).ledger).toBeNull()
    await postAs('b', tradeEvents(12))
    await engine.caughtUp('trades')
    expect(await engine.value('select count(*) from trades')).toBe(12)
    await engine.stop()
    const next = await lab.start()
    expect(await balancedLedger(next, 'trades')).toMatchObject([{ source: 'b', accepted: 12, committed: 2 }])
  })

  test('goes on taking commits when a ledger file is gone', async () => {
    lab = await Lab.open(fast)
    const engine = await lab.start()
    const hours = (engineHours: number, from: number): Promise<void>[] =>
      Array.from({ length: engineHours }, (_, index) =>
        postAs('a', [trade(`h${from + index}`, '2013-10-07T00:00:00Z')], {
          receivedAtMs: hourStart + (from + index) * 3_600_000,
        }),
      )
    await Promise.all(hours(500, 0))
    await engine.committed('trades')
    await expectLedgerOfTable(engine, 'trades')
    const folder = join(lab.lakeDir, 'trades', 'metadata')
    const files = (await readdir(folder)).filter((name) => name.startsWith('ledger-'))
    expect(files).toHaveLength(1)
    await rm(join(folder, files[0]!))
    await expect(balancedLedger(engine, 'trades')).rejects.toThrow(files[0])
    await Promise.all(hours(500, 500))
    await engine.committed('trades')
    expect((await engine.status('trades')).ledger).toMatchObject({ accepted: 1000, committed: 1000 })
    expect(await count(engine)).toBe(1000)
  })
})

async function count(engine: LabEngine): Promise<unknown> {
  return engine.value('select count(*) from trades')
}
