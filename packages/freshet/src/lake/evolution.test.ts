import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Column, ColumnType, Rename } from '../config/plan.ts'
import { dropFields, orderFields, relaxFields, renameFields, type Refusal } from './evolution.ts'
import {
  columnsOf,
  createSchema,
  evolveSchema,
  type EvolutionBase,
  type IcebergType,
  type NestedField,
  type StructType,
} from './schema.ts'
import { schemaChanges } from './schema-changes.ts'

const long: ColumnType = { kind: 'long' }
const text: ColumnType = { kind: 'string' }
const start = (columns: Column[]): EvolutionBase => ({ ...createSchema(columns), formerFields: new Map() })
const struct = (...names: string[]): ColumnType => ({
  kind: 'struct',
  fields: names.map((name) => ({ name, type: text })),
})
const people = (): EvolutionBase =>
  start([
    { name: 'postcode', type: text },
    { name: 'address', type: struct('street', 'town') },
    { name: 'legs', type: { kind: 'list', element: struct('cost', 'note') } },
    { name: 'rates', type: { kind: 'map', value: struct('offer', 'note') } },
  ])

const rename = (path: string, ...former: string[]): Rename => ({ path: path.split('.'), former })
const idsByPath = (base: EvolutionBase): Map<string, number> => pathsOf(base.schema)

function pathsOf(type: IcebergType, path = ''): Map<string, number> {
  const found = new Map<string, number>()
  if (typeof type === 'string') return found
  const inner = (at: string, id: number, inside: IcebergType): void => {
    found.set(at, id)
    for (const [deeper, one] of pathsOf(inside, at)) found.set(deeper, one)
  }
  if (type.type === 'struct') {
    for (const field of type.fields) inner(path === '' ? field.name : `${path}.${field.name}`, field.id, field.type)
  } else if (type.type === 'list') inner(`${path}.[]`, type['element-id'], type.element)
  else {
    found.set(`${path}.*key`, type['key-id'])
    inner(`${path}.*`, type['value-id'], type.value)
  }
  return found
}

function renamed(base: EvolutionBase, ...renames: Rename[]): { next: EvolutionBase; refusals: Refusal[] } {
  const refusals: Refusal[] = []
  return { next: renameFields(base, renames, refusals), refusals }
}

function dropped(base: EvolutionBase, paths: string[], inUse = new Map<number, string>()) {
  const refusals: Refusal[] = []
  const drops = paths.map((path) => path.split('.'))
  return { next: dropFields(base, drops, inUse, refusals), refusals }
}

describe('renaming fields', () => {
  test('keeps their ids, at any depth', () => {
    const base = people()
    const { next, refusals } = renamed(
      base,
      rename('zip', 'postcode'),
      rename('address.city', 'town'),
      rename('legs.[].price', 'cost'),
      rename('rates.*.bid', 'offer'),
    )
    expect(refusals).toEqual([])
    const [before, after] = [idsByPath(base), idsByPath(next)]
    for (const [now, then] of [
      ['zip', 'postcode'],
      ['address.city', 'address.town'],
      ['legs.[].price', 'legs.[].cost'],
      ['rates.*.bid', 'rates.*.offer'],
    ] as const)
      expect(after.get(now)).toBe(before.get(then))
    expect(next.lastColumnId).toBe(base.lastColumnId)
    expect(schemaChanges(base, next).map(({ kind }) => kind)).toEqual(['rename', 'rename', 'rename', 'rename'])
  })

  test('is nothing to do when it was done', () => {
    const renames = [rename('zip', 'postcode', 'plz'), rename('address.city', 'town')]
    const { next } = renamed(people(), ...renames)
    expect(renamed(next, ...renames)).toEqual({ next, refusals: [] })
    expect(renamed(next, ...renames).next).toBe(next)
  })

  test('a field inside a renamed one is found by the new name of that', () => {
    const { next } = renamed(people(), rename('home.city', 'town'), rename('home', 'address'))
    expect(idsByPath(next).get('home.city')).toBe(idsByPath(people()).get('address.town'))
  })

  test('onto a name that is taken is refused, and so are two fields that become one', () => {
    const base = start([
      { name: 'zip', type: text },
      { name: 'postcode', type: text },
      { name: 'plz', type: text },
    ])
    const onto = renamed(base, rename('zip', 'postcode'))
    expect(onto.next).toBe(base)
    expect(onto.refusals[0]?.reason).toBe(
      'postcode (id 2) cannot be renamed to zip: the table has zip (id 1) too, with values of its own',
    )
    expect(renamed(base, rename('code', 'postcode', 'plz')).refusals[0]?.reason).toContain('cannot both become code')
    expect(renamed(base, rename('ZIP', 'postcode')).refusals).toHaveLength(1)
  })

  test('a field that keeps older values of another is refused', () => {
    const base = evolveSchema(start([{ name: 'price', type: long }]), [{ name: 'price', type: text }])!
    expect(renamed(base, rename('cost', 'price_v1')).refusals[0]?.reason).toContain('older values of another column')
    const { next, refusals } = renamed(base, rename('cost', 'price'))
    expect(refusals).toEqual([])
    expect(next.formerFields).toEqual(base.formerFields)
  })
})

describe('dropping fields', () => {
  test('takes them out of the schema at any depth; their ids are not given again', () => {
    const base = people()
    const { next, refusals } = dropped(base, ['postcode', 'address.town', 'legs.[].note', 'rates.*.note', 'unknown'])
    expect(refusals).toEqual([])
    expect([...idsByPath(next).keys()]).toEqual([
      'address',
      'address.street',
      'legs',
      'legs.[]',
      'legs.[].cost',
      'rates',
      'rates.*key',
      'rates.*',
      'rates.*.offer',
    ])
    const again = evolveSchema(next, [{ name: 'postcode', type: text }])!
    expect(idsByPath(again).get('postcode')).toBe(base.lastColumnId + 1)
  })

  test('a column takes its older values along', () => {
    const base = evolveSchema(
      start([
        { name: 'price', type: long },
        { name: 'n', type: long },
      ]),
      [{ name: 'price', type: text }],
    )!
    const { next } = dropped(base, ['price'])
    expect(next.schema.fields.map(({ name }) => name)).toEqual(['n'])
    // Older snapshots are still read with them.
    expect(next.formerFields).toEqual(base.formerFields)
    expect(dropped(base, ['price_v1']).refusals[0]?.reason).toContain('holds older values')
  })

  test('what the table rests on, at any depth, and the last field of a struct are refused', () => {
    const base = people()
    const inUse = new Map([[idsByPath(base).get('address.town')!, 'partitions of the table are cut by it (spec 0)']])
    expect(dropped(base, ['address'], inUse).refusals[0]?.reason).toBe(
      'address (id 2) cannot be dropped: partitions of the table are cut by it (spec 0)',
    )
    expect(dropped(base, ['address.street', 'address.town']).refusals[0]?.reason).toContain('is the only field there')
  })
})

describe('the order of fields', () => {
  test('is that of the columns, at every depth, and others stay behind', () => {
    const base = people()
    const next = orderFields(base, [
      { name: 'legs', type: { kind: 'list', element: struct('note', 'cost') } },
      { name: 'address', type: struct('town', 'street') },
    ])
    expect(columnsOf(next.schema).map(({ name }) => name)).toEqual(['legs', 'address', 'postcode', 'rates'])
    expect(idsByPath(next)).toEqual(idsByPath(base))
    expect(schemaChanges(base, next).map(({ text: words }) => words)).toEqual([
      'columns in the order legs, address, postcode, rates',
      'fields of legs[] in the order note, cost',
      'fields of address in the order town, street',
    ])
    expect(orderFields(next, columnsOf(next.schema))).toBe(next)
  })
})

test('fields that events may lack become optional, the ones kept stay required', () => {
  const base = people()
  const required = (fields: NestedField[]): NestedField[] => fields.map((field) => ({ ...field, required: true }))
  const strict = { ...base, schema: { ...base.schema, fields: required(base.schema.fields) } }
  const next = relaxFields(strict, new Set([1]))
  expect(next.schema.fields.map((field) => field.required)).toEqual([true, false, false, false])
  expect(relaxFields(next, new Set([1]))).toBe(next)
})

/** A table's fields as a person keeps them in mind: names, each with the id it had from its first day. */
interface Model {
  names: Map<string, number>
  everUsed: Set<number>
}

type Step = { rename: [string, string] } | { drop: string } | { add: string } | { order: string[] }

describe('whatever the configuration changes', () => {
  const names = fc.constantFrom('a', 'b', 'c', 'd', 'e')
  const places = fc.constantFrom('', 'o.', 'l.[].', 'm.*.')
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.tuple(names, names).map((pair): Step => ({ rename: pair })),
    names.map((drop): Step => ({ drop })),
    names.map((add): Step => ({ add })),
    fc.shuffledSubarray(['a', 'b', 'c', 'd', 'e']).map((order): Step => ({ order })),
  )
  /** A schema with the columns at a place. */
  const wrapped = (place: string, fields: Column[]): Column[] => {
    const inside: ColumnType = { kind: 'struct', fields }
    if (place === 'o.') return [{ name: 'o', type: inside }]
    if (place === 'l.[].') return [{ name: 'l', type: { kind: 'list', element: inside } }]
    if (place === 'm.*.') return [{ name: 'm', type: { kind: 'map', value: inside } }]
    return fields
  }

  test('ids are never given twice, and each name keeps the id of its own field', () => {
    fc.assert(
      fc.property(places, fc.array(step, { maxLength: 20 }), (place, steps) => {
        let base = start(
          wrapped(place, [
            { name: 'a', type: text },
            { name: 'b', type: text },
          ]),
        )
        const model: Model = { names: new Map(), everUsed: new Set() }
        const at = (name: string): string => `${place}${name}`
        for (const name of ['a', 'b']) {
          model.names.set(name, idsByPath(base).get(at(name))!)
          model.everUsed.add(idsByPath(base).get(at(name))!)
        }
        for (const one of steps) {
          base = applied(base, one, place, wrapped)
          if ('rename' in one) {
            const [from, to] = one.rename
            const id = model.names.get(from)
            if (id !== undefined && !model.names.has(to)) {
              model.names.delete(from)
              model.names.set(to, id)
            }
          } else if ('drop' in one) {
            if (model.names.size > 1 || place === '') model.names.delete(one.drop)
            if (place === '' && model.names.size === 0) return
          } else if ('add' in one && !model.names.has(one.add)) {
            const id = idsByPath(base).get(at(one.add))!
            expect(model.everUsed.has(id)).toBe(false)
            model.names.set(one.add, id)
            model.everUsed.add(id)
          }
          const found = [...idsByPath(base)].filter(
            ([path]) => path.startsWith(place) && !path.slice(place.length).includes('.'),
          )
          const inPlace = place === '' ? found : found.filter(([path]) => path !== place.slice(0, -1))
          expect(new Map(inPlace.map(([path, id]) => [path.slice(place.length), id]))).toEqual(new Map(model.names))
          expect(Math.max(...model.everUsed)).toBeLessThanOrEqual(base.lastColumnId)
        }
      }),
    )
  })
})

function applied(
  base: EvolutionBase,
  step: Step,
  place: string,
  wrapped: (place: string, fields: Column[]) => Column[],
): EvolutionBase {
  const refusals: Refusal[] = []
  const path = (name: string): string[] => `${place}${name}`.split('.')
  if ('rename' in step) {
    const [from, to] = step.rename
    return from === to ? base : renameFields(base, [{ path: path(to), former: [from] }], refusals)
  }
  if ('drop' in step) {
    const fields = structAt(base.schema, place)
    if (place === '' && fields.length === 1)
      return { ...base, schema: { ...base.schema, fields: fields.filter(({ name }) => name !== step.drop) } }
    return dropFields(base, [path(step.drop)], new Map(), refusals)
  }
  if ('add' in step) return evolveSchema(base, wrapped(place, [{ name: step.add, type: text }])) ?? base
  return orderFields(
    base,
    wrapped(
      place,
      step.order.map((name) => ({ name, type: text })),
    ),
  )
}

function structAt(root: StructType, place: string): NestedField[] {
  if (place === '') return root.fields
  const { type } = root.fields[0]!
  if (typeof type === 'string') return []
  const inside = type.type === 'list' ? type.element : type.type === 'map' ? type.value : type
  return typeof inside === 'object' && inside.type === 'struct' ? inside.fields : []
}
