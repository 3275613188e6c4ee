import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { nodeFileSystem } from '../../runtime/file-system.ts'
import { silentLogger } from '../../runtime/logging.ts'
import { historyRowsMax } from './history.ts'
import { maintenanceRow, type MaintenanceRow } from './maintenance-row.ts'
import { UpkeepRecord } from './record.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-upkeep-'))
})
afterEach(() => rm(dir, { recursive: true }))

const open = (): Promise<UpkeepRecord> =>
  UpkeepRecord.open({ fileSystem: nodeFileSystem, dir: join(dir, 'upkeep'), logger: silentLogger })
const row = (reason: string, state: MaintenanceRow['state'] = 'done'): MaintenanceRow =>
  maintenanceRow({ table: 'trades', job: 'compaction', state, reason })
const reasons = (record: UpkeepRecord): string[] => record.rows(() => null).map(({ reason }) => reason)

test('what was done outlives the process, what was decided does not', async () => {
  const record = await open()
  record.add(row('merged'))
  record.decide('trades', 'compaction', [row('only one small file', 'skipped')])
  await record.save(5)
  expect(reasons(record)).toEqual(['merged', 'only one small file'])
  const next = await open()
  expect(reasons(next)).toEqual(['merged'])
  expect(next.seenMs).toBe(5)
})

test('a decision takes the place of the one before, and says when it is looked at again', async () => {
  const record = await open()
  record.decide('trades', 'compaction', [row('first', 'planned')])
  record.decide('trades', 'expiry', [row('other', 'skipped')])
  record.decide('trades', 'compaction', [row('second', 'skipped')])
  expect(record.rows((table, job) => `${table} ${job}`).map(({ reason, nextAt }) => [reason, nextAt])).toEqual([
    ['second', 'trades compaction'],
    ['other', 'trades compaction'],
  ])
})

test('only the newest rows are kept', async () => {
  const record = await open()
  for (let index = 0; index < historyRowsMax + 10; index++) record.add(row(`${index}`))
  await record.save(undefined)
  const kept = reasons(await open())
  expect(kept).toHaveLength(historyRowsMax)
  expect([kept[0], kept.at(-1)]).toEqual(['10', `${historyRowsMax + 9}`])
})

test('a history that cannot be read is begun anew', async () => {
  const record = await open()
  record.add(row('merged'))
  await record.save(1)
  const file = join(dir, 'upkeep', 'history.json')
  for (const damage of ['', '{"format":1', '{"format":9,"rows":[]}', '[]', 'null']) {
    await writeFile(file, damage)
    const next = await open()
    expect(reasons(next)).toEqual([])
    next.add(row('again'))
    await next.save(1)
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ rows: [{ reason: 'again' }] })
  }
})

test('of thousands of decisions on one table, the first are shown, and how many others there are', async () => {
  const record = await open()
  record.decide(
    'trades',
    'compaction',
    Array.from({ length: 2000 }, (_, index) => row(`${index}`, 'skipped')),
  )
  expect(reasons(record)).toHaveLength(500)
  expect(reasons(record).at(-1)).toBe('1501 further partitions are not shown')
})
