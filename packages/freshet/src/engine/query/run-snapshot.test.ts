import type { DuckDBConnection } from '@duckdb/node-api'
import { beforeEach, expect, test } from 'vitest'
import { database, rowsOf, runnerWith } from '../../../test/support/query-lab.ts'
import type { Database } from '../duckdb.ts'

const context = () => ({ streams: new Set(['late']), systemTables: new Set<string>() })

let names: Set<string>

beforeEach(async () => {
  names = new Set()
  await database.with(async (connection) => {
    await connection.run('CREATE OR REPLACE TABLE main.late (producer VARCHAR, sequence BIGINT)')
  })
})

/** The database, in which rows arrive at the worst moment: after a statement was planned and before it runs. */
function withLateRows(): Database {
  const arrive = async (): Promise<void> => {
    const number = names.size
    const name = `${'x'.repeat(4 * number)}p${number}`
    names.add(name)
    await database.with(async (writer) => {
      await writer.run(`INSERT INTO main.late SELECT '${name}', ${number * 1000} + i FROM range(10) r(i)`)
    })
  }
  const slow = (connection: DuckDBConnection): DuckDBConnection => {
    const prepare = connection.prepare.bind(connection)
    connection.prepare = async (sql) => {
      const statement = await prepare(sql)
      await arrive()
      return statement
    }
    return connection
  }
  return { with: (work) => database.with((connection) => work(slow(connection))) } as Database
}

test('I4: rows that come while a statement is planned do not spoil its result', async () => {
  const runner = runnerWith({ database: withLateRows(), context })
  for (let round = 0; round < 3; round++) {
    const sql = 'SELECT producer, count(*)::INT AS n FROM late GROUP BY producer'
    for (const { producer, n } of await rowsOf(sql, { runner })) {
      expect(names).toContain(producer)
      expect(n).toBe(10)
    }
  }
})

test('I4: a filter and the whole agree, whatever comes between planning and running', async () => {
  const runner = runnerWith({ database: withLateRows(), context })
  for (let round = 0; round < 3; round++) {
    const newest = names.size * 1000
    const sql = `SELECT (SELECT count(*) FROM late WHERE sequence >= ${newest})::INT AS filtered,
      (SELECT count(*) FROM late WHERE sequence + random() * 0 >= ${newest})::INT AS counted`
    const [row] = await rowsOf(sql, { runner })
    expect(row!['filtered']).toBe(row!['counted'])
  }
})
