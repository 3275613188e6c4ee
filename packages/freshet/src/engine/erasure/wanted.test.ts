import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { rowsFrom, UpkeepLab } from '../../../test/support/upkeep-lab.ts'
import { planScan } from '../../lake/scan.ts'
import { knownColumns } from '../stream-view.ts'
import { allFiles, mayBeMeant } from './wanted.ts'

let lab: UpkeepLab
beforeEach(async () => {
  lab = await UpkeepLab.open()
  // Three files of a day each: n of 0..9, 100..109 and 200..209, of other symbols and ids.
  for (const [index, symbol] of ['ABC', 'MNO', 'XYZ'].entries()) {
    const rows = rowsFrom(`${symbol}-`, 10, `2024-01-0${index + 1}T00:00:00Z`)
    await lab.append(rows.map((row) => ({ ...row, symbol, n: index * 100 + Number(row.n) })))
  }
})
afterEach(() => lab.close())

/** Which of the three files an erasure would open. */
async function opened(where: string | undefined, untilMs = Number.MAX_SAFE_INTEGER): Promise<number[]> {
  const { table } = lab
  const scanned = await planScan(lab.deps.store, table!)
  const columns = knownColumns(table!)
  const deps = { store: lab.deps.store, database: await lab.deps.database() }
  const choose = mayBeMeant(deps, { stream: lab.stream.name, where, columns, untilMs })
  const chosen = new Set((await choose(table!, scanned)).map(({ path }) => path))
  const all = [...(await allFiles(table!, scanned))].toSorted((a, b) => a.partitionValue! - b.partitionValue!)
  expect(all).toHaveLength(3)
  return all.flatMap(({ path }, index) => (chosen.has(path) ? [index] : []))
}

describe('files that cannot hold what is meant are not opened', () => {
  test.each<[string, number[]]>([
    ["symbol = 'MNO'", [1]],
    ["symbol IN ('ABC', 'XYZ')", [0, 2]],
    ["_event_id = 'XYZ-3'", [2]],
    ['n BETWEEN 105 AND 205', [1, 2]],
    ['n = 50', []],
    ["_event_time < TIMESTAMPTZ '2024-01-02 00:00:00+00'", [0]],
    ["symbol = 'MNO' AND lower(_event_id) = 'mno-1'", [1]],
    ["symbol LIKE 'X%'", [2]],
  ])('%s', async (where, files) => {
    expect(await opened(where)).toEqual(files)
  })

  test('by the time of arrival', async () => {
    expect(await opened("symbol = 'MNO'", 0)).toEqual([])
  })
})

test.each([
  "symbol = 'MNO' OR n = 5",
  "lower(symbol) = 'mno'",
  "NOT symbol = 'MNO'",
  "symbol <> 'MNO'",
  'symbol IS DISTINCT FROM NULL',
  "coalesce(symbol, 'MNO') = 'MNO'",
  'true',
])('where bounds say nothing, every file is opened: %s', async (where) => {
  expect(await opened(where)).toEqual([0, 1, 2])
})

test('without a condition on its columns, every file is opened', async () => {
  expect(await opened(undefined)).toEqual([0, 1, 2])
})
