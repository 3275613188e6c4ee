/** Sinks: what takes a stream's events to another system. Each kind brings the settings that are its own. */
import type { z } from 'zod'
import { isPlainObject, kindOf, mistake, quoted, type Mistake } from './mistakes.ts'
import type { PartContext } from './part-context.ts'
import type { SinkPlan } from './plan.ts'
import { choice } from './readers.ts'
import { nearest } from './spelling.ts'

/** What is to be known of a kind of sink to check its settings. */
export interface SinkSettings {
  /** A `section` of readers, without `kind`, `from` and `start`. */
  settings: z.ZodType<Record<string, unknown>>
  /** What is wrong with settings that are right one by one; the key is relative to the sink. */
  check?: (settings: Record<string, unknown>) => Mistake[]
}

export type SinkKinds = Readonly<Record<string, SinkSettings>>

const start = choice(['all', 'new'])
const common = ['kind', 'from', 'start'] as const

/** The plan of one sink, or everything that is wrong with it. */
export function planSink(
  name: string,
  words: unknown,
  key: string,
  { sources, kinds, mistakesOf }: PartContext & { kinds: SinkKinds },
): SinkPlan | Mistake[] {
  if (!isPlainObject(words))
    return [mistake(key, `must be a sink, such as sink.postgres({ ... }), not ${kindOf(words)}`)]
  const { kind } = words
  const known = Object.keys(kinds)
  if (typeof kind !== 'string' || !Object.hasOwn(kinds, kind)) {
    const reason =
      kind === undefined
        ? 'is missing'
        : `there is no kind of sink ${typeof kind === 'string' ? quoted(kind) : kindOf(kind)}`
    const near = typeof kind === 'string' ? nearest(kind, known) : undefined
    return [mistake(`${key}.kind`, `${reason} (known: ${known.join(', ')})`, near)]
  }
  const { settings, check } = kinds[kind]!
  const own = Object.fromEntries(
    Object.entries(words).filter(([member]) => !(common as readonly string[]).includes(member)),
  )
  const mistakes: Mistake[] = []
  const from = sources.find(words['from'], `${key}.from`)
  if (typeof from !== 'string') mistakes.push(from)
  const begins = start.safeParse(words['start'] ?? 'all')
  if (!begins.success) mistakes.push(mistake(`${key}.start`, begins.error.issues[0]!.message))
  const read = settings.safeParse(own)
  if (!read.success) mistakes.push(...mistakesOf(read.error, { schema: settings, under: ['sinks', name] }))
  else mistakes.push(...(check?.(read.data) ?? []).map((one) => ({ ...one, key: `${key}.${one.key}` })))
  if (typeof from !== 'string' || !begins.success || !read.success || mistakes.length > 0) return mistakes
  const functions = Object.keys(own).filter((member) => typeof own[member] === 'function')
  const options = Object.fromEntries(
    Object.entries(read.data).filter(([member, value]) => value !== undefined && !functions.includes(member)),
  )
  return { name, kind, from, start: begins.data, options, functions }
}
