/** What differs between two states of a table's schema, field by field and by id, in words. */
import { formatFieldPath } from '../config/field-path.ts'
import type { EvolutionBase, IcebergType } from './schema.ts'

export interface Change {
  kind: 'add' | 'rename' | 'drop' | 'widen' | 'replace' | 'optional' | 'reorder' | 'partition' | 'property'
  /** The column it is about, by its path; left out for a change of the whole table. */
  column?: string
  /** Its field id. */
  id?: number
  /** The change in words. */
  text: string
}

interface Found {
  id: number
  path: string[]
  /** Undefined for what is directly in the table. */
  parent: number | undefined
  type: IcebergType
  required: boolean
}

/** The changes that lead from one state to the other. */
export function schemaChanges(before: EvolutionBase, after: EvolutionBase): Change[] {
  const old = fieldsOf(before.schema)
  const next = fieldsOf(after.schema)
  const changes: Change[] = []
  const replaced = new Set<number>()
  for (const [id, formerIds] of after.formerFields) {
    const former = old.get(formerIds[0]!)
    const successor = next.get(id)
    const kept = next.get(formerIds[0]!)
    if (before.formerFields.has(id) || !former || !successor || !kept) continue
    replaced.add(id).add(kept.id)
    changes.push({
      kind: 'replace',
      ...about(successor),
      text: `${pathText(former)} (id ${former.id}) stays as ${pathText(kept)}; ${pathText(successor)}: ${typeText(former.type)} -> ${typeText(successor.type)}, a new field (id ${id}) that is read with the older values`,
    })
  }
  for (const field of next.values()) {
    const former = old.get(field.id)
    if (former === undefined) {
      const isInside = field.parent !== undefined && !old.has(field.parent)
      if (isInside || replaced.has(field.id) || isContent(field)) continue
      changes.push({
        kind: 'add',
        ...about(field),
        text: `add ${pathText(field)}: ${typeText(field.type)} (id ${field.id})`,
      })
      continue
    }
    if (!replaced.has(field.id)) changes.push(...changesOf(former, field))
  }
  for (const field of old.values()) {
    if (next.has(field.id) || (field.parent !== undefined && !next.has(field.parent)) || isContent(field)) continue
    changes.push({
      kind: 'drop',
      ...about(field),
      text: `drop ${pathText(field)}: ${typeText(field.type)} (id ${field.id}); files and older snapshots keep its values`,
    })
  }
  const hidden = new Set([...after.formerFields.values()].flat())
  return [...changes, ...reorders(old, next, hidden)]
}

function changesOf(former: Found, field: Found): Change[] {
  const changes: Change[] = []
  if (former.path.at(-1) !== field.path.at(-1)) {
    const from = formatFieldPath([...field.path.slice(0, -1), former.path.at(-1)!])
    const text = `rename ${from} -> ${pathText(field)} (id ${field.id})`
    changes.push({ kind: 'rename', ...about(field), text })
  }
  if (typeof field.type === 'string' && field.type !== former.type) {
    const text = `widen ${pathText(field)}: ${typeText(former.type)} -> ${typeText(field.type)} (id ${field.id})`
    changes.push({ kind: 'widen', ...about(field), text })
  }
  if (former.required && !field.required) {
    const text = `${pathText(field)} may be null (id ${field.id}): events may lack it`
    changes.push({ kind: 'optional', ...about(field), text })
  }
  return changes
}

/** The structs whose fields that stay are in another order. Nobody sees the order of `hidden` ones. */
function reorders(
  old: ReadonlyMap<number, Found>,
  next: ReadonlyMap<number, Found>,
  hidden: ReadonlySet<number>,
): Change[] {
  const changes: Change[] = []
  const siblings = Map.groupBy(
    [...next.values()].filter(({ id }) => !hidden.has(id)),
    ({ parent }) => parent,
  )
  for (const [parent, fields] of siblings) {
    const place = new Map(
      [...old.values()].filter((field) => field.parent === parent).map(({ id }, index) => [id, index]),
    )
    const places = fields.flatMap(({ id }) => place.get(id) ?? [])
    if (places.every((at, index) => index === 0 || at > places[index - 1]!)) continue
    const names = fields.map(({ path }) => path.at(-1)!).filter((name) => !name.startsWith('_'))
    const owner = parent === undefined ? undefined : next.get(parent)
    const where = owner === undefined ? 'columns' : `fields of ${pathText(owner)}`
    changes.push({
      kind: 'reorder',
      ...(owner && about(owner)),
      text: `${where} in the order ${names.join(', ')}`,
    })
  }
  return changes
}

function about(field: Found): { column: string; id: number } {
  return { column: pathText(field), id: field.id }
}

function pathText({ path }: Found): string {
  return formatFieldPath(path)
}

/** Elements, keys and values come and go with their list or map. */
function isContent({ path }: Found): boolean {
  return path.length > 1 && ['[]', '*', '*key'].includes(path.at(-1)!)
}

/** All fields, elements, keys and values of a schema by id, in its order. */
function fieldsOf(schema: IcebergType): Map<number, Found> {
  const found = new Map<number, Found>()
  const add = (field: Found): void => {
    found.set(field.id, field)
    visit(field.type, field.path, field.id)
  }
  const visit = (type: IcebergType, path: string[], parent: number | undefined): void => {
    if (typeof type === 'string') return
    if (type.type === 'struct') {
      for (const { id, name, type: inner, required } of type.fields)
        add({ id, path: [...path, name], parent, type: inner, required })
    } else if (type.type === 'list') {
      const required = type['element-required']
      add({ id: type['element-id'], path: [...path, '[]'], parent, type: type.element, required })
    } else {
      add({ id: type['key-id'], path: [...path, '*key'], parent, type: type.key, required: true })
      const required = type['value-required']
      add({ id: type['value-id'], path: [...path, '*'], parent, type: type.value, required })
    }
  }
  visit(schema, [], undefined)
  return found
}

/** An Iceberg type as a person reads it. */
function typeText(type: IcebergType): string {
  if (typeof type === 'string') return type
  if (type.type === 'struct')
    return `struct<${type.fields.map((field) => `${field.name}: ${typeText(field.type)}`).join(', ')}>`
  if (type.type === 'list') return `list<${typeText(type.element)}>`
  return `map<${typeText(type.key)}, ${typeText(type.value)}>`
}
