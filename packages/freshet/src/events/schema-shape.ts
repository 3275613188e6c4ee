/** What a JSON Schema guarantees by itself, so that the hot path need not check it again. */

type Schema = Record<string, unknown>

const scalarTypes = new Set(['string', 'boolean', 'null', 'integer', 'number'])

/** True when the schema refers to itself or others, so that changing a copy of its top would change what is below. */
function hasReferences(schema: Schema): boolean {
  return /"\$(?:ref|dynamicRef|recursiveRef)"/.test(JSON.stringify(schema))
}

/** The names of an event's fields, when the schema allows no others by `additionalProperties: false` at its top. */
export function closedFields(schema: Schema): ReadonlySet<string> | undefined {
  const properties = objectOf(schema['properties'])
  const isClosed = schema['additionalProperties'] === false && properties !== undefined
  if (!isClosed || 'patternProperties' in schema || hasReferences(schema)) return undefined
  return new Set(Object.keys(properties))
}

/** True when any value that matches the schema has at most `levels` levels of objects and arrays, and only finite numbers. */
export function boundsValues(schema: unknown, levels: number): boolean {
  const known = objectOf(schema)
  if (known === undefined) return false
  const enumerated = 'const' in known ? [known['const']] : known['enum']
  if (Array.isArray(enumerated)) return enumerated.every((value) => typeof value !== 'object' || value === null)
  for (const keyword of ['anyOf', 'oneOf']) {
    const choices = known[keyword]
    if (Array.isArray(choices) && choices.every((choice) => boundsValues(choice, levels))) return true
  }
  const types = typeof known['type'] === 'string' ? [known['type']] : known['type']
  if (!Array.isArray(types)) return false
  return types.every((type) => {
    if (type === 'array') return levels > 0 && !('prefixItems' in known) && boundsValues(known['items'], levels - 1)
    if (type === 'object') return levels > 0 && boundsMembers(known, levels - 1)
    return scalarTypes.has(String(type))
  })
}

function boundsMembers(schema: Schema, levels: number): boolean {
  if ('patternProperties' in schema) return false
  const others = schema['additionalProperties']
  if (others !== false && !boundsValues(others, levels)) return false
  return Object.values(objectOf(schema['properties']) ?? {}).every((member) => boundsValues(member, levels))
}

function objectOf(value: unknown): Schema | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Schema) : undefined
}
