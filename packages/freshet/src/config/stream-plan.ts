import type { z } from 'zod'
import { columnsFromSchema, columnTypeOf } from './columns.ts'
import type { JsonSchema } from './define.ts'
import { planEvolution } from './evolution.ts'
import { declareTypes } from './declared-types.ts'
import { jsonTypesOf } from './json-types.ts'
import { mistake, quoted, type Mistake } from './mistakes.ts'
import { objectShape, type ObjectShape } from './object-shape.ts'
import { systemColumns, type StreamPlan } from './plan.ts'
import { schemaMistakes } from './schema-rules.ts'
import { readSchema, type SchemaSource } from './schema-source.ts'
import type { streamSettings } from './settings.ts'
import { nearest } from './spelling.ts'

type StreamSettings = z.output<typeof streamSettings>

/** The plan of one stream whose keys were read, or everything that is wrong with its schema, `id` and `time`. */
export function planStream(name: string, words: StreamSettings, key: string): StreamPlan | Mistake[] {
  const { partition } = words
  const upkeep = {
    ...(words.retain !== undefined && { retainMs: words.retain }),
    ...(words.sort !== undefined && { sort: words.sort }),
    ...(words.invalid === 'dead-letter' && { invalid: words.invalid }),
  }
  if (words.schema === undefined) {
    const mistakes = [
      ...reservedMistakes(words, key),
      ...timeUnitMistakes(words, key),
      ...(words.types === undefined ? [] : [mistake(`${key}.types`, 'has no meaning without "schema"')]),
    ]
    const evolution = planEvolution(words, null, key)
    if (Array.isArray(evolution)) mistakes.push(...evolution)
    if (mistakes.length > 0 || Array.isArray(evolution)) return mistakes
    return {
      name,
      schema: null,
      columns: null,
      open: true,
      id: words.id ?? null,
      time: timeOf(words),
      partition,
      ...evolution,
      ...upkeep,
    }
  }
  const schemaKey = `${key}.schema`
  const { source, mistakes } = readSchema(words.schema, schemaKey)
  mistakes.push(...timeUnitMistakes(words, key))
  if (source === undefined) return mistakes
  const rules = schemaMistakes(source, schemaKey)
  mistakes.push(...rules.mistakes)
  const shape = rules.sound ? objectShape(source.json, source.json) : undefined
  if (shape !== undefined) {
    const fieldKey = source.written === 'zod' ? schemaKey : `${schemaKey}.properties`
    // What is wrong with a field is said once.
    const isWrong = (field: string | undefined) =>
      mistakes.some((one) => one.key === `${fieldKey}.${field}` || one.key.startsWith(`${fieldKey}.${field}.`))
    const context = { shape, root: source.json, key }
    const more = [
      ...rootMistakes(source, shape, schemaKey),
      ...(isWrong(words.id) ? [] : idMistakes(words.id, context)),
      ...(isWrong(words.time) ? [] : timeMistakes(words, context)),
      ...sortMistakes(words.sort, context),
    ]
    const known = new Set(mistakes.map((one) => `${one.key} ${one.reason}`))
    mistakes.push(...more.filter((one) => !known.has(`${one.key} ${one.reason}`)))
  }
  if (shape === undefined || mistakes.length > 0) return mistakes
  const declared = declareTypes(columnsFromSchema(source.json), words.types ?? {}, {
    root: source.json,
    key,
    time: words.time,
  })
  const { columns } = declared
  const evolution = planEvolution(words, columns, key)
  if (Array.isArray(evolution)) return [...declared.mistakes, ...evolution]
  if (declared.mistakes.length > 0) return declared.mistakes
  return {
    name,
    schema: source.json,
    columns,
    open: shape.open,
    id: words.id ?? null,
    time: timeOf(words),
    partition,
    ...evolution,
    ...upkeep,
  }
}

function timeOf(words: StreamSettings): StreamPlan['time'] {
  return words.time === undefined ? null : { field: words.time, unit: words.timeUnit ?? 'iso' }
}

function reservedMistakes(words: StreamSettings, key: string): Mistake[] {
  return (['id', 'time'] as const)
    .filter((role) => words[role]?.startsWith('_') === true)
    .map((role) => mistake(`${key}.${role}`, reservedReason(words[role]!)))
}

function reservedReason(name: string): string {
  const columns = systemColumns.map((column) => column.name).join(', ')
  return `the name ${quoted(name)} is reserved: names that begin with "_" belong to Freshet (${columns})`
}

function timeUnitMistakes(words: StreamSettings, key: string): Mistake[] {
  if (words.timeUnit === undefined || words.time !== undefined) return []
  return [mistake(`${key}.timeUnit`, `has no meaning without "time", the field that holds the time of the event`)]
}

/** The whole schema has to describe objects, with names that can be columns. */
function rootMistakes(source: SchemaSource, shape: ObjectShape, key: string): Mistake[] {
  const types = jsonTypesOf(source.json, source.json)
  if (types !== undefined && !types.has('object')) {
    return [mistake(key, `describes ${[...types].join(' or ') || 'nothing'}, but every event is a JSON object`)]
  }
  if (shape.fields.size === 0 && (!shape.open || types === undefined)) {
    const why = shape.open ? 'says nothing about events' : 'names no fields and allows no others'
    return [mistake(key, `${why}; leave it out to accept any JSON object, with columns inferred`)]
  }
  const fieldKey = source.written === 'zod' ? key : `${key}.properties`
  const mistakes: Mistake[] = []
  const spelled = new Map<string, string>()
  for (const name of shape.fields.keys()) {
    if (name.startsWith('_')) mistakes.push(mistake(`${fieldKey}.${name}`, reservedReason(name)))
    const other = spelled.get(name.toLowerCase())
    if (other !== undefined) {
      const reason = `differs from the field ${quoted(other)} only by upper and lower case, which SQL does not tell apart`
      mistakes.push(mistake(`${fieldKey}.${name}`, reason))
    }
    spelled.set(name.toLowerCase(), name)
  }
  return mistakes
}

interface FieldContext {
  shape: ObjectShape
  root: JsonSchema
  key: string
}

function idMistakes(id: string | undefined, { shape, root, key: streamKey }: FieldContext): Mistake[] {
  const key = `${streamKey}.id`
  if (id === undefined) return []
  const field = shape.fields.get(id)
  if (field === undefined) return [missingField(key, id, shape)]
  const types = jsonTypesOf(field.schema, root)
  if (types === undefined || [...types].some((type) => !['string', 'integer', 'null'].includes(type))) {
    return [mistake(key, `the field ${quoted(id)} must be a string or an integer to be an id, not ${named(types)}`)]
  }
  return requiredMistakes(key, id, { required: field.required, nullable: types.has('null'), role: 'an id' })
}

function timeMistakes(words: StreamSettings, { shape, root, key: streamKey }: FieldContext): Mistake[] {
  const { time, timeUnit } = words
  const key = `${streamKey}.time`
  if (time === undefined) return []
  const field = shape.fields.get(time)
  if (field === undefined) return [missingField(key, time, shape)]
  const types = jsonTypesOf(field.schema, root)
  const { kind } = columnTypeOf(field.schema, root)
  const numeric = kind === 'long' || kind === 'double'
  if (kind !== 'timestamptz' && !numeric) {
    const what = types?.has('string') === true ? 'a string without the format "date-time"' : named(types)
    return [
      mistake(
        key,
        `the field ${quoted(time)} must be a date-time string with a time zone (z.iso.datetime(), or "format": "date-time"), ` +
          `or a number with "timeUnit", to be a time, not ${what}`,
      ),
    ]
  }
  const mistakes = requiredMistakes(key, time, {
    required: field.required,
    nullable: types?.has('null') === true,
    role: 'a time',
  })
  if (numeric && (timeUnit === undefined || timeUnit === 'iso')) {
    const reason = `the field ${quoted(time)} is a number: say "s", "ms" or "us" (seconds, milliseconds or microseconds since 1970)`
    mistakes.push(mistake(`${streamKey}.timeUnit`, reason))
  }
  if (!numeric && timeUnit !== undefined && timeUnit !== 'iso') {
    const reason = `"${timeUnit}" is for numbers, and the field ${quoted(time)} is a date-time string; leave it out`
    mistakes.push(mistake(`${streamKey}.timeUnit`, reason))
  }
  return mistakes
}

/** Rows can be sorted by a field whose values have an order: no objects, no arrays. */
function sortMistakes(sort: string | undefined, { shape, root, key: streamKey }: FieldContext): Mistake[] {
  const key = `${streamKey}.sort`
  if (sort === undefined || systemColumns.some(({ name }) => name === sort)) return []
  const field = shape.fields.get(sort)
  if (field === undefined) return shape.open ? [] : [missingField(key, sort, shape)]
  const types = jsonTypesOf(field.schema, root)
  const nested = types !== undefined && [...types].every((type) => ['object', 'array', 'null'].includes(type))
  return nested ? [mistake(key, `the field ${quoted(sort)} is ${named(types)}: rows cannot be sorted by it`)] : []
}

function missingField(key: string, name: string, shape: ObjectShape): Mistake {
  const names = [...shape.fields.keys()]
  const list = names.length > 12 ? `${names.slice(0, 12).join(', ')}, ...` : names.join(', ')
  const known = names.length === 0 ? 'names none' : `has: ${list}`
  return mistake(key, `the schema has no field ${quoted(name)} (it ${known})`, nearest(name, names))
}

function requiredMistakes(
  key: string,
  name: string,
  field: { required: boolean; nullable: boolean; role: string },
): Mistake[] {
  if (field.required && !field.nullable) return []
  const how = field.required ? 'be null' : 'be absent'
  return [mistake(key, `the field ${quoted(name)} may ${how}; to be ${field.role} it must be there in every event`)]
}

function named(types: ReadonlySet<string> | undefined): string {
  return types === undefined ? 'a value of any type' : [...types].join(' or ') || 'nothing'
}
