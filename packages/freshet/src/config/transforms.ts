/** How a stream is made of another one: `from` with one of `each`, `batch` and `sql`. */
import { createHash } from 'node:crypto'
import type { z } from 'zod'
import { isPlainObject, mistake, type Mistake } from './mistakes.ts'
import type { StreamPlan, TransformPlan } from './plan.ts'
import type { streamSettings } from './settings.ts'
import type { Sources } from './sources.ts'

type StreamSettings = z.output<typeof streamSettings>

const kinds = ['each', 'batch', 'sql'] as const
const batchEventsMax = 5_000

export interface TransformContext {
  sources: Sources
  /** Hash of the files that the configuration imports; '' where nothing is known of them. */
  codeHash: string
}

/** The plan of a stream's transform, undefined for a stream that is posted to; or what is wrong with it. */
export function planTransform(
  read: StreamSettings,
  words: unknown,
  key: string,
  { sources, codeHash }: TransformContext,
): TransformPlan | undefined | Mistake[] {
  const given = kinds.filter((kind) => read[kind] !== undefined)
  if (read.from === undefined) {
    const idle = [...given, ...(['timeout', 'memory'] as const).filter((name) => read[name] !== undefined)]
    const mistakes = idle.map((name) =>
      mistake(`${key}.${name}`, 'has no meaning without "from", the stream that it reads'),
    )
    return mistakes.length === 0 ? undefined : mistakes
  }
  const mistakes: Mistake[] = []
  const from = sources.find(read.from, `${key}.from`)
  if (typeof from !== 'string') mistakes.push(from)
  if (given.length !== 1) {
    const found = given.length === 0 ? 'has none' : `has ${given.join(' and ')}`
    mistakes.push(mistake(key, `needs one of "each", "batch" and "sql" with "from", and ${found}`))
  }
  if (read.invalid !== undefined)
    mistakes.push(
      mistake(`${key}.invalid`, 'is about events that are posted; what a transform makes is kept as a dead letter'),
    )
  const [kind] = given
  if (mistakes.length > 0 || typeof from !== 'string' || kind === undefined) return mistakes
  return {
    from,
    kind,
    ...(kind === 'sql' && { sql: read.sql! }),
    batchEventsMax,
    timeoutMs: read.timeout ?? 10_000,
    memoryBytes: read.memory ?? 256 * 2 ** 20,
    version: versionOfCode(kind === 'sql' ? read.sql! : sourceOf(words, kind), codeHash),
  }
}

/**
 * Streams with the time of what they are made of, where their own fields have none. A source with an id and no time gives a repeat of an event
 * another time than the first, so its ids are one set for all times (engine/id-source.ts); those of what is made of it have to be so too, and
 * it has no time either.
 * @param plans without circles
 */
export function inheritTimes(plans: Readonly<Record<string, StreamPlan>>): Record<string, StreamPlan> {
  const timeOf = (plan: StreamPlan | undefined): StreamPlan['time'] => {
    if (plan?.transform === undefined || plan.time !== null) return plan?.time ?? null
    const source = plans[plan.transform.from]
    const isOneSet = source !== undefined && source.id !== null && timeOf(source) === null
    return isOneSet ? null : { field: '_event_time', unit: 'iso' }
  }
  return Object.fromEntries(Object.entries(plans).map(([name, plan]) => [name, { ...plan, time: timeOf(plan) }]))
}

/** What tells one version of a transform from another: its own text, and that of the files it may call. */
export function versionOfCode(text: string, codeHash: string): string {
  return createHash('sha256').update(text).update('\0').update(codeHash).digest('hex').slice(0, 12)
}

function sourceOf(words: unknown, kind: 'each' | 'batch'): string {
  return isPlainObject(words) && typeof words[kind] === 'function' ? Function.prototype.toString.call(words[kind]) : ''
}
