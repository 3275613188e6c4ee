import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { emptyTable } from '../../test/conformance/lake-fixture.ts'
import { parseJson, stringifyJson } from './json.ts'
import {
  currentSnapshot,
  evolveTable,
  formatPositions,
  formerFields,
  parseMetadata,
  parsePositions,
  samePositions,
  serializeMetadata,
  tablePositions,
  uuid,
  withSchema,
  type Snapshot,
  type TableMetadata,
} from './metadata.ts'
import { tableColumns } from './schema.ts'

const located = { ...emptyTable(), location: 'file:///lake/trades' }
const raw = (): Record<string, unknown> => parseJson(serializeMetadata(located)) as Record<string, unknown>
const parse = (value: unknown): TableMetadata => parseMetadata(stringifyJson(value), 'v1.metadata.json')

function snapshot(id: bigint, parent: bigint | undefined, positions?: string): Snapshot {
  return {
    'snapshot-id': id,
    ...(parent === undefined ? {} : { 'parent-snapshot-id': parent }),
    'sequence-number': 1,
    'timestamp-ms': 1,
    'manifest-list': 'x',
    summary: { operation: 'append', ...(positions === undefined ? {} : { 'freshet.positions': positions }) },
  }
}

function withSnapshots(snapshots: Snapshot[], properties: Record<string, string> = {}): TableMetadata {
  const id = snapshots.at(-1)!['snapshot-id']
  return {
    ...located,
    snapshots,
    'current-snapshot-id': id,
    refs: { main: { 'snapshot-id': id, type: 'branch' } },
    properties,
  }
}

describe('table metadata', () => {
  test('comes back as written', () => {
    expect(parse(raw())).toEqual(located)
    const filled = withSnapshots([snapshot(1n, undefined, '{"0":"1"}'), snapshot(2n ** 63n - 1n, 1n)])
    expect(parseMetadata(serializeMetadata(filled), 'f')).toEqual(filled)
  })

  test('what other engines write is kept, known to us or not', () => {
    const foreign = { ...raw(), statistics: [{ 'snapshot-id': 2n ** 62n, path: 'p' }], 'row-lineage': false }
    expect(parseJson(serializeMetadata(parse(foreign)))).toMatchObject({
      statistics: [{ 'snapshot-id': 2n ** 62n, path: 'p' }],
      'row-lineage': false,
    })
  })

  test('what the spec lets writers leave out is filled in', () => {
    const {
      refs: _r,
      snapshots: _s,
      properties: _p,
      'snapshot-log': _l,
      'metadata-log': _m,
      'current-snapshot-id': _c,
      ...sparse
    } = raw()
    expect(parse(sparse)).toEqual({ ...located, properties: {} })
    expect(parse({ ...raw(), 'current-snapshot-id': null })).toEqual(located)
    expect(parse({ ...raw(), location: 'file:///lake/trades/' }).location).toBe('file:///lake/trades')
  })

  test('a missing or wrong key, and a reference to nothing, is named together with the file', () => {
    for (const key of [
      'table-uuid',
      'location',
      'last-sequence-number',
      'schemas',
      'partition-specs',
      'last-column-id',
    ]) {
      const { [key]: _gone, ...rest } = raw()
      const error = {
        code: 'corrupt_table',
        message: expect.stringMatching(new RegExp(`v1\\.metadata\\.json.*${key}`)) as string,
      }
      expect(() => parse(rest)).toThrow(expect.objectContaining(error) as Error)
      expect(() => parse({ ...rest, [key]: true })).toThrow(expect.objectContaining(error) as Error)
    }
    for (const dangling of [{ 'current-schema-id': 9 }, { 'default-spec-id': 9 }, { 'current-snapshot-id': 9 }]) {
      expect(() => parse({ ...raw(), ...dangling })).toThrow(/v1\.metadata\.json.* 9/)
    }
  })

  test('no prefix of a metadata file passes for metadata', () => {
    const text = serializeMetadata(located)
    for (let length = 0; length < text.length; length++) {
      expect(() => parseMetadata(text.slice(0, length), 'v1')).toThrow(
        expect.objectContaining({ code: 'corrupt_table' }) as Error,
      )
    }
    for (const text2 of ['null', '[]', '1', '"x"']) expect(() => parseMetadata(text2, 'v1')).toThrow(/v1/)
  })

  test('a table has a UUID of version 4', () => {
    expect(uuid({ hex: (bytes) => 'f'.repeat(bytes * 2), integer: () => 0 })).toBe(
      'ffffffff-ffff-4fff-bfff-ffffffffffff',
    )
    expect(uuid({ hex: (bytes) => '0'.repeat(bytes * 2), integer: () => 0 })).toBe(
      '00000000-0000-4000-8000-000000000000',
    )
  })

  test("former fields are remembered in the table's properties", () => {
    const evolution = evolveTable(located, tableColumns([{ name: 'price', type: { kind: 'string' } }]))!
    const next = withSchema(located, evolution)
    expect(next.properties['freshet.former-fields']).toBe('{"7":[6]}')
    expect(formerFields(parse(parseJson(serializeMetadata(next))))).toEqual(new Map([[7, [6]]]))
    expect(next['last-column-id']).toBe(7)
  })
})

describe('positions of a table', () => {
  test('survive a round trip, all 64 bits of them', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(fc.nat(1000), fc.bigInt({ min: 0n, max: 2n ** 63n - 1n })), {
          selector: ([partition]) => partition,
        }),
        (entries) => {
          expect(samePositions(parsePositions(formatPositions(new Map(entries))), new Map(entries))).toBe(true)
        },
      ),
    )
  })

  test('are those of the current snapshot', () => {
    expect(
      tablePositions(withSnapshots([snapshot(1n, undefined, '{"0":"5"}'), snapshot(2n, 1n, '{"0":"9"}')])),
    ).toEqual(new Map([[0, 9n]]))
    expect(tablePositions(located)).toEqual(new Map())
  })

  test('are found behind snapshots of other engines', () => {
    expect(
      tablePositions(withSnapshots([snapshot(1n, undefined, '{"0":"5"}'), snapshot(2n, 1n), snapshot(3n, 2n)])),
    ).toEqual(new Map([[0, 5n]]))
  })

  test('go back with a table that was rolled back', () => {
    const table = withSnapshots([snapshot(1n, undefined, '{"0":"5"}'), snapshot(2n, 1n, '{"0":"9"}')], {
      'freshet.positions': '{"0":"9"}',
    })
    expect(tablePositions({ ...table, 'current-snapshot-id': 1n })).toEqual(new Map([[0, 5n]]))
  })

  test('are still known when another engine expired all snapshots of ours', () => {
    const table = withSnapshots([snapshot(3n, 2n)], { 'freshet.positions': '{"0":"9"}' })
    expect(currentSnapshot(table)?.summary['freshet.positions']).toBeUndefined()
    expect(tablePositions(table)).toEqual(new Map([[0, 9n]]))
  })

  test('that cannot be read are an error, never zero', () => {
    expect(() => tablePositions(withSnapshots([snapshot(1n, undefined, 'oops')]))).toThrow(/"oops"/)
    expect(() => parsePositions('{"0":"x"}')).toThrow(expect.objectContaining({ code: 'corrupt_table' }) as Error)
  })

  test('a partition that is missing is at its start', () => {
    expect(samePositions(new Map([[0, 0n]]), new Map())).toBe(true)
    expect(samePositions(new Map([[0, 1n]]), new Map())).toBe(false)
  })
})
