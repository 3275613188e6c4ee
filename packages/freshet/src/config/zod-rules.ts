import type { $ZodType, $ZodTypes } from 'zod/v4/core'
import { mistake, type Mistake } from './mistakes.ts'

/**
 * What zod can say and JSON Schema cannot. Events are validated as JSON Schema and stored as they were sent, so a check in
 * code or a change of the value would silently not happen: such parts are refused, each with what to write instead.
 */
const withoutJson: Record<string, string> = {
  bigint: 'z.bigint() has no JSON form; write z.int(), or z.string() for whole numbers beyond 2^53',
  custom: 'a check in code (z.custom, z.instanceof) cannot be run on events; describe the value with other types',
  date: 'z.date() has no JSON form; write z.iso.datetime()',
  file: 'z.file() has no JSON form',
  function: 'a function has no JSON form',
  map: 'z.map() has no JSON form; write z.record(z.string(), ...)',
  nan: 'z.nan() has no JSON form',
  promise: 'z.promise() has no JSON form',
  set: 'z.set() has no JSON form; write z.array()',
  symbol: 'z.symbol() has no JSON form',
  undefined: 'z.undefined() has no JSON form; write .optional() on the field',
  void: 'z.void() has no JSON form; write .optional() on the field',
  catch: '.catch() would let every value pass; write the types that are allowed',
  default: '.default() is not applied, as events are stored as they were sent; write .optional()',
  prefault: '.prefault() is not applied, as events are stored as they were sent; write .optional()',
  pipe: 'transforms, z.preprocess, codecs and pipes are not applied, as events are stored as they were sent; write the type that is sent',
  transform: 'transforms are not applied, as events are stored as they were sent; write the type that is sent',
  success: 'z.success() has no JSON form',
}

/** Parts of a zod type that cannot be held to, each once, with the field as its key. */
export function zodMistakes(schema: $ZodType, key: string): Mistake[] {
  const mistakes: Mistake[] = []
  for (const { schema: part, path } of zodParts(schema, key)) {
    const { def } = part._zod
    const reason = withoutJson[def.type]
    if (reason !== undefined) mistakes.push(mistake(path, reason))
    if ('coerce' in def && def.coerce && reason === undefined) {
      mistakes.push(
        mistake(path, 'z.coerce is not applied, as events are stored as they were sent; write the type that is sent'),
      )
    }
    if (def.type === 'literal' && def.values.some((value) => typeof value === 'bigint' || value === undefined)) {
      mistakes.push(mistake(path, 'a literal bigint or undefined has no JSON form'))
    }
    for (const check of checksOf(part)) {
      if (check === undefined) continue
      const problem = checkProblem(check)
      if (problem !== undefined) mistakes.push(mistake(path, problem))
    }
  }
  return mistakes
}

/** Regular expressions of zod's own formats (z.email(), z.uuid(), ...) in `schema`; not those that the user wrote. */
export function zodFormatPatterns(schema: $ZodType): Set<string> {
  const patterns = new Set<string>()
  for (const { schema: part } of zodParts(schema, '')) {
    for (const check of checksOf(part)) {
      if (check.check !== 'string_format' || check.format === 'regex') continue
      if (check.pattern instanceof RegExp) patterns.add(check.pattern.source)
    }
    if (part._zod.def.type === 'template_literal') patterns.add((part._zod.pattern as RegExp).source)
  }
  return patterns
}

/** The members of a zod check's definition that matter here. */
interface CheckDef {
  check: string
  format?: string
  pattern?: unknown
}

function checksOf(part: $ZodTypes): CheckDef[] {
  const checks = (part._zod.def.checks ?? []).map((check) => check._zod.def as CheckDef)
  // A type such as z.email() is its own check.
  return 'check' in part._zod.def && part._zod.def.type !== 'custom' ? [part._zod.def, ...checks] : checks
}

function checkProblem(check: CheckDef): string | undefined {
  if (check.check === 'custom') {
    return 'a check in code (.refine, .superRefine, .check) cannot be run on events; use the limits that zod has, such as .min() or .regex()'
  }
  if (check.check === 'overwrite') {
    return 'changes of the value (.trim, .toLowerCase, .overwrite, ...) are not applied, as events are stored as they were sent'
  }
  if (check.check === 'property') return 'z.property() has no JSON form'
  const flags =
    check.format === 'regex' && check.pattern instanceof RegExp ? check.pattern.flags.replaceAll(/[dgu]/g, '') : ''
  return flags === ''
    ? undefined
    : `the flags "${flags}" of a regular expression have no JSON form; write it without them`
}

/** `schema` and everything in it, each once, with the path of the field it describes. */
function* zodParts(schema: $ZodType, key: string): Generator<{ schema: $ZodTypes; path: string }> {
  const seen = new Set<$ZodType>()
  const waiting: { schema: $ZodType; path: string }[] = [{ schema, path: key }]
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    if (seen.has(next.schema)) continue
    seen.add(next.schema)
    const part = next.schema as $ZodTypes
    yield { schema: part, path: next.path }
    waiting.unshift(...inner(part, next.path))
  }
}

function inner(part: $ZodTypes, path: string): { schema: $ZodType; path: string }[] {
  const { def } = part._zod
  const here = (...schemas: ($ZodType | null | undefined)[]) =>
    schemas.filter((schema) => schema !== null && schema !== undefined).map((schema) => ({ schema, path }))
  switch (def.type) {
    case 'object':
      return [
        ...Object.entries(def.shape).map(([name, schema]) => ({ schema, path: `${path}.${name}` })),
        ...here(def.catchall),
      ]
    case 'array':
      return [{ schema: def.element, path: `${path}[]` }]
    case 'tuple':
      return [...def.items, ...(def.rest === null ? [] : [def.rest])].map((schema) => ({ schema, path: `${path}[]` }))
    case 'record':
      return [...here(def.keyType), { schema: def.valueType, path: `${path}[]` }]
    case 'union':
      return here(...def.options)
    case 'intersection':
      return here(def.left, def.right)
    case 'optional':
    case 'nullable':
    case 'nonoptional':
    case 'readonly':
      return here(def.innerType)
    case 'lazy':
      return here(def.getter())
    default:
      return []
  }
}
