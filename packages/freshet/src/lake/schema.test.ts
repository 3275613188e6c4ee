import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemColumns, type Column, type ColumnType } from '../config/plan.ts'
import {
  columnsOf,
  createSchema,
  evolveSchema,
  leavesOf,
  tableColumns,
  type Evolution,
  type IcebergType,
  type StructType,
} from './schema.ts'

const start = (columns: Column[]): Evolution => ({ ...createSchema(columns), formerFields: new Map() })
const long: ColumnType = { kind: 'long' }
const text: ColumnType = { kind: 'string' }

/** Names for small schemas, so that evolutions meet the same name often. */
const names = fc.constantFrom('a', 'b', 'c', 'd')
const { columnTypes } = fc.letrec<{ columnTypes: ColumnType; columns: Column[] }>((tie) => ({
  columnTypes: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<ColumnType>(
      { kind: 'long' },
      { kind: 'double' },
      { kind: 'string' },
      { kind: 'json' },
      { kind: 'boolean' },
    ),
    fc.record({ kind: fc.constant('list' as const), element: tie('columnTypes') }),
    fc.record({ kind: fc.constant('map' as const), value: tie('columnTypes') }),
    fc.record({ kind: fc.constant('struct' as const), fields: tie('columns') }),
  ),
  columns: fc.uniqueArray(fc.record({ name: names, type: tie('columnTypes') }), {
    selector: (column) => column.name,
    minLength: 1,
    maxLength: 3,
  }),
}))
const columnLists = fc.uniqueArray(fc.record({ name: names, type: columnTypes }), {
  selector: (column) => column.name,
  maxLength: 4,
})

function allIds(schema: StructType): number[] {
  const ids: number[] = []
  const visit = (type: IcebergType): void => {
    if (typeof type === 'string') return
    if (type.type === 'struct') {
      for (const field of type.fields) {
        ids.push(field.id)
        visit(field.type)
      }
    } else if (type.type === 'list') {
      ids.push(type['element-id'])
      visit(type.element)
    } else {
      ids.push(type['key-id'], type['value-id'])
      visit(type.value)
    }
  }
  visit(schema)
  return ids
}

describe('schemas', () => {
  test('only the event id and event time are required', () => {
    const { schema, lastColumnId } = createSchema(tableColumns([{ name: 'price', type: { kind: 'double' } }]))
    expect(schema.fields.filter((field) => field.required).map((field) => field.name)).toEqual([
      '_event_id',
      '_event_time',
    ])
    expect(schema.fields.map((field) => field.id)).toEqual([1, 2, 3, 4, 5, 6])
    expect(lastColumnId).toBe(systemColumns.length + 1)
  })

  test('columns of any type come back from the schema, JSON inside lists and maps too', () => {
    fc.assert(
      fc.property(columnLists, (columns) => {
        expect(columnsOf(createSchema(columns).schema)).toEqual(columns)
      }),
    )
  })

  test('field ids are unique and none is above the last one', () => {
    fc.assert(
      fc.property(columnLists, (columns) => {
        const { schema, lastColumnId } = createSchema(columns)
        const ids = allIds(schema)
        expect(new Set(ids).size).toBe(ids.length)
        expect(Math.max(0, ...ids)).toBe(lastColumnId)
      }),
    )
  })

  test('a type of another engine that Freshet cannot read is refused by name', () => {
    const schema: StructType = {
      type: 'struct',
      fields: [{ id: 1, name: 'fee', required: false, type: 'geometry(OGC:CRS84)' }],
    }
    expect(() => columnsOf(schema)).toThrow(/fee.*geometry\(OGC:CRS84\)/)
  })

  test('leaves carry their path, and whether a row has many of them', () => {
    const { schema } = createSchema([
      { name: 'o', type: { kind: 'struct', fields: [{ name: 'x', type: long }] } },
      { name: 'm', type: { kind: 'map', value: { kind: 'list', element: text } } },
    ])
    expect(leavesOf(schema)).toEqual([
      { id: 2, path: ['o', 'x'], type: 'long', repeated: false },
      { id: 4, path: ['m', 'key'], type: 'string', repeated: true },
      { id: 6, path: ['m', 'value', 'element'], type: 'string', repeated: true },
    ])
  })
})

describe('schema evolution', () => {
  test('the same columns change nothing', () => {
    fc.assert(
      fc.property(columnLists, (columns) => {
        expect(evolveSchema(start(columns), columns)).toBeUndefined()
      }),
    )
  })

  test('new columns and nested fields get fresh ids, the others keep theirs', () => {
    const base = start([{ name: 'o', type: { kind: 'struct', fields: [{ name: 'x', type: long }] } }])
    const next = evolveSchema(base, [
      { name: 'o', type: { kind: 'struct', fields: [{ name: 'y', type: text }] } },
      { name: 'n', type: long },
    ])!
    expect(next.schema.fields).toEqual([
      {
        id: 1,
        name: 'o',
        required: false,
        type: {
          type: 'struct',
          fields: [
            { id: 2, name: 'x', required: false, type: 'long' },
            { id: 3, name: 'y', required: false, type: 'string' },
          ],
        },
      },
      { id: 4, name: 'n', required: false, type: 'long' },
    ])
    expect(next.lastColumnId).toBe(4)
    expect(next.schema['schema-id']).toBe(1)
  })

  test('fields of structs inside lists and maps evolve too', () => {
    const structOf = (...fields: string[]): ColumnType => ({
      kind: 'struct',
      fields: fields.map((name) => ({ name, type: long })),
    })
    const base = start([{ name: 'l', type: { kind: 'list', element: { kind: 'map', value: structOf('x') } } }])
    const wanted: Column[] = [
      { name: 'l', type: { kind: 'list', element: { kind: 'map', value: structOf('x', 'y') } } },
    ]
    const next = evolveSchema(base, wanted)!
    expect(columnsOf(next.schema)).toEqual(wanted)
    expect(next.formerFields.size).toBe(0)
  })

  test('a column that changes its type keeps the old values under another name', () => {
    const base = start([{ name: 'price', type: long }])
    const doubled = evolveSchema(base, [{ name: 'price', type: { kind: 'double' } }])!
    expect(doubled.schema.fields.map(({ id, name, type }) => ({ id, name, type }))).toEqual([
      { id: 1, name: 'price_v1', type: 'long' },
      { id: 2, name: 'price', type: 'double' },
    ])
    expect(doubled.formerFields).toEqual(new Map([[2, [1]]]))
    const texted = evolveSchema(doubled, [{ name: 'price', type: text }])!
    expect(texted.schema.fields.map((field) => field.name)).toEqual(['price_v1', 'price_v2', 'price'])
    expect(texted.formerFields).toEqual(
      new Map([
        [2, [1]],
        [3, [2, 1]],
      ]),
    )
  })

  test('the free name ignores case and respects columns to come', () => {
    const base = start([
      { name: 'p', type: long },
      { name: 'P_V1', type: text },
    ])
    const next = evolveSchema(base, [
      { name: 'p', type: text },
      { name: 'p_v2', type: text },
    ])!
    expect(next.schema.fields.find((field) => field.id === 1)?.name).toBe('p_v3')
  })

  test('text and JSON are different types, although both are stored as strings', () => {
    const next = evolveSchema(start([{ name: 'a', type: text }]), [{ name: 'a', type: { kind: 'json' } }])!
    expect(columnsOf(next.schema)).toEqual([
      { name: 'a_v1', type: text },
      { name: 'a', type: { kind: 'json' } },
    ])
  })

  test('narrower types of other engines are promoted in place', () => {
    const base = start([{ name: 'n', type: long }])
    base.schema.fields[0]!.type = 'int'
    const next = evolveSchema(base, [{ name: 'n', type: long }])!
    expect(next.schema.fields).toEqual([{ id: 1, name: 'n', required: false, type: 'long' }])
  })

  test('whatever evolves, ids keep their type and are never given twice, and the wanted columns are there', () => {
    fc.assert(
      fc.property(fc.array(columnLists, { minLength: 1, maxLength: 5 }), (versions) => {
        let at = start([])
        const leafTypes = new Map<number, string>()
        for (const columns of versions) {
          at = evolveSchema(at, columns) ?? at
          const ids = allIds(at.schema)
          expect(new Set(ids).size).toBe(ids.length)
          expect(Math.max(0, ...ids)).toBeLessThanOrEqual(at.lastColumnId)
          const leaves = leavesOf(at.schema)
          for (const leaf of leaves) expect(leafTypes.get(leaf.id) ?? leaf.type).toBe(leaf.type)
          for (const id of leafTypes.keys()) expect(leaves.some((leaf) => leaf.id === id)).toBe(true)
          for (const leaf of leaves) leafTypes.set(leaf.id, leaf.type)
          expect(evolveSchema(at, columns)).toBeUndefined()
        }
      }),
    )
  })
})
