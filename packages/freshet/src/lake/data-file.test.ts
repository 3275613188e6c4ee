import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decodeLong } from './bound-values.ts'
import { dataFileFrom, type CopyStatistics, type DataFile } from './data-file.ts'
import { createSchema, leavesOf, type IcebergSchema } from './schema.ts'
import type { Column } from '../config/plan.ts'

/** The statistics come from DuckDB itself, so that a change in how it writes them is noticed. */
describe('data files from DuckDB statistics', () => {
  let folder: string
  let connection: DuckDBConnection

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'freshet-stats-'))
    connection = await (await DuckDBInstance.create(':memory:')).connect()
  })

  afterAll(async () => {
    connection.closeSync()
    await rm(folder, { recursive: true })
  })

  const write = async (
    columns: Column[],
    select: string,
    timeZone = 'UTC',
  ): Promise<{ file: DataFile; schema: IcebergSchema }> => {
    const { schema } = createSchema(columns)
    await connection.run(`set timezone='${timeZone}'`)
    const path = join(folder, 'x.parquet')
    const reader = await connection.runAndReadAll(`copy (${select}) to '${path}' (format parquet, return_stats)`)
    const [row] = reader.getRowObjectsJson() as unknown as CopyStatistics[]
    return { file: dataFileFrom(row!, { path, schema, partition: {} }), schema }
  }

  const primitives: Column[] = [
    { name: 'b', type: { kind: 'boolean' } },
    { name: 'l', type: { kind: 'long' } },
    { name: 'd', type: { kind: 'double' } },
    { name: 's', type: { kind: 'string' } },
    { name: 'day', type: { kind: 'date' } },
    { name: 't', type: { kind: 'timestamptz' } },
  ]

  test('every primitive type has exact bounds and counts', async () => {
    const { file } = await write(
      primitives,
      `select i > 1 as b, (-9223372036854775808 + i)::bigint as l, i / 3.0::double as d, 's' || i as s, date '1969-12-31' + i::int as day,
       timestamptz '1969-12-31 23:59:59.999999+00' + to_seconds(i) as t from range(3) r(i)`,
    )
    expect(file).toMatchObject({ recordCount: 3 })
    expect(file.bytes).toBeGreaterThan(0)
    const lower = file.lowerBounds
    const upper = file.upperBounds
    expect([lower.get(1)![0], upper.get(1)![0]]).toEqual([0, 1])
    expect([decodeLong(lower.get(2)), decodeLong(upper.get(2))]).toEqual([-(2n ** 63n), -(2n ** 63n) + 2n])
    expect([lower.get(3)!.readDoubleLE(), upper.get(3)!.readDoubleLE()]).toEqual([-0, 2 / 3])
    expect([lower.get(4)!.toString(), upper.get(4)!.toString()]).toEqual(['s0', 's2'])
    expect([lower.get(5)!.readInt32LE(), upper.get(5)!.readInt32LE()]).toEqual([-1, 1])
    expect([decodeLong(lower.get(6)), decodeLong(upper.get(6))]).toEqual([-1n, 1_999_999n])
    for (const id of [1, 2, 3, 4, 5, 6]) {
      expect([file.valueCounts.get(id), file.nullValueCounts.get(id)]).toEqual([3, 0])
      expect(file.columnSizes.get(id)).toBeGreaterThan(0)
    }
    expect(file.nanValueCounts).toEqual(new Map([[3, 0]]))
  })

  test("the session's time zone does not move timestamps", async () => {
    for (const zone of ['UTC', 'America/New_York', 'Asia/Kathmandu']) {
      const { file } = await write(
        [{ name: 't', type: { kind: 'timestamptz' } }],
        `select timestamptz '2013-10-07 13:30:00.5+00' as t`,
        zone,
      )
      expect(decodeLong(file.lowerBounds.get(1))).toBe(1_381_152_600_500_000n)
    }
  })

  test('nulls are counted, and a column of nothing else has no bounds', async () => {
    const { file } = await write(
      primitives,
      'select null::boolean as b, case when i = 0 then 5 end::bigint as l, null::double as d, null::varchar as s, null::date as day, null::timestamptz as t from range(4) r(i)',
    )
    expect([...file.lowerBounds.keys()]).toEqual([2])
    expect([file.nullValueCounts.get(1), file.nullValueCounts.get(2), file.valueCounts.get(2)]).toEqual([4, 3, 4])
  })

  test('NaN and infinite times leave a column without the bounds they would spoil', async () => {
    const { file } = await write(
      ['nan', 'inf', 'endless'].map((name) => ({
        name,
        type: { kind: name === 'endless' ? 'timestamptz' : 'double' },
      })) as Column[],
      `select case when i = 0 then 'nan'::double else 1 end as nan, case when i = 0 then 'infinity'::double else 1 end as inf,
       case when i = 0 then 'infinity'::timestamptz else timestamptz '1970-01-01 00:00:00+00' end as endless from range(2) r(i)`,
    )
    expect([...file.lowerBounds.keys()].toSorted((a, b) => a - b)).toEqual([2, 3])
    expect([...file.upperBounds]).toEqual([[2, Buffer.from('000000000000f07f', 'hex')]])
    expect(file.nanValueCounts).toEqual(new Map([[2, 0]]))
  })

  test('nested columns and awkward names go by their field ids; lists and maps have sizes only', async () => {
    const columns: Column[] = [
      {
        name: 'o',
        type: {
          kind: 'struct',
          fields: [
            { name: 'a.b', type: { kind: 'long' } },
            { name: 'c"d', type: { kind: 'string' } },
          ],
        },
      },
      { name: 'l', type: { kind: 'list', element: { kind: 'long' } } },
      {
        name: 'm',
        type: { kind: 'map', value: { kind: 'struct', fields: [{ name: 'q', type: { kind: 'double' } }] } },
      },
      { name: 'x', type: { kind: 'json' } },
    ]
    const { file, schema } = await write(
      columns,
      `select {'a.b': 7::bigint, 'c"d': 'v'} as o, [1::bigint, 2] as l, map {'k': {'q': 1.5::double}} as m, '{"a":1}' as x`,
    )
    const leaves = leavesOf(schema)
    expect([...file.columnSizes.keys()].toSorted((a, b) => a - b)).toEqual(
      leaves.map((leaf) => leaf.id).toSorted((a, b) => a - b),
    )
    const flat = leaves.filter((leaf) => !leaf.repeated).map((leaf) => leaf.id)
    expect([...file.lowerBounds.keys()].toSorted((a, b) => a - b)).toEqual(flat.toSorted((a, b) => a - b))
    expect(file.lowerBounds.get(2)).toEqual(Buffer.from('0700000000000000', 'hex'))
    expect(file.upperBounds.get(3)?.toString()).toBe('v')
  })

  test('text of any characters and length is enclosed', async () => {
    expect.hasAssertions()
    const texts = [
      String.raw`it's {a="b\\"`,
      'line\nbreak',
      'ä'.repeat(300),
      '\u{1f600}'.repeat(20),
      'x'.repeat(10_000),
    ]
    for (const text of texts) {
      const { file } = await write(
        [{ name: 's', type: { kind: 'string' } }],
        `select '${text.replaceAll("'", "''")}' as s`,
      )
      const lower = file.lowerBounds.get(1)
      const upper = file.upperBounds.get(1)
      if (lower !== undefined) expect(Buffer.compare(lower, Buffer.from(text))).toBeLessThanOrEqual(0)
      if (upper !== undefined) expect(Buffer.compare(upper, Buffer.from(text))).toBeGreaterThanOrEqual(0)
    }
  })

  test('a column that the schema lacks is an error, not a silent gap', async () => {
    await expect(write([{ name: 'a', type: { kind: 'long' } }], 'select 1::bigint as a, 2 as b')).rejects.toMatchObject(
      { code: 'internal' },
    )
  })
})
