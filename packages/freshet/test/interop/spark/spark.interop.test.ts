import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FileCatalog } from '../../../src/lake/file-catalog/file-catalog.ts'
import { readManifest, readManifestList } from '../../../src/lake/manifest.ts'
import { currentSnapshot, snapshotById } from '../../../src/lake/metadata.ts'
import { planScan } from '../../../src/lake/scan.ts'
import { keyOf } from '../../../src/lake/table-paths.ts'
import { silentLogger } from '../../../src/runtime/logging.ts'
import { Lab, trade, tradeEvents, trades, type LabEngine } from '../../integration/engine-harness.ts'
import { loadTable, storeOf } from '../lab-table.ts'
import { pythonWithPyiceberg, runPython } from '../python.ts'
import { eventsFor, rowsFor, typedForSpark } from '../typed-stream.ts'
import { Spark, type SparkRow } from './spark.ts'

/** One lake, one engine and one Spark: the tests go on from each other's tables, as two engines that share a lake do. */
describe('Spark and Freshet on one lake', () => {
  let lab: Lab
  let engine: LabEngine
  let spark: Spark

  beforeAll(async () => {
    lab = await Lab.open({
      streams: { trades, spark_typed: typedForSpark },
      plan: { lake: { flushIntervalMs: 1 } },
    })
    engine = await lab.start()
    for (const day of ['2013-10-07', '2013-10-08']) {
      for (let from = 0; from < 400; from += 100) await flushed(tradeEvents(100, { day, from, prefix: `${day}-` }))
    }
    // A file for each row. Iceberg's Java library compares uuids in an order of its own (apache/iceberg#14216), also those in the
    // statistics of Parquet files: in a file that has uuids of both halves it finds none.
    for (const event of eventsFor(typedForSpark.columns!)) {
      await lab.post('spark_typed', [event])
      await engine.committed('spark_typed')
    }
    spark = await Spark.start(lab.lakeDir)
  }, 600_000)

  afterAll(async () => {
    await spark?.close()
    await lab?.close()
  })

  async function flushed(events: Parameters<Lab['post']>[1]): Promise<void> {
    await lab.post('trades', events)
    await engine.committed('trades')
  }

  const count = async (where = 'true'): Promise<{ spark: unknown; freshet: unknown }> => ({
    spark: (await spark.sql(`SELECT count(*) AS n FROM lake.trades WHERE ${where}`))[0]!['n'],
    freshet: await engine.value(`SELECT count(*) FROM trades WHERE ${where}`),
  })
  const both = (n: number): { spark: number; freshet: number } => ({ spark: n, freshet: n })

  test('Spark reads what Freshet wrote: rows, partitions, snapshots', async () => {
    expect(await count()).toEqual(both(800))
    const day = "_event_time >= TIMESTAMP '2013-10-08 00:00:00Z' AND _event_time < TIMESTAMP '2013-10-09 00:00:00Z'"
    expect((await spark.sql(`SELECT count(*) AS n FROM lake.trades WHERE ${day}`))[0]!['n']).toBe(400)
    const files = await spark.sql(
      'SELECT partition._event_time_day AS day, count(*) AS files, sum(record_count) AS n FROM lake.trades.files GROUP BY 1 ORDER BY 1',
    )
    expect(files).toEqual([
      { day: '2013-10-07', files: 4, n: 400 },
      { day: '2013-10-08', files: 4, n: 400 },
    ])
    const snapshots = (
      await spark.sql('SELECT snapshot_id AS id FROM lake.trades.snapshots ORDER BY committed_at')
    ).map(({ id }) => BigInt(id as number))
    const { metadata } = await loadTable(lab.lakeDir, 'trades')
    expect(snapshots).toEqual(metadata.snapshots.map((snapshot) => snapshot['snapshot-id']))
    const before = await spark.sql(`SELECT count(*) AS n FROM lake.trades VERSION AS OF ${snapshots[1]}`)
    expect(before).toEqual([{ n: 200 }])
  })

  test('Spark reads every type it has, with the value that was sent', async () => {
    const text: Record<string, (name: string) => string> = {
      long: (name) => `CAST(${name} AS STRING)`,
      decimal: (name) => `CAST(${name} AS STRING)`,
      float: (name) => `CAST(${name} AS STRING)`,
      double: (name) => `CAST(${name} AS STRING)`,
      date: (name) => `CAST(${name} AS STRING)`,
      timestamp: (name) => `date_format(${name}, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS")`,
      timestamptz: (name) => `date_format(${name}, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")`,
      binary: (name) => `base64(${name})`,
    }
    const columns = typedForSpark.columns!
    const list = columns.map(({ name, type }) => `${text[type.kind]?.(`\`${name}\``) ?? `\`${name}\``} AS \`${name}\``)
    const nested = { days: 'CAST(days AS ARRAY<STRING>)', fees: 'CAST(fees AS MAP<STRING, STRING>)' }
    const select = list.map((item, index) => {
      const name = columns[index]!.name as keyof typeof nested
      return nested[name] === undefined ? item : `${nested[name]} AS ${name}`
    })
    const rows = await spark.sql(
      `SELECT ${select.join(', ').replace('`st` AS `st`', 'CAST(st AS STRUCT<a: INT, n: STRUCT<x: STRING>>) AS st').replace('`parts` AS `parts`', 'transform(parts, p -> CASE WHEN p IS NOT NULL THEN named_struct("u", p.u, "b", base64(p.b)) END) AS parts')} FROM lake.spark_typed ORDER BY id`,
    )
    const numbers = (row: SparkRow): SparkRow => ({ ...row, f: floating(row['f'], true), d: floating(row['d'], false) })
    const expected = rowsFor(columns).toSorted((a, b) => (String(a['id']) < String(b['id']) ? -1 : 1))
    expect(rows.map((row) => numbers(plainDecimals(row)))).toEqual(expected)
  })

  test.each([
    ['dec38 > 1234567890123456789012345678.0123456788', ['highest', 'typical']],
    ['dec18 = 12345678901234.5678', ['typical']],
    ['i > 7', ['highest']],
    ['f < CAST(-1.5 AS FLOAT)', ['lowest']],
    ["day < DATE '1970-01-01'", ['lowest', 'odd']],
    ["ts < TIMESTAMP_NTZ '1970-01-01 00:00:00'", ['lowest', 'odd']],
    ["tz >= TIMESTAMP '2013-10-07 12:00:00.123456Z'", ['highest', 'typical']],
    ["u = '7fffffff-ffff-ffff-ffff-ffffffffffff'", ['highest']],
    ["u = 'ffffffff-ffff-4fff-bfff-ffffffffffff'", ['odd']],
    ["bin > X'FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF'", ['highest']],
    [`s >= '${'x'.repeat(5000)}'`, ['endless', 'highest', 'odd']],
    ['d > 1e308', ['highest', 'odd']],
  ])('Spark filters by bounds without losing a row: %s', async (filter, ids) => {
    const rows = await spark.sql(`SELECT id FROM lake.spark_typed WHERE ${filter} ORDER BY id`)
    expect(rows.map(({ id }) => id)).toEqual(ids)
  })

  test('after rewrite_data_files by Spark, Freshet goes on with the same rows', async () => {
    const [result] = await spark.sql(
      "CALL lake.system.rewrite_data_files(table => 'trades', options => map('min-input-files', '2'))",
    )
    expect(result).toMatchObject({ rewritten_data_files_count: 8, added_data_files_count: 2 })
    await flushed(tradeEvents(100, { day: '2013-10-08', from: 400, prefix: '2013-10-08-' }))
    expect(await count()).toEqual(both(900))
    // Sent again, they are known in the files that Spark wrote.
    await flushed(tradeEvents(100, { day: '2013-10-07', prefix: '2013-10-07-' }))
    expect(await count()).toEqual(both(900))
    expect(await engine.value('SELECT count(DISTINCT _event_id) FROM trades')).toBe(900)
    const plan = await planScan(storeOf(lab.lakeDir), await loadTable(lab.lakeDir, 'trades'))
    expect(plan.files).toHaveLength(3)
  })

  test('rows that Spark inserts are shown, and are known when they are sent to Freshet', async () => {
    await spark.sql(`INSERT INTO lake.trades (_event_id, _event_time, _received_at, _source, _tenant, id, at, price, size)
      SELECT 'spark-' || id, TIMESTAMP '2013-10-07 20:00:00Z', TIMESTAMP '2013-10-07 20:00:01Z', 'spark', NULL, 'spark-' || id,
      TIMESTAMP '2013-10-07 20:00:00Z', 2.5, id FROM range(10)`)
    await flushed([trade('after-insert', '2013-10-07T21:00:00Z')])
    // What another engine committed is known from the next commit of our own on.
    await flushed([trade('spark-3', '2013-10-07T20:00:00Z')])
    expect(await count()).toEqual(both(911))
    expect(await count("_source = 'spark' AND price = 2.5")).toEqual(both(10))
    const { metadata } = await loadTable(lab.lakeDir, 'trades')
    const theirs = metadata.snapshots.find(
      ({ summary }) => summary['engine-name'] === 'spark' && summary['operation'] === 'append',
    )!
    expect(theirs['snapshot-id']).toBeGreaterThan(2n ** 53n)
    expect(snapshotById(metadata, currentSnapshot(metadata)!['parent-snapshot-id'])).toBeDefined()
  })

  test('rows that Spark deletes, by position, are gone in Freshet', async () => {
    await spark.sql("ALTER TABLE lake.trades SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    await spark.sql("DELETE FROM lake.trades WHERE id IN ('2013-10-07-5', '2013-10-08-7', 'spark-4')")
    const store = storeOf(lab.lakeDir)
    const table = await loadTable(lab.lakeDir, 'trades')
    const manifests = await readManifestList(store, keyOf(table, currentSnapshot(table.metadata)!['manifest-list']))
    const deletes = manifests.filter(({ content }) => content === 1)
    const entries = await Promise.all(deletes.map((one) => readManifest(store, keyOf(table, one.path), one)))
    expect(entries.flat().map(({ content }) => content)).toContain(1)
    await flushed([trade('after-delete', '2013-10-07T22:00:00Z')])
    expect(await count()).toEqual(both(909))
    expect(await count("id IN ('2013-10-07-5', '2013-10-08-7', 'spark-4')")).toEqual(both(0))
  })

  test('pyiceberg agrees with both about what is left', async () => {
    const table = await loadTable(lab.lakeDir, 'trades')
    const answer = await runPython<{ queries: { all: { rows: SparkRow[] } } }>(
      await pythonWithPyiceberg(),
      'read_table.py',
      {
        metadata: join(lab.lakeDir, 'trades', 'metadata', `v${table.version}.metadata.json`),
        queries: { all: { filter: null, columns: ['_event_id'], snapshot: null } },
      },
    )
    const ids = (rows: readonly SparkRow[]): Set<unknown> => new Set(rows.map((row) => row['_event_id']))
    const ours = await engine.sql('SELECT _event_id FROM trades')
    expect(answer.queries.all.rows).toHaveLength(ours.length)
    expect(ids(answer.queries.all.rows)).toEqual(ids(ours))
  })

  test('a table that Spark moved to format version 3, with deletion vectors, is refused by name', async () => {
    await spark.sql('CREATE TABLE wh.third (id INT) USING iceberg')
    await spark.sql('INSERT INTO wh.third SELECT id FROM range(10)')
    await spark.sql(
      "ALTER TABLE wh.third SET TBLPROPERTIES ('format-version' = '3', 'write.delete.mode' = 'merge-on-read')",
    )
    await spark.sql('DELETE FROM wh.third WHERE id = 3')
    const catalog = new FileCatalog({
      store: storeOf(spark.ownDir),
      rootLocation: `file://${spark.ownDir}`,
      logger: silentLogger,
    })
    await expect(catalog.load('third')).rejects.toMatchObject({
      code: 'unsupported_table',
      message: expect.stringMatching(/third\/metadata\/v\d+\.metadata\.json has Iceberg format version 3/),
    })
  })
})

function floating(text: unknown, single: boolean): unknown {
  if (typeof text !== 'string') return text
  if (text === 'NaN' || text.endsWith('Infinity')) return text
  return single ? Math.fround(Number(text)) : Number(text)
}

/** Spark writes 0E-10 for a zero of ten places. */
function plainDecimals(row: SparkRow): SparkRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      value === '0E-10'
        ? '0.0000000000'
        : value === '1E-10'
          ? '0.0000000001'
          : value === '-1E-10'
            ? '-0.0000000001'
            : value,
    ]),
  )
}
