import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import { parquetMetadata, parquetReadObjects } from 'hyparquet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keyOf } from '../../src/lake/table-paths.ts'
import { planScan } from '../../src/lake/scan.ts'
import { Lab, type LabEngine } from '../integration/engine-harness.ts'
import { pythonWithPyiceberg, runPython } from './python.ts'
import { loadTable, storeOf } from './lab-table.ts'
import { eventsFor, rowsFor, typed } from './typed-stream.ts'

interface Answer {
  schema: Record<string, string>
  rows: Record<string, unknown>[]
  queries: Record<string, { files: number; ids: string[] }>
}

describe('a column of every type', () => {
  let lab: Lab
  let engine: LabEngine
  const columns = typed.columns!

  beforeAll(async () => {
    lab = await Lab.open({ streams: { typed }, plan: { lake: { flushIntervalMs: 1 } } })
    engine = await lab.start()
    // A file for each row, so that filters have something to leave out.
    for (const event of eventsFor(columns)) {
      await lab.post('typed', [event])
      await engine.committed('typed')
    }
  }, 300_000)
  afterAll(() => lab?.close())

  const byId = (rows: readonly Record<string, unknown>[]): Record<string, unknown>[] =>
    rows.toSorted((a, b) => (String(a['id']) < String(b['id']) ? -1 : 1))

  describe('in pyiceberg', () => {
    let answer: Answer
    const expected = byId(rowsFor(columns))
    /** Filters, and the rows that satisfy them. */
    const filters: Record<string, [filter: string, ids: string[], files: number]> = {
      int: ['i > 7', ['highest'], 1],
      long: ['l = 9223372036854775807', ['highest'], 1],
      float: ['f < -1.5', ['lowest'], 2],
      double: ['d > 100000000000.5', ['highest'], 2],
      infinite: ['d < -100000000000.5', ['endless', 'lowest'], 3],
      decimal: ["dec38 > '1234567890123456789012345678.0123456788'", ['highest', 'typical'], 2],
      decimalEqual: ["dec18 = '12345678901234.5678'", ['typical'], 1],
      decimalBelow: ["dec4 <= '-99.99'", ['lowest'], 1],
      date: ["day < '1970-01-01'", ['lowest', 'odd'], 2],
      time: ["tm >= '13:30:00.123456'", ['highest', 'typical'], 2],
      timestamp: ["ts < '1970-01-01T00:00:00'", ['lowest', 'odd'], 2],
      timestamptz: ["tz >= '2013-10-07T12:00:00.123456+00:00'", ['highest', 'typical'], 2],
      string: ["s > 'héllo'", ['endless', 'highest', 'odd', 'typical'], 4],
      uuid: ["u = '0191f4a0-0000-7000-8000-000000000001'", ['typical'], 2],
      none: ['l is null', ['nulls'], 1],
      nan: ['d is nan', ['odd'], 1],
    }

    beforeAll(async () => {
      const table = await loadTable(lab.lakeDir, 'typed')
      answer = await runPython<Answer>(await pythonWithPyiceberg(), 'read_types.py', {
        metadata: join(lab.lakeDir, 'typed', 'metadata', `v${table.version}.metadata.json`),
        columns: columns.map(({ name }) => name),
        queries: Object.fromEntries(Object.entries(filters).map(([name, [filter]]) => [name, filter])),
      })
    }, 600_000)

    test('has the type that was declared', () => {
      expect(answer.schema).toMatchObject({
        b: 'boolean',
        i: 'int',
        l: 'long',
        f: 'float',
        d: 'double',
        dec4: 'decimal(4, 2)',
        dec38: 'decimal(38, 10)',
        day: 'date',
        tm: 'time',
        ts: 'timestamp',
        tz: 'timestamptz',
        s: 'string',
        u: 'uuid',
        bin: 'binary',
        j: 'string',
      })
    })

    test('has the value that was sent', () => {
      // pyiceberg makes empty lists of the lists of structs that are null; hyparquet (below) shows that they are null in the file.
      const shown = expected.map((row) => (row['id'] === 'nulls' ? { ...row, parts: [] } : row))
      expect(byId(answer.rows)).toEqual(shown)
    })

    test.each(Object.entries(filters))('is filtered by its bounds without losing a row: %s', (name, [, ids, files]) => {
      const found = answer.queries[name]!
      expect(found.ids).toEqual(ids)
      expect(found.files).toBe(files)
    })
  })

  test('has the same values in hyparquet, which reads the files alone', async () => {
    const table = await loadTable(lab.lakeDir, 'typed')
    const { files } = await planScan(storeOf(lab.lakeDir), table)
    const rows: Record<string, unknown>[] = []
    for (const { path, recordCount, bytes } of files) {
      const body = await readFile(join(lab.lakeDir, keyOf(table, path)))
      expect(body.length).toBe(bytes)
      const file = body.buffer.slice(body.byteOffset, body.byteOffset + body.length)
      expect(Number(parquetMetadata(file).num_rows)).toBe(recordCount)
      const compressors = { ZSTD: (input: Uint8Array) => new Uint8Array(zstdDecompressSync(input)) }
      rows.push(...(await parquetReadObjects({ file, compressors, utf8: false })))
    }
    const simple = ['id', 'b', 'i', 'l', 's', 'j']
    const pick = (row: Record<string, unknown>): unknown[] => simple.map((name) => row[name] ?? null)
    const expected = rowsFor(columns).map((row) => ({
      ...row,
      l: row['l'] === null ? null : BigInt(row['l'] as string),
    }))
    expect(byId(rows).map(pick)).toEqual(byId(expected).map(pick))
    const typical = rows.find(({ id }) => id === 'typical')!
    expect(typical['day']).toEqual(new Date('2013-10-07'))
    expect(typical['d']).toBe(0.1)
    expect(typical['dec4']).toBe(1.25)
    expect(Buffer.from(typical['bin'] as Uint8Array).toString('base64')).toBe('AAEC/w==')
    expect(rows.find(({ id }) => id === 'odd')!['d']).toBeNaN()
    const nulls = rows.find(({ id }) => id === 'nulls')!
    expect(
      columns.filter(({ name }) => name !== 'id' && name !== 'at' && nulls[name] !== null).map(({ name }) => name),
    ).toEqual([])
  })

  test('has the same values in SQL, hot and from files', async () => {
    const select = columns.map(({ name, type }) =>
      ['long', 'decimal', 'float', 'double'].includes(type.kind) ? `CAST(${name} AS VARCHAR) AS ${name}` : `"${name}"`,
    )
    const rows = await engine.sql(`SELECT ${select.join(', ')} FROM typed`)
    const micros = (text: unknown): unknown =>
      typeof text === 'string' ? text.replace(/(\.\d{3})(?=Z?$)/, '$1000') : text
    const plain = (row: Record<string, unknown>): Record<string, unknown> => ({
      ...row,
      at: micros(row['at']),
      ts: micros(row['ts']),
      tz: micros(row['tz']),
      f: floatText(row['f']),
      d: floatText(row['d']),
    })
    const same = (row: Record<string, unknown>): unknown[] =>
      ['id', 'at', 'b', 'i', 'l', 'f', 'd', 'dec4', 'dec18', 'dec38', 'day', 'ts', 'tz', 's', 'u', 'bin', 'days'].map(
        (name) => row[name],
      )
    expect(byId(rows).map((row) => same(plain(row)))).toEqual(byId(rowsFor(columns)).map(same))
  })
})

function floatText(text: unknown): unknown {
  if (typeof text !== 'string') return text
  if (text === 'nan') return 'NaN'
  if (text.endsWith('inf')) return text.startsWith('-') ? '-Infinity' : 'Infinity'
  return Number(text) === 3.4028235e38 || Number(text) === -3.4028235e38 ? Math.fround(Number(text)) : Number(text)
}
