import { expect, test } from 'vitest'
import { emptyTable } from '../../../test/conformance/lake-fixture.ts'
import type { TableLedger } from '../../lake/ledger.ts'
import { totalOf, type LedgerRow } from '../../lake/ledger-rows.ts'
import { positionsKey, type Snapshot } from '../../lake/metadata.ts'
import type { Finding } from '../../runtime/finding.ts'
import { otherSources } from '../ledger/stream-account.ts'
import { compareAccepted, compareLedger, type SourceHour } from './ledger.ts'

const row = (
  source: string | null,
  hour: number,
  committed: number,
  deduplicated = 0,
  deadLettered = 0,
): LedgerRow => ({
  source,
  hour,
  accepted: committed + deduplicated + deadLettered,
  committed,
  deduplicated,
  deadLettered,
})

function ledgerOf(rows: LedgerRow[], begun: Partial<TableLedger['begun']> = {}): TableLedger {
  return { begun: { positions: new Map(), rows: 0, ...begun }, totals: totalOf(rows), rows }
}

const at = (source: string | null, hour: number, count: number): SourceHour => ({ source, hour, count })

/** @param summaries of the table's snapshots */
function compare(
  ledger: TableLedger,
  committed: SourceHour[],
  deadLettered: SourceHour[] | undefined = [],
  summaries: Record<string, string>[] = [],
): Finding[] {
  const snapshots = summaries.map((summary, index): Snapshot => ({
    'snapshot-id': BigInt(index + 1),
    'sequence-number': index,
    'timestamp-ms': 0,
    'manifest-list': 'none',
    summary,
  }))
  const table = { name: 'trades', version: 1, metadata: { ...emptyTable(), snapshots } }
  return compareLedger({ table, ledger, committed, deadLettered })
}

const rows = [row('a', 10, 5, 2), row('b', 10, 3, 0, 1), row(null, 11, 4)]
const files = [at('a', 10, 5), at('b', 10, 3), at(null, 11, 4)]
const dead = [at('b', 10, 1)]
const foreign = (added: number, deleted: number): Record<string, string> => ({
  'added-records': String(added),
  'deleted-records': String(deleted),
})

test('a ledger that the files bear out', () => {
  expect(compare(ledgerOf(rows), files, dead)).toEqual([])
})

test('a row too many or too few is named with source and hour', () => {
  const [found, ...others] = compare(ledgerOf(rows), [at('a', 10, 6), at('b', 10, 3), at(null, 11, 4)], dead)
  expect(others).toEqual([])
  expect(found).toMatchObject({ severity: 'problem', check: 'ledger', stream: 'trades' })
  expect(found!.what).toContain('source "a" of 1970-01-01T10h: 5 in the ledger, 6 rows in files')
  expect(compare(ledgerOf(rows), files.slice(1), dead)).toMatchObject([{ severity: 'problem' }])
})

test('dead letters that are missing are a problem, more than were counted a note, those that cannot be read are left out', () => {
  expect(compare(ledgerOf(rows), files, [])).toMatchObject([{ severity: 'problem', check: 'ledger' }])
  expect(compare(ledgerOf(rows), files, [...dead, at('a', 10, 1)])).toMatchObject([{ severity: 'note' }])
  const table = { name: 'trades', version: 1, metadata: emptyTable() }
  expect(compareLedger({ table, ledger: ledgerOf(rows), committed: files, deadLettered: undefined })).toEqual([])
})

test('totals that are not the sum of the rows are a problem', () => {
  const ledger = { ...ledgerOf(rows), totals: totalOf(rows.slice(1)) }
  expect(compare(ledger, files, dead).map(({ what }) => what)).toEqual([
    expect.stringContaining('accepted') as string,
    expect.stringContaining('committed') as string,
    expect.stringContaining('deduplicated') as string,
  ])
})

test('rows from before the ledger began are a note when they are as many as there were', () => {
  const older = [...files, at('a', 9, 7)]
  expect(compare(ledgerOf(rows, { rows: 7 }), older, dead)).toMatchObject([{ severity: 'note' }])
  expect(compare(ledgerOf(rows, { rows: null }), older, dead)).toMatchObject([{ severity: 'note' }])
  expect(compare(ledgerOf(rows, { rows: 8 }), older, dead)).toMatchObject([{ severity: 'problem' }])
})

test('what another engine added or deleted explains a difference of just as many rows', () => {
  const ours = { [positionsKey]: '{"0":"5"}', 'added-records': '99' }
  const more = [...files, at('a', 12, 3)]
  expect(compare(ledgerOf(rows), more, dead, [ours, foreign(3, 0)])).toMatchObject([{ severity: 'note' }])
  expect(compare(ledgerOf(rows), files.slice(1), dead, [foreign(0, 5)])).toMatchObject([{ severity: 'note' }])
  const unexplained = compare(ledgerOf(rows), more, dead, [ours, foreign(2, 0)])
  expect(unexplained).toMatchObject([{ severity: 'problem' }])
  expect(unexplained[0]!.what).toContain('does not explain')
})

test('in an hour with sources that are counted together only its sum is compared', () => {
  const crowded = [row('a', 10, 5), row(otherSources, 10, 4), row('a', 11, 1)]
  expect(compare(ledgerOf(crowded), [at('a', 10, 6), at('x', 10, 3), at('a', 11, 1)])).toEqual([])
  expect(compare(ledgerOf(crowded), [at('a', 10, 6), at('x', 10, 3), at('x', 11, 1)])).toHaveLength(1)
})

test('what the log has accepted is compared too', () => {
  const ledger = ledgerOf(rows)
  expect(compareAccepted('trades', ledger, [at('a', 10, 7), at('b', 10, 4), at(null, 11, 4)])).toEqual([])
  expect(compareAccepted('trades', ledger, files)).toMatchObject([{ severity: 'problem', check: 'ledger' }])
})

test('rows that were removed are committed, and not to be found', () => {
  const removed = [{ ...row('a', 10, 5, 2), removed: 2 }, row('b', 10, 3, 0, 1), { ...row(null, 11, 4), removed: 4 }]
  expect(compare(ledgerOf(removed), [at('a', 10, 3), at('b', 10, 3)], dead)).toEqual([])
  expect(compare(ledgerOf(removed), [at('a', 10, 2), at('b', 10, 3)], dead)).toMatchObject([{ severity: 'problem' }])
  expect(compare(ledgerOf(removed), files, dead)).toMatchObject([{ severity: 'problem' }])
})

test('totals that leave out what was removed', () => {
  const removed = [{ ...row('a', 10, 5), removed: 2 }]
  const ledger = { ...ledgerOf(removed), totals: totalOf([row('a', 10, 5)]) }
  expect(compare(ledger, [at('a', 10, 3)])).toMatchObject([
    { severity: 'problem', what: expect.stringContaining('removed') },
  ])
})
