import { Ajv2020 } from 'ajv/dist/2020.js'
import { fullFormats } from 'ajv-formats/dist/formats.js'
import { messageOf } from '../runtime/errors.ts'
import type { JsonSchema } from './define.ts'
import { keyPath, kindOf, mistake, quoted, type Mistake } from './mistakes.ts'
import { isSubschema, lookUp, members, type Subschema } from './object-shape.ts'
import { patternProblem } from './pattern-safety.ts'
import type { SchemaSource } from './schema-source.ts'
import { nearest } from './spelling.ts'

/**
 * What a JSON Schema has to be before events are validated with it: the keywords of draft 2020-12, references only within itself
 * and never in a circle, safe regular expressions, and field names that can be column names.
 */

const schemaMapKeywords = ['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas']
const schemaListKeywords = ['allOf', 'anyOf', 'oneOf', 'prefixItems']
const schemaKeywords = [
  'additionalProperties',
  'items',
  'contains',
  'not',
  'if',
  'then',
  'else',
  'propertyNames',
  'unevaluatedItems',
  'unevaluatedProperties',
]
const valueKeywords = [
  '$schema',
  '$id',
  '$ref',
  '$anchor',
  '$comment',
  '$vocabulary',
  'type',
  'enum',
  'const',
  'required',
  'dependentRequired',
  'minProperties',
  'maxProperties',
  'minItems',
  'maxItems',
  'uniqueItems',
  'minContains',
  'maxContains',
  'minLength',
  'maxLength',
  'pattern',
  'format',
  'contentEncoding',
  'contentMediaType',
  'contentSchema',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
]
/** Words that other tools put into schemas; they say nothing about validity. */
const annotations = ['example', 'discriminator', 'xml', 'externalDocs', 'tsType', 'id']
const keywords = [...schemaMapKeywords, ...schemaListKeywords, ...schemaKeywords, ...valueKeywords]
const types = ['string', 'integer', 'number', 'boolean', 'object', 'array', 'null']
/** Formats that are validated; any other is an annotation. */
export const validatedFormats: ReadonlySet<string> = new Set(Object.keys(fullFormats))

/** Keywords that would change what is valid and are not supported, with what to write instead. */
const refused: Record<string, string> = {
  $async: 'events are validated at once; leave it out',
  $dynamicRef: 'write "$ref" to a path within the schema, such as "#/$defs/price"',
  $dynamicAnchor: 'write "$defs" and "$ref"',
  $recursiveRef: 'write "$ref": "#"',
  additionalItems: 'write "prefixItems" for the first elements and "items" for the others',
  dependencies: 'write "dependentRequired" or "dependentSchemas"',
  nullable: 'write "type": ["string", "null"] or the like',
}

interface Place {
  root: JsonSchema
  source: SchemaSource
  mistakes: Mistake[]
}

/**
 * Everything in a schema that Freshet cannot hold events to. `sound`: the schema is well-formed all the same, so that what it says
 * of fields can be looked at.
 */
export function schemaMistakes(source: SchemaSource, key: string): { mistakes: Mistake[]; sound: boolean } {
  const place: Place = { root: source.json, source, mistakes: [] }
  checkPart(source.json, key, place)
  const circles = circleMistakes(source.json, key)
  const malformed = formMistakes(source.json, key)
  const { mistakes } = place
  mistakes.push(...circles)
  // The rules above say better what is wrong, where they see it.
  if (mistakes.length === 0) mistakes.push(...malformed)
  if (mistakes.length === 0) mistakes.push(...compilationMistakes(source.json, key))
  return { mistakes, sound: circles.length === 0 && malformed.length === 0 }
}

function checkPart(schema: Subschema, key: string, place: Place): void {
  if (typeof schema === 'boolean') return
  const { mistakes, source } = place
  for (const keyword of Object.keys(schema)) checkKeyword(keyword, schema, key, place)
  checkTypes(schema['type'], keyPathOf(key, 'type', source), mistakes)
  checkPattern(schema['pattern'], keyPathOf(key, 'pattern', source), place)
  for (const name of Object.keys(record(schema['patternProperties']))) {
    checkPattern(name, keyPathOf(key, 'patternProperties', source), place)
  }
  checkFieldNames(schema, key, place)
  for (const [part, at] of subschemas(schema, key, source)) {
    if (isSubschema(part)) checkPart(part, at, place)
    else mistakes.push(mistake(at, `must be a schema, not ${kindOf(part)}`))
  }
}

function checkKeyword(keyword: string, schema: JsonSchema, key: string, place: Place): void {
  const { mistakes, source } = place
  const at = keyPathOf(key, keyword, source)
  const value = schema[keyword]
  if (Object.hasOwn(refused, keyword) && value !== false) {
    mistakes.push(mistake(at, `the keyword is not supported; ${refused[keyword]}`))
  } else if (keyword === 'items' && Array.isArray(value)) {
    mistakes.push(mistake(at, 'a list of schemas is written as "prefixItems" since draft 2020-12'))
  } else if (keyword === '$ref') {
    checkReference(value, at, place)
  } else if (keyword === '$id' && schema !== place.root) {
    mistakes.push(mistake(at, 'only the whole schema can have an "$id"'))
  } else if (keyword === 'format' && typeof value === 'string' && !validatedFormats.has(value)) {
    const near = nearest(value, validatedFormats)
    if (near !== undefined && source.written === 'json') {
      mistakes.push(mistake(at, `unknown format ${quoted(value)}`, near))
    }
  } else if (source.written === 'json' && !keywords.includes(keyword) && !annotations.includes(keyword)) {
    const near = keyword.startsWith('x-') ? undefined : nearest(keyword, keywords)
    if (near !== undefined) mistakes.push(mistake(at, 'unknown keyword', near))
  }
}

function checkReference(ref: unknown, key: string, { root, mistakes }: Place): void {
  if (typeof ref !== 'string') {
    mistakes.push(mistake(key, `must be text such as "#/$defs/price", not ${kindOf(ref)}`))
  } else if (!ref.startsWith('#')) {
    mistakes.push(
      mistake(
        key,
        `${quoted(ref)} is outside this schema, and nothing is fetched; copy it into "$defs" and write "#/$defs/NAME"`,
      ),
    )
  } else if (lookUp(root, ref) === undefined) {
    const known = ['$defs', 'definitions'].flatMap((at) =>
      Object.keys(record(root[at])).map((name) => `#/${at}/${name}`),
    )
    mistakes.push(mistake(key, `${quoted(ref)} is not in this schema`, nearest(ref, ['#', ...known])))
  }
}

function checkTypes(type: unknown, key: string, mistakes: Mistake[]): void {
  for (const name of Array.isArray(type) ? type : [type]) {
    if (name === undefined || types.includes(name as string)) continue
    const near = typeof name === 'string' ? nearest(name, types) : undefined
    mistakes.push(mistake(key, `must be one of ${types.map(quoted).join(', ')}, not ${kindOf(name)}`, near))
  }
}

function checkPattern(pattern: unknown, key: string, { source, mistakes }: Place): void {
  if (typeof pattern !== 'string' || source.trustedPatterns.has(pattern)) return
  const problem = patternProblem(pattern)
  if (problem !== undefined) mistakes.push(mistake(key, problem))
}

/** Names become columns, and SQL does not tell upper from lower case. */
function checkFieldNames(schema: JsonSchema, key: string, { source, mistakes }: Place): void {
  const spelled = new Map<string, string>()
  const properties = record(schema['properties'])
  for (const name of Object.keys(properties)) {
    const at = propertyKey(key, name, source)
    const other = spelled.get(name.toLowerCase())
    if (other !== undefined) {
      mistakes.push(
        mistake(
          at,
          `differs from the field ${quoted(other)} only by upper and lower case, which SQL does not tell apart`,
        ),
      )
    }
    spelled.set(name.toLowerCase(), name)
    if (name.trim() === '' || name.includes('\0')) mistakes.push(mistake(at, 'a field needs a name'))
  }
  if (schema['additionalProperties'] !== false || source.written === 'zod' || !Array.isArray(schema['required'])) return
  for (const name of schema['required']) {
    if (typeof name !== 'string' || Object.hasOwn(properties, name) || 'patternProperties' in schema) continue
    const reason = `requires the field ${quoted(name)}, which "properties" lacks`
    mistakes.push(mistake(keyPathOf(key, 'required', source), reason, nearest(name, Object.keys(properties))))
  }
}

/** The schemas directly within `schema`, each with its key. */
function* subschemas(schema: JsonSchema, key: string, source: SchemaSource): Generator<[unknown, string]> {
  for (const keyword of schemaMapKeywords) {
    for (const [name, part] of Object.entries(record(schema[keyword]))) {
      yield [
        part,
        keyword === 'properties' ? propertyKey(key, name, source) : `${keyPathOf(key, keyword, source)}.${name}`,
      ]
    }
  }
  for (const keyword of schemaListKeywords) {
    const list = schema[keyword]
    if (!Array.isArray(list)) continue
    for (const [index, part] of list.entries()) yield [part, `${keyPathOf(key, keyword, source)}[${index}]`]
  }
  for (const keyword of schemaKeywords) {
    const part = schema[keyword]
    if (part === undefined || (keyword === 'items' && Array.isArray(part))) continue
    yield [part, keyword === 'items' && source.written === 'zod' ? `${key}[]` : keyPathOf(key, keyword, source)]
  }
}

/** A user of zod never wrote the keyword, so the field is all that is named. */
function keyPathOf(key: string, keyword: string, source: SchemaSource): string {
  return source.written === 'zod' ? key : joined(key, keyword)
}

function propertyKey(key: string, name: string, source: SchemaSource): string {
  return joined(source.written === 'zod' ? key : `${key}.properties`, name)
}

function joined(key: string, name: string): string {
  const last = keyPath(name)
  return last.startsWith('[') ? `${key}${last}` : `${key}.${last}`
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

/** A schema that leads back to itself without stepping into the value would be validated for ever. */
function circleMistakes(root: JsonSchema, key: string): Mistake[] {
  const done = new Set<JsonSchema>()
  const open = new Set<JsonSchema>()
  const circular = (schema: Subschema): boolean => {
    if (typeof schema === 'boolean' || done.has(schema)) return false
    if (open.has(schema)) return true
    open.add(schema)
    const inPlace = ['allOf', 'anyOf', 'oneOf'].flatMap((keyword) => members(schema[keyword]))
    for (const keyword of ['not', 'if', 'then', 'else']) if (isSubschema(schema[keyword])) inPlace.push(schema[keyword])
    inPlace.push(...Object.values(record(schema['dependentSchemas'])).filter(isSubschema))
    if (typeof schema['$ref'] === 'string') inPlace.push(lookUp(root, schema['$ref']) ?? true)
    const found = inPlace.some(circular)
    open.delete(schema)
    done.add(schema)
    return found
  }
  const everywhere = (schema: unknown): boolean => {
    if (Array.isArray(schema)) return schema.some(everywhere)
    if (typeof schema !== 'object' || schema === null) return false
    return circular(schema as JsonSchema) || Object.values(schema).some(everywhere)
  }
  if (!everywhere(root)) return []
  return [mistake(key, 'a "$ref" leads back to itself without stepping into a field or an element')]
}

/** What the meta-schema of draft 2020-12 finds. */
function formMistakes(schema: JsonSchema, key: string): Mistake[] {
  metaAjv ??= newAjv(true)
  const ajv = metaAjv
  if (ajv.validateSchema(bare(schema)) === true) return []
  const places = new Map((ajv.errors ?? []).map((error) => [error.instancePath, error.message ?? 'is not valid']))
  return [...places].map(([at, message]) => mistake(`${key}${at.replaceAll('/', '.')}`, message))
}

function compilationMistakes(schema: JsonSchema, key: string): Mistake[] {
  try {
    newAjv(false).compile(bare(schema))
    return []
  } catch (error) {
    return [mistake(key, `cannot be compiled: ${messageOf(error)}`)]
  }
}

/** Compiling the meta-schema takes long, so it is done once. */
let metaAjv: Ajv2020 | undefined

function newAjv(meta: boolean): Ajv2020 {
  return new Ajv2020({
    meta,
    validateSchema: meta,
    strict: false,
    logger: false,
    validateFormats: false,
    allErrors: true,
  })
}

/** Every schema is read as draft 2020-12, whatever it calls itself. */
function bare(schema: JsonSchema): JsonSchema {
  const { $schema: _, $id: __, ...rest } = schema
  return rest
}
