/** I4: the state that a transaction finds the number of, and the hot rows it sees, belong together. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Column } from '../config/plan.ts'
import { Database } from './duckdb.ts'
import { Readers } from './readers.ts'
import { generationsOf, ShownStream } from './shown-stream.ts'

let dir: string
let database: Database
const readers = new Readers()
const columns: Column[] = [{ name: 'n', type: { kind: 'long' } }]
const hot = (relation: string): { relation: string; columns: Column[]; rows: number } => ({
  relation,
  columns,
  rows: 1,
})

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'freshet-shown-'))
  await mkdir(join(dir, 'tmp'))
  const folders = { tmpDir: join(dir, 'tmp'), lakeDir: join(dir, 'lake'), logDir: join(dir, 'log') }
  database = await Database.open({ memoryBytes: 64 << 20, spillBytesMax: 1 << 30, threads: 2, ...folders })
})

afterEach(async () => {
  database.close()
  await rm(dir, { recursive: true })
})

test('a transaction that began before a change finds the state of before, with its hot table', async () => {
  const shown = new ShownStream('s', columns, readers)
  await database.with(async (writer) => {
    await shown.change(writer, async () => {
      await writer.run('CREATE TABLE tail.s_1 AS SELECT 1 AS n')
      return { ...shown.now, hot: [hot('tail.s_1')] }
    })
    const leave = readers.enter()
    await database.with(async (reader) => {
      await reader.run('BEGIN TRANSACTION READ ONLY')
      const first = (await generationsOf(reader, new Set(['s']))).get('s')!
      await shown.change(writer, async () => {
        await writer.run('CREATE TABLE tail.s_2 AS SELECT 2 AS n')
        await writer.run('DROP TABLE tail.s_1')
        return { ...shown.now, hot: [hot('tail.s_2')] }
      })
      expect(shown.at(first)!.hot.map(({ relation }) => relation)).toEqual(['tail.s_1'])
      expect((await reader.runAndReadAll('SELECT n FROM tail.s_1')).getRows()).toEqual([[1]])
      expect((await generationsOf(reader, new Set(['s']))).get('s')).toBe(first)
      leave()
      await readers.gone()
      await Promise.resolve()
      expect(shown.at(first)).toBeUndefined()
      expect(shown.at(first + 1)).toBe(shown.now)
    })
  })
})

test('a change that fails is none', async () => {
  const shown = new ShownStream('s', columns, readers)
  await database.with(async (writer) => {
    await shown.change(writer, async () => shown.now)
    const { now } = shown
    const failed = shown.change(writer, async () => {
      await writer.run('CREATE TABLE tail.s_1 AS SELECT 1 AS n')
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    expect(shown.now).toBe(now)
    expect((await generationsOf(writer, new Set(['s']))).get('s')).toBe(1)
    expect(shown.at(2)).toBeUndefined()
    await expect(writer.run('SELECT * FROM tail.s_1')).rejects.toThrow('does not exist')
  })
})

test('streams change at the same time, each on its own', async () => {
  const names = Array.from({ length: 8 }, (_, index) => `s${index}`)
  const streams = names.map((name) => new ShownStream(name, columns, readers))
  await Promise.all(
    streams.map((shown) =>
      database.with(async (writer) => {
        for (let round = 0; round < 25; round++) await shown.change(writer, async () => ({ ...shown.now }))
      }),
    ),
  )
  const found = await database.with((connection) => generationsOf(connection, new Set(names)))
  expect([...found.values()]).toEqual(names.map(() => 25))
})

test('a stream that is opened anew begins anew', async () => {
  await database.with(async (writer) => {
    for (const shown of [new ShownStream('s', columns, readers), new ShownStream('s', columns, readers)]) {
      await shown.change(writer, async () => shown.now)
      await shown.change(writer, async () => shown.now)
    }
    const rows = await writer.runAndReadAll('SELECT * FROM tail.generations')
    expect(rows.getRowsJson()).toEqual([['s', '2']])
  })
})
