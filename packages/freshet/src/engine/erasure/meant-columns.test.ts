import { expect, test } from 'vitest'
import type { Column } from '../../config/plan.ts'
import { newTableMetadata, type TableMetadata } from '../../lake/metadata.ts'
import { createSchema, type IcebergSchema } from '../../lake/schema.ts'
import { systemClock } from '../../runtime/clock.ts'
import { systemRandom } from '../../runtime/random.ts'
import { meansPresent, meantColumns } from './meant-columns.ts'

const text = { kind: 'string' } as const
const columns: Column[] = [
  { name: '_event_time', type: { kind: 'timestamptz' } },
  { name: 'a', type: text },
  { name: 'b', type: { kind: 'long' } },
  { name: 'c', type: text },
]

/** A table with a second schema, the present one, made of the first. */
function evolved(
  change: (fields: IcebergSchema['fields']) => IcebergSchema['fields'],
  former: Record<string, number[]> = {},
): TableMetadata {
  const partition = { by: 'event_time', unit: 'day' } as const
  const base = newTableMetadata({ columns, partition, clock: systemClock, random: systemRandom })
  const { schema } = createSchema(columns)
  const next = { ...schema, 'schema-id': 1, fields: change(schema.fields) }
  const properties = { ...base.properties, 'freshet.former-fields': JSON.stringify(former) }
  return { ...base, schemas: [schema, next], 'current-schema-id': 1, properties }
}

/** Which fields each name means. */
function meaning(metadata: TableMetadata, schemaId?: number): Record<string, number[]> {
  const { schema, columns: found } = meantColumns(metadata, schemaId)
  return Object.fromEntries(found.map(({ name, places }) => [name, places.map((place) => schema.fields[place]!.id)]))
}

const renamed = evolved((fields) => [
  ...fields.map((field) => (field.name === 'a' ? { ...field, name: 'z' } : field)),
  { id: 9, name: 'a', type: 'string', required: false },
])

test('a name means the field that had it then, though another has it at present', () => {
  expect(meaning(renamed, 0)).toEqual({ _event_time: [1], a: [2], b: [3], c: [4] })
  expect(meaning(renamed, 1)).toEqual({ _event_time: [1], z: [2], b: [3], c: [4], a: [9] })
  expect(meaning(renamed)).toEqual(meaning(renamed, 1))
  expect([meansPresent(renamed, 0), meansPresent(renamed, 1), meansPresent(renamed)]).toEqual([false, true, true])
})

test('a field that was dropped is there, under a name that takes no other', () => {
  const metadata = evolved((fields) => fields.filter(({ name }) => name !== 'c'))
  expect(meaning(metadata, 0)).toEqual({ _event_time: [1], a: [2], b: [3], c: [4] })
  expect(meaning(metadata)).not.toHaveProperty('c')
  const names = meantColumns(metadata, 0).schema.fields.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  expect(names).not.toContain('c')
})

test('a field that was continued by one of another type is both; columns that came later are there', () => {
  const metadata = evolved(
    (fields) => [
      ...fields.map((field) => (field.name === 'b' ? { ...field, name: 'b_v1' } : field)),
      { id: 9, name: 'b', type: 'double', required: false },
      { id: 10, name: 'd', type: 'string', required: false },
    ],
    { 9: [3] },
  )
  const expected = { _event_time: [1], a: [2], b: [9, 3], c: [4], d: [10] }
  expect(meaning(metadata, 0)).toEqual(expected)
  expect(meaning(metadata)).toEqual(expected)
  expect(meansPresent(metadata, 0)).toBe(true)
  expect(meantColumns(metadata, 0).columns.find(({ name }) => name === 'b')!.type).toEqual({ kind: 'double' })
})
