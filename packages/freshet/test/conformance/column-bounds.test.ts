/**
 * Column bounds against full scans: whatever a file holds, no value of it lies outside its bounds in Iceberg's order, so that a file
 * is never left out of a scan whose condition one of its rows satisfies.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ColumnType } from '../../src/config/plan.ts'
import { storedType } from '../../src/engine/columns.ts'
import { compareValues, decodeBound, type BoundValue } from '../../src/lake/bound-values.ts'
import { dataFileFrom, type CopyStatistics, type DataFile } from '../../src/lake/data-file.ts'
import { createSchema } from '../../src/lake/schema.ts'

/** A value as SQL writes it, and as Iceberg sees it. */
interface Sample {
  sql: string
  value: BoundValue
}

const bigints = (min: bigint, max: bigint): fc.Arbitrary<bigint> =>
  fc.oneof(fc.bigInt({ min, max }), fc.constantFrom(min, max), fc.bigInt({ min: -3n, max: 3n }))
const hex = (bytes: Uint8Array): string => `unhex('${Buffer.from(bytes).toString('hex')}')`
const whole = (min: bigint, max: bigint): fc.Arbitrary<Sample> =>
  bigints(min, max).map((value) => ({ sql: `CAST('${value}' AS BIGINT)`, value }))
const bytes = fc
  .tuple(fc.constantFrom(0, 10, 15, 16, 17, 40), fc.constantFrom(0, 0x61, 0xff), fc.uint8Array({ maxLength: 6 }))
  .map(([length, fill, tail]) => Buffer.concat([Buffer.alloc(length, fill), tail]))
const texts = fc
  .tuple(
    fc.constantFrom(
      '',
      'x'.repeat(15),
      'x'.repeat(300),
      '\u{10ffff}'.repeat(15),
      '\u{10ffff}'.repeat(80),
      '\ud7ff'.repeat(100),
      'é'.repeat(200),
    ),
    fc.string({ unit: 'binary', maxLength: 6 }),
  )
  .map(([head, tail]) => head + tail)
const decimals = (precision: number, scale: number): fc.Arbitrary<Sample> => {
  const max = 10n ** BigInt(precision) - 1n
  return bigints(-max, max).map((unscaled) => {
    const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
    const point = digits.length - scale
    return {
      sql: `'${unscaled < 0n ? '-' : ''}${digits.slice(0, point)}.${digits.slice(point)}'`,
      value: { unscaled, scale },
    }
  })
}
const uuids = fc
  .tuple(bigints(-(2n ** 63n), 2n ** 63n - 1n), bigints(-(2n ** 63n), 2n ** 63n - 1n))
  .map(([high, low]) => [high, low].map((part) => BigInt.asUintN(64, part).toString(16).padStart(16, '0')).join(''))
const timeText = (micros: bigint): string => {
  const [seconds, fraction] = [micros / 1_000_000n, micros % 1_000_000n]
  const parts = [seconds / 3600n, (seconds / 60n) % 60n, seconds % 60n].map((part) => String(part).padStart(2, '0'))
  return `${parts.join(':')}.${String(fraction).padStart(6, '0')}`
}
const floats = (values: fc.Arbitrary<number>): fc.Arbitrary<Sample> =>
  values.map((value) => ({ sql: `'${Object.is(value, -0) ? '-0.0' : value}'`, value }))

const types: [ColumnType, fc.Arbitrary<Sample>][] = [
  [{ kind: 'boolean' }, fc.boolean().map((value) => ({ sql: String(value), value }))],
  [{ kind: 'int' }, whole(-(2n ** 31n), 2n ** 31n - 1n)],
  [{ kind: 'long' }, whole(-(2n ** 63n), 2n ** 63n - 1n)],
  [{ kind: 'float' }, floats(fc.oneof(fc.float(), fc.constantFrom(0.1, -0, 0, 16777216, 1e-45).map(Math.fround)))],
  [{ kind: 'double' }, floats(fc.oneof(fc.double(), fc.constantFrom(0.1, -0, 0, 5e-324)))],
  [{ kind: 'decimal', precision: 4, scale: 2 }, decimals(4, 2)],
  [{ kind: 'decimal', precision: 18, scale: 0 }, decimals(18, 0)],
  [{ kind: 'decimal', precision: 18, scale: 18 }, decimals(18, 18)],
  [{ kind: 'decimal', precision: 38, scale: 10 }, decimals(38, 10)],
  [
    { kind: 'date' },
    bigints(-1_000_000n, 3_000_000n).map((value) => ({
      sql: `(DATE '1970-01-01' + CAST(${value} AS INTEGER))`,
      value,
    })),
  ],
  [
    { kind: 'time' },
    bigints(0n, 86_399_999_999n)
      .map((value) => (value < 0n ? 0n : value))
      .map((value) => ({ sql: `'${timeText(value)}'`, value })),
  ],
  [
    { kind: 'timestamp' },
    bigints(-(10n ** 17n), 25n * 10n ** 16n).map((value) => ({ sql: `make_timestamp(${value})`, value })),
  ],
  [
    { kind: 'timestamptz' },
    bigints(-(10n ** 17n), 25n * 10n ** 16n).map((value) => ({ sql: `make_timestamp(${value})`, value })),
  ],
  [{ kind: 'string' }, texts.map((value) => ({ sql: `decode(${hex(Buffer.from(value))})`, value }))],
  [{ kind: 'json' }, texts.map((value) => ({ sql: `decode(${hex(Buffer.from(value))})`, value }))],
  [
    { kind: 'uuid' },
    uuids.map((text) => ({
      sql: `'${text.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')}'`,
      value: Buffer.from(text, 'hex'),
    })),
  ],
  [{ kind: 'binary' }, bytes.map((value) => ({ sql: hex(value), value }))],
]

describe('column bounds', () => {
  let folder: string
  let connection: DuckDBConnection
  /** The last file written. Names are not used again: DuckDB keeps what it knows of a file by its name. */
  let path = ''
  let files = 0

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'freshet-bounds-'))
    connection = await (await DuckDBInstance.create(':memory:')).connect()
    await connection.run("SET timezone = 'UTC'")
  })
  afterAll(async () => {
    connection.closeSync()
    await rm(folder, { recursive: true })
  })

  /** A file with one column, `v`, whose field id is 1. */
  async function write(type: ColumnType, values: readonly string[]): Promise<DataFile> {
    const { schema } = createSchema([{ name: 'v', type }])
    const list = values.map((sql) => `(CAST(${sql} AS ${storedType(type)}))`).join(', ')
    path = join(folder, `${++files}.parquet`)
    const result = await connection.runAndReadAll(
      `COPY (SELECT v FROM (VALUES ${list}) AS t(v)) TO '${path}' (FORMAT parquet, COMPRESSION zstd, FIELD_IDS {v: 1}, RETURN_STATS)`,
    )
    return dataFileFrom(result.getRowObjectsJson()[0] as unknown as CopyStatistics, {
      path,
      schema,
      partition: {},
    })
  }

  const named = types.map(([type, samples]) => [storedType(type), type, samples] as const)

  test.each(named)('enclose every value: %s', async (_, type, samples) => {
    const icebergType = createSchema([{ name: 'v', type }]).schema.fields[0]!.type as string
    const rows = fc.array(fc.option(samples, { nil: undefined, freq: 8 }), { minLength: 1, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(rows, samples, async (values, wanted) => {
        const file = await write(
          type,
          values.map((one) => one?.sql ?? 'NULL'),
        )
        const lower = decodeBound(icebergType, file.lowerBounds.get(1))
        const upper = decodeBound(icebergType, file.upperBounds.get(1))
        expect(file.nullValueCounts.get(1)).toBe(values.filter((one) => one === undefined).length)
        for (const one of values) {
          if (one === undefined || Number.isNaN(one.value)) continue
          if (lower !== undefined) expect(compareValues(lower, one.value)).toBeLessThanOrEqual(0)
          if (upper !== undefined) expect(compareValues(upper, one.value)).toBeGreaterThanOrEqual(0)
        }
        // What the file would be left out for, DuckDB finds no row of.
        const excluded = [
          lower !== undefined && compareValues(wanted.value, lower)! < 0 && '<=',
          upper !== undefined && compareValues(wanted.value, upper)! > 0 && '>=',
        ].filter((op) => op !== false)
        for (const op of excluded) {
          const found = await connection.runAndReadAll(
            `SELECT count(*) FROM '${path}' WHERE v ${op} CAST(${wanted.sql} AS ${storedType(type)})`,
          )
          expect(found.getRows()).toEqual([[0n]])
        }
      }),
      { numRuns: 60 },
    )
  })

  test('are there where they can be', async () => {
    const without: string[] = []
    for (const [type, samples] of types) {
      const plain = samples.filter(
        ({ value }) => !Number.isNaN(value) && !(typeof value === 'string' && value.length > 100),
      )
      const [one] = fc.sample(plain, { numRuns: 1, seed: 7 })
      if ((await write(type, [one!.sql])).lowerBounds.size === 0) without.push(storedType(type))
    }
    expect(without.filter((name) => name !== 'UUID')).toEqual([])
  })
})
