import { columnTypeText, parseColumnType } from './column-types.ts'
import type { JsonSchema } from './define.ts'
import { formatFieldPath, parseFieldPath } from './field-path.ts'
import { jsonTypesOf } from './json-types.ts'
import { kindOf, mistake, quoted, type Mistake } from './mistakes.ts'
import { lookUp, members, objectShape, type Subschema } from './object-shape.ts'
import type { Column, ColumnType } from './plan.ts'
import { nearest } from './spelling.ts'

/**
 * `types` of a stream: column types that JSON Schema has no word for, by the path of the field. `legs[].price` is a field of the
 * elements of a list, `rates.*` the values of a map. Each must fit the JSON values that the schema admits there.
 */

/** JSON types that a column of a kind can be read from; a kind that is not here can be read from any. */
const readableFrom: Partial<Record<ColumnType['kind'], readonly string[]>> = {
  boolean: ['boolean'],
  int: ['integer'],
  long: ['integer'],
  float: ['integer', 'number'],
  double: ['integer', 'number'],
  decimal: ['integer', 'number', 'string'],
  string: ['string'],
  timestamptz: ['string'],
  timestamp: ['string'],
  date: ['string'],
  time: ['string'],
  uuid: ['string'],
  binary: ['string'],
}

interface Place {
  root: JsonSchema
  /** Key of the whole stream. */
  key: string
  /** Field that holds the event's time. */
  time: string | undefined
}

/** The columns with the declared types in place of those that follow from the schema, and what is wrong with `types`. */
export function declareTypes(
  columns: readonly Column[],
  types: Readonly<Record<string, unknown>>,
  place: Place,
): { columns: Column[]; mistakes: Mistake[] } {
  const mistakes: Mistake[] = []
  let type: ColumnType = { kind: 'struct', fields: [...columns] }
  for (const [path, word] of Object.entries(types)) {
    const key = `${place.key}.types[${JSON.stringify(path)}]`
    const declared = typeof word === 'string' ? parseColumnType(word) : { reason: `must be text, not ${kindOf(word)}` }
    if (!('type' in declared)) {
      const reason = typeof word === 'string' ? `${quoted(word)} ${declared.reason}` : declared.reason
      mistakes.push(mistake(key, reason, declared.suggestion))
      continue
    }
    const rest = parseFieldPath(path)
    if (rest === undefined) {
      const reason =
        'is no path of a field; write names joined by dots, such as address.zip, legs[].price or rates.*, and a name that has a dot in double quotes'
      mistakes.push(mistake(key, reason))
      continue
    }
    if (rest[0] === place.time && declared.type.kind === 'timestamp') {
      mistakes.push(mistake(key, `${quoted(path)} is the time of the event, which has a time zone: leave it as it is`))
      continue
    }
    const fitted = fit({ rest, type, schema: place.root }, declared.type, place.root)
    if ('reason' in fitted) mistakes.push(mistake(key, fitted.reason, fitted.suggestion))
    else type = fitted
  }
  return { columns: type.kind === 'struct' ? type.fields : [], mistakes }
}

interface Spot {
  /** What is left of the path. */
  rest: readonly string[]
  /** The type so far, and the schema, of what is left. */
  type: ColumnType
  schema: Subschema
}

type Refused = { reason: string; suggestion?: string }

/** The type at a spot with the declared one put in at the end of its path. */
function fit({ rest, type, schema: written }: Spot, declared: ColumnType, root: JsonSchema): ColumnType | Refused {
  const schema = resolved(written, root)
  const [step, ...inner] = rest
  if (step === undefined) return leafProblem(type, schema, declared, root) ?? declared
  if (type.kind === 'list' && step === '[]') {
    const element = fit({ rest: inner, type: type.element, schema: member(schema, 'items') }, declared, root)
    return 'reason' in element ? element : { ...type, element }
  }
  if (type.kind === 'map' && step === '*') {
    const values = member(schema, 'additionalProperties')
    const value = fit({ rest: inner, type: type.value, schema: values }, declared, root)
    return 'reason' in value ? value : { ...type, value }
  }
  if (type.kind === 'struct' && step !== '[]') return fitField({ rest, type, schema }, type.fields, declared, root)
  return { reason: `${quoted(formatFieldPath(rest))} ${pathHint(type)}` }
}

function pathHint(type: ColumnType): string {
  if (type.kind === 'list') return 'is in a list: write the path of its elements with "[]" ("legs[].price")'
  if (type.kind === 'map') return 'is in a map: write the path of its values with "*" ("rates.*")'
  if (type.kind === 'json')
    return 'is in an object that is kept as JSON text, since its fields are not all known: describe them, and allow no others'
  return `cannot be in a value of type ${columnTypeText(type)}`
}

function fitField(
  { rest, schema }: Spot,
  fields: readonly Column[],
  declared: ColumnType,
  root: JsonSchema,
): ColumnType | Refused {
  const [step, ...inner] = rest
  const field = fields.find(({ name }) => name === step)
  if (field === undefined) {
    const names = fields.map(({ name }) => name)
    const reason = `the schema has no field ${quoted(step!)} (it has: ${names.slice(0, 12).join(', ')})`
    const near = nearest(step!, names)
    return near === undefined ? { reason } : { reason, suggestion: near }
  }
  const own = objectShape(schema, root).fields.get(field.name)?.schema ?? true
  const type = fit({ rest: inner, type: field.type, schema: own }, declared, root)
  if ('reason' in type) return type
  return { kind: 'struct', fields: fields.map((one) => (one === field ? { name: one.name, type } : one)) }
}

/** Why a value of the schema cannot be read as the declared type. */
function leafProblem(
  natural: ColumnType,
  schema: Subschema,
  declared: ColumnType,
  root: JsonSchema,
): Refused | undefined {
  const from = readableFrom[declared.kind]
  if (from === undefined) return undefined
  const word = columnTypeText(declared)
  if (natural.kind === 'struct' || natural.kind === 'list' || natural.kind === 'map') {
    const inside = natural.kind === 'list' ? '[]' : natural.kind === 'map' ? '.*' : '.<field>'
    return {
      reason: `a ${natural.kind} cannot be ${word}: name what is in it (by "${inside}"), or keep it whole as "json"`,
    }
  }
  const types = jsonTypesOf(schema, root)
  const admitted = [...(types ?? [])].filter((type) => type !== 'null')
  if (types === undefined || admitted.length === 0)
    return {
      reason: `the schema does not say what the field is, and ${word} is read from ${from.join(' or ')}: say its type`,
    }
  // NaN and the infinities have no number in JSON, so numbers that may be those may be text as well.
  const floating = declared.kind === 'float' || declared.kind === 'double'
  if (floating && admitted.includes('number') && admitted.every((type) => type === 'string' || from.includes(type)))
    return undefined
  const other = admitted.find((type) => !from.includes(type))
  if (other === undefined) return undefined
  return {
    reason: `${word} is read from ${from.join(' or ')}, and the schema admits ${other} here: change one of the two`,
  }
}

/** The schema that says what a value is: behind references, and beside null. */
function resolved(schema: Subschema, root: JsonSchema): Subschema {
  if (typeof schema === 'boolean') return schema
  const ref = schema['$ref']
  if (typeof ref === 'string' && Object.keys(schema).length === 1) return resolved(lookUp(root, ref) ?? true, root)
  for (const keyword of ['anyOf', 'oneOf', 'allOf']) {
    const parts = members(schema[keyword]).filter((part) => typeof part === 'boolean' || part['type'] !== 'null')
    if (parts.length === 1 && !('properties' in schema) && !('type' in schema)) return resolved(parts[0]!, root)
  }
  return schema
}

function member(schema: Subschema, name: string): Subschema {
  if (typeof schema === 'boolean') return true
  return (schema[name] as Subschema | undefined) ?? true
}
