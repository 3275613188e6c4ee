/**
 * Names under which fields are found where they are not called what they are called now: in events that still use a former name, and
 * in data files that were written before a rename.
 */
import type { Column, ColumnType, Rename } from './plan.ts'

/** How the fields of a type are named where it is read; what is not mentioned has its own name. */
export interface Naming {
  /** Of a struct's fields, by their present names. */
  fields?: ReadonlyMap<string, FieldNaming>
  /** Of what is in a list or a map. */
  inside?: Naming
  /** A field by which a struct can be read that has none of the fields wanted. */
  anchor?: string
}

export interface FieldNaming {
  /** Those it may be found under, the first that has a value counts; none where it cannot be there. */
  names: readonly string[]
  inside?: Naming
}

/** How events name a stream's fields: by the present name, or by a former one. Undefined when there are no renames. */
export function eventNaming(renames: readonly Rename[] | undefined): Naming | undefined {
  if (renames === undefined || renames.length === 0) return undefined
  const steps = renames.map(({ path, former }) => ({ path, names: [path.at(-1)!, ...former] }))
  return namingAt(steps)
}

interface Step {
  path: readonly string[]
  names: readonly string[]
}

/** @param steps what is renamed, by the path from here */
function namingAt(steps: readonly Step[]): Naming {
  const inside = steps.filter(({ path }) => path[0] === '[]' || path[0] === '*').map(next)
  const fields = new Map<string, FieldNaming>()
  for (const [name, found] of Map.groupBy(steps, ({ path }) => path[0]!)) {
    const deeper = found.filter(({ path }) => path.length > 1).map(next)
    const own = found.find(({ path }) => path.length === 1)
    fields.set(name, { names: own?.names ?? [name], ...(deeper.length === 0 ? {} : { inside: namingAt(deeper) }) })
  }
  return { fields, ...(inside.length === 0 ? {} : { inside: namingAt(inside) }) }
}

function next({ path, names }: Step): Step {
  return { path: path.slice(1), names }
}

/** The type as it is found: its structs have a field for each name. */
export function namedType(type: ColumnType, naming: Naming | undefined): ColumnType {
  if (naming === undefined) return type
  switch (type.kind) {
    case 'struct':
      return { kind: 'struct', fields: namedFields(type.fields, naming) }
    case 'list':
      return { kind: 'list', element: namedType(type.element, naming.inside) }
    case 'map':
      return { ...type, value: namedType(type.value, naming.inside) }
    default:
      return type
  }
}

/** The fields of a struct, or a stream's columns, as they are found. */
export function namedFields(fields: readonly Column[], naming: Naming | undefined): Column[] {
  if (naming === undefined) return [...fields]
  const named = fields.flatMap(({ name, type }) => {
    const own = naming.fields?.get(name)
    const found = namedType(type, own?.inside)
    return foundNames(fields, name, own).map((one) => ({ name: one, type: found }))
  })
  if (named.length > 0 || naming.anchor === undefined) return named
  return [{ name: naming.anchor, type: { kind: 'string' } }]
}

/**
 * The names to look for a field under. What may be found under its own name and others is not looked for under one that another field
 * has now.
 */
export function foundNames(
  fields: readonly Column[],
  name: string,
  naming: FieldNaming | undefined,
): readonly string[] {
  if (naming === undefined) return [name]
  if (naming.names[0] !== name) return naming.names
  const taken = new Set(fields.filter((field) => field.name !== name).map((field) => field.name.toLowerCase()))
  return naming.names.filter((one) => one === name || !taken.has(one.toLowerCase()))
}
