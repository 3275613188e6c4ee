import type { JsonSchema } from './define.ts'
import { lookUp, members, type Subschema } from './object-shape.ts'

/** JSON types that a schema admits (`integer` apart from `number`); undefined when it does not say. */
export function jsonTypesOf(schema: Subschema, root: JsonSchema): Set<string> | undefined {
  if (schema === false) return new Set()
  if (schema === true) return undefined
  const parts: Set<string>[] = []
  const add = (types: Set<string> | undefined) => {
    if (types !== undefined) parts.push(types)
  }
  if (schema['type'] !== undefined) add(new Set([schema['type']].flat() as string[]))
  if ('const' in schema) add(new Set([typeOfValue(schema['const'])]))
  if (Array.isArray(schema['enum'])) add(new Set(schema['enum'].map(typeOfValue)))
  if (typeof schema['$ref'] === 'string') add(jsonTypesOf(lookUp(root, schema['$ref']) ?? true, root))
  for (const part of members(schema['allOf'])) add(jsonTypesOf(part, root))
  for (const keyword of ['anyOf', 'oneOf']) {
    const alternatives = members(schema[keyword]).map((part) => jsonTypesOf(part, root))
    if (alternatives.length > 0 && !alternatives.includes(undefined)) {
      add(new Set(alternatives.flatMap((types) => [...types!])))
    }
  }
  const [first, ...others] = parts
  return others.reduce<Set<string> | undefined>((common, types) => narrowed(common!, types), first)
}

function narrowed(a: ReadonlySet<string>, b: ReadonlySet<string>): Set<string> {
  const common = new Set([...a].filter((type) => b.has(type)))
  if (a.has('integer') && b.has('number')) common.add('integer')
  if (b.has('integer') && a.has('number')) common.add('integer')
  return common
}

function typeOfValue(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return Number.isInteger(value) ? 'integer' : typeof value
}
