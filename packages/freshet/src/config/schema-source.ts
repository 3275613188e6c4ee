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
export function readSchema(words: unknown, key: string): SchemaReading {
  if (isZod4(words)) return fromZod(words, key)
  if (isZod3(words)) return unreadable(key, 'is a zod 3 type; Freshet needs zod 4: update zod, or import from "zod/v4"')
  const convert = standardConverter(words)
  if (convert !== undefined) return fromStandard(convert, key)
  if (!isPlainObject(words))
    return unreadable(key, `must be a zod 4 type or a JSON Schema object, not ${kindOf(words)}`)
  return plain(words, { key, written: 'json' })
}

/** What is known of a schema: with mistakes there may still be a source, in which any value may stand for what is wrong. */
export interface SchemaReading {
  source?: SchemaSource
  mistakes: Mistake[]
}

function unreadable(key: string, reason: string): SchemaReading {
  return { mistakes: [mistake(key, reason)] }
}

function isZod4(words: unknown): words is $ZodType {
  return typeof words === 'object' && words !== null && '_zod' in words
}

function isZod3(words: unknown): boolean {
  return typeof words === 'object' && words !== null && '_def' in words && 'safeParse' in words
}

function fromZod(schema: $ZodType, key: string): SchemaReading {
  try {
    const mistakes = zodMistakes(schema, key)
    const json = z.toJSONSchema(schema, {
      io: 'input',
      unrepresentable: mistakes.length > 0 ? 'any' : 'throw',
      override: ({ zodSchema, jsonSchema }) => {
        const { def } = zodSchema._zod
        if (def.type === 'object' && def.catchall === undefined) jsonSchema.additionalProperties = false
      },
    })
    const { source } = plain(json, { key, written: 'zod', trustedPatterns: zodFormatPatterns(schema) })
    return source === undefined ? { mistakes } : { source, mistakes }
  } catch (error) {
    return unreadable(key, `cannot be written as JSON Schema: ${messageOf(error)}`)
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

function fromStandard(convert: () => unknown, key: string): SchemaReading {
  try {
    return plain(convert(), { key, written: 'json' })
  } catch (error) {
    return unreadable(key, `cannot be written as JSON Schema: ${messageOf(error)}`)
  }
}

function plain(
  words: unknown,
  options: { key: string; written: 'zod' | 'json'; trustedPatterns?: ReadonlySet<string> },
): SchemaReading {
  const mistakes: Mistake[] = []
  const json = copyJson(words, { key: options.key, within: [], mistakes })
  if (!isPlainObject(json)) return mistakes.length > 0 ? { mistakes } : unreadable(options.key, 'must be an object')
  const { written, trustedPatterns = new Set<string>() } = options
  return { source: { json, written, trustedPatterns }, mistakes }
}

interface CopyPlace {
  key: string
  /** The objects that the value stands in. */
  within: readonly object[]
  mistakes: Mistake[]
}

const depthMax = 100

/**
 * A copy of `value` if it is plain JSON, with `true` (the schema that admits anything) for what is not. Members whose value is
 * undefined are left out, as JSON.stringify does.
 */
function copyJson(value: unknown, at: CopyPlace): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number' && Number.isFinite(value)) return value
  const refuse = (reason: string) => {
    at.mistakes.push(mistake(at.key, reason))
    return true
  }
  if (!Array.isArray(value) && !isPlainObject(value)) {
    const zodInside = ': a zod type cannot stand inside a JSON Schema; write the whole schema in one of the two'
    return refuse(`is not plain JSON but ${kindOf(value)}${isZod4(value) ? zodInside : ''}`)
  }
  if (at.within.includes(value)) return refuse('contains itself; write a recursive schema with "$ref"')
  if (at.within.length > depthMax) return refuse(`is nested more than ${depthMax} levels deep`)
  const inner = (part: string): CopyPlace => ({ ...at, key: `${at.key}.${part}`, within: [...at.within, value] })
  if (Array.isArray(value)) return value.map((element, index) => copyJson(element, inner(String(index))))
  const entries = Object.entries(value).filter(([, member]) => member !== undefined)
  return Object.fromEntries(entries.map(([name, member]) => [name, copyJson(member, inner(name))]))
}
