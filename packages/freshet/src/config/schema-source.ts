import { z } from 'zod'
import type { $ZodType } from 'zod/v4/core'
import { messageOf } from '../runtime/errors.ts'
import type { JsonSchema } from './define.ts'
import { isPlainObject, kindOf, mistake, type Mistake } from './mistakes.ts'
import { zodMistakes, zodFormatPatterns } from './zod-rules.ts'

/** A user's schema as JSON Schema, whatever it was written in. */
export interface SchemaSource {
  json: JsonSchema
  /** Keys of mistakes name a field directly where the user wrote no JSON Schema. */
  written: 'zod' | 'json'
  /** Regular expressions that come with zod's own formats, and need no check. */
  trustedPatterns: ReadonlySet<string>
}

/**
 * Reads a schema: a zod 4 type, anything that implements Standard JSON Schema, or a plain JSON Schema. The result is plain JSON.
 * A `z.object` refuses unknown fields (zod itself would drop them without a word); `z.looseObject` accepts them.
 */
export function readSchema(words: unknown, key: string): SchemaSource | Mistake[] {
  if (isZod4(words)) return fromZod(words, key)
  if (isZod3(words)) return [mistake(key, 'is a zod 3 type; Freshet needs zod 4: update zod, or import from "zod/v4"')]
  const convert = standardConverter(words)
  if (convert !== undefined) return fromStandard(convert, key)
  if (!isPlainObject(words)) {
    return [mistake(key, `must be a zod 4 type or a JSON Schema object, not ${kindOf(words)}`)]
  }
  return plain(words, { key, written: 'json' })
}

function isZod4(words: unknown): words is $ZodType {
  return typeof words === 'object' && words !== null && '_zod' in words
}

function isZod3(words: unknown): boolean {
  return typeof words === 'object' && words !== null && '_def' in words && 'safeParse' in words
}

function fromZod(schema: $ZodType, key: string): SchemaSource | Mistake[] {
  try {
    const mistakes = zodMistakes(schema, key)
    if (mistakes.length > 0) return mistakes
    const json = z.toJSONSchema(schema, {
      io: 'input',
      override: ({ zodSchema, jsonSchema }) => {
        const { def } = zodSchema._zod
        if (def.type === 'object' && def.catchall === undefined) jsonSchema.additionalProperties = false
      },
    })
    return plain(json, { key, written: 'zod', trustedPatterns: zodFormatPatterns(schema) })
  } catch (error) {
    return [mistake(key, `cannot be written as JSON Schema: ${messageOf(error)}`)]
  }
}

/** Standard JSON Schema (https://standardschema.dev/json-schema): `~standard.jsonSchema.input`. */
function standardConverter(words: unknown): (() => unknown) | undefined {
  if ((typeof words !== 'object' && typeof words !== 'function') || words === null) return undefined
  const standard = (words as { '~standard'?: { jsonSchema?: { input?: unknown } } })['~standard']
  const convert = standard?.jsonSchema?.input
  if (typeof convert !== 'function') return undefined
  return () => (convert as (options: { target: string }) => unknown)({ target: 'draft-2020-12' })
}

function fromStandard(convert: () => unknown, key: string): SchemaSource | Mistake[] {
  try {
    return plain(convert(), { key, written: 'json' })
  } catch (error) {
    return [mistake(key, `cannot be written as JSON Schema: ${messageOf(error)}`)]
  }
}

function plain(
  words: unknown,
  options: { key: string; written: 'zod' | 'json'; trustedPatterns?: ReadonlySet<string> },
): SchemaSource | Mistake[] {
  const mistakes: Mistake[] = []
  const json = copyJson(words, { key: options.key, depth: 0, mistakes })
  if (mistakes.length > 0) return mistakes
  return {
    json: json as JsonSchema,
    written: options.written,
    trustedPatterns: options.trustedPatterns ?? new Set(),
  }
}

const depthMax = 100

/** A copy of `value` if it is plain JSON; keys whose value is undefined are left out, as JSON.stringify does. */
function copyJson(value: unknown, at: { key: string; depth: number; mistakes: Mistake[] }): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number' && Number.isFinite(value)) return value
  if (at.depth > depthMax) {
    if (at.mistakes.length === 0) {
      at.mistakes.push(
        mistake(at.key, 'contains itself, or is nested too deeply; write a recursive schema with "$ref"'),
      )
    }
    return null
  }
  const inner = (part: string) => ({ ...at, key: `${at.key}.${part}`, depth: at.depth + 1 })
  if (Array.isArray(value)) return value.map((element, index) => copyJson(element, inner(String(index))))
  if (isPlainObject(value)) {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined)
    return Object.fromEntries(entries.map(([name, member]) => [name, copyJson(member, inner(name))]))
  }
  const zodInside = isZod4(value)
    ? ': a zod type cannot stand inside a JSON Schema; write the whole schema in one of the two'
    : ''
  at.mistakes.push(mistake(at.key, `is not plain JSON but ${kindOf(value)}${zodInside}`))
  return null
}
