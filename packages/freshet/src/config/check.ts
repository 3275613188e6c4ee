import { resolve } from 'node:path'
import type { z } from 'zod'
import { configInvalid, isPlainObject, keyPath, kindOf, mistake, quoted, type Mistake } from './mistakes.ts'
import {
  deadLettersSuffix,
  reservedStreamNames,
  streamNamePattern,
  type Plan,
  type RollupPlan,
  type StreamPlan,
} from './plan.ts'
import { formatSize } from './quantities.ts'
import { knownKeys, settings, streamSettings, type Settings } from './settings.ts'
import { nearest } from './spelling.ts'
import { planBucket } from './buckets.ts'
import { planRollup, widthMistakes } from './rollups.ts'
import { planSink, type SinkKinds } from './sinks.ts'
import { circleMistakes, Sources } from './sources.ts'
import { planStream } from './stream-plan.ts'
import { inheritTimes, planTransform, type TransformContext } from './transforms.ts'

/** Values that stand above the file's, from the command line: each is reported by its option's name. */
export interface Overrides {
  port?: number
  host?: string
  /** Relative to `cwd`. */
  dataDir?: string
  /** Changes of tables to make although they would be refused. */
  accept?: readonly string[]
}

export interface CheckOptions {
  /** Folder that a relative `dataDir` starts from: that of the configuration file. */
  baseDir: string
  mode: Plan['mode']
  /** What the message calls the configuration; the file's name, mostly. */
  subject?: string
  overrides?: Overrides
  /** Folder that an overriding `dataDir` starts from; `baseDir` unless given. */
  cwd?: string
  /** The kinds of sinks that there are. */
  sinkKinds?: SinkKinds
  /** The configuration's file, absolute, and a hash of the files that it imports. */
  file?: { path: string; codeHash: string }
}

/**
 * Turns what a user wrote into a plan with all defaults.
 * @throws FreshetError `config_invalid` that lists every mistake; `extra.mistakes` has them as `{ key, reason, suggestion? }`.
 */
export function checkConfig(words: unknown, options: CheckOptions): Plan {
  const subject = options.subject ?? 'The configuration'
  if (!isPlainObject(words)) {
    throw configInvalid(subject, [mistake('(whole file)', `must be an object, not ${kindOf(words)}`)])
  }
  const read = settings.safeParse(overridden(words, options.overrides ?? {}))
  const mistakes = read.success ? [...limitMistakes(read.data, words)] : mistakesOf(read.error, { schema: settings })
  const context = { sources: new Sources(words), codeHash: options.file?.codeHash ?? '' }
  const streams = checkStreams(words['streams'], mistakes, context)
  const parts = checkParts(words, { ...context, streams, kinds: options.sinkKinds ?? {} }, mistakes)
  if (!read.success || mistakes.length > 0)
    throw configInvalid(subject, namedByOption(mistakes, options.overrides ?? {}))
  return planOf(read.data, { streams, ...parts }, options)
}

type Parts = Pick<Plan, 'streams' | 'rollups' | 'sinks' | 'buckets'>

function planOf(words: Settings, parts: Parts, options: CheckOptions): Plan {
  const { http, limits, log, lake, sql, engine, upkeep } = words
  const dataFrom = options.overrides?.dataDir === undefined ? options.baseDir : (options.cwd ?? options.baseDir)
  return {
    dataDir: resolve(dataFrom, words.dataDir),
    mode: options.mode,
    http: { host: http.host, port: http.port, requestTimeoutMs: http.requestTimeout },
    limits: {
      bodyBytesMax: limits.body,
      eventBytesMax: Math.min(limits.event, limits.body),
      nestingMax: limits.nesting,
      batchEventsMax: limits.batch,
      diskFreeBytesMin: limits.diskFree,
    },
    log: { segmentBytes: log.segment },
    lake: {
      flushIntervalMs: lake.flushInterval,
      flushRows: lake.flushRows,
      snapshots: { keepMs: lake.snapshots.keep, min: lake.snapshots.min, max: lake.snapshots.max },
    },
    sql: { timeoutMs: sql.timeout, rowsMax: sql.rows, concurrency: sql.concurrency, catchUpMsMax: sql.catchUp },
    engine: {
      memoryBytes: engine.memory,
      idMemoryBytes: engine.idMemory,
      spillBytesMax: engine.spill,
      threads: engine.threads,
    },
    upkeep: {
      enabled: upkeep.enabled,
      intervalMs: upkeep.interval,
      targetFileBytes: upkeep.targetFile,
      memoryBytes: upkeep.memory,
      orphanAgeMs: upkeep.orphanAge,
    },
    ...parts,
    configFile: options.file?.path ?? null,
    ...(options.overrides?.accept && { accept: [...options.overrides.accept] }),
  }
}

function overridden(words: Record<string, unknown>, { port, host, dataDir }: Overrides): Record<string, unknown> {
  const http = words['http']
  const address = { ...(port === undefined ? {} : { port }), ...(host === undefined ? {} : { host }) }
  return {
    ...words,
    ...(dataDir === undefined ? {} : { dataDir }),
    ...(isPlainObject(http) || http === undefined ? { http: { ...http, ...address } } : {}),
  }
}

function namedByOption(mistakes: readonly Mistake[], overrides: Overrides): Mistake[] {
  const options: Record<string, string | false> = {
    'http.port': overrides.port !== undefined && '--port',
    'http.host': overrides.host !== undefined && '--host',
    dataDir: overrides.dataDir !== undefined && '--data-dir',
  }
  return mistakes.map((one) => ({ ...one, key: options[one.key] || one.key }))
}

/** An event can be no larger than the body it comes in; a default gives way, what the user wrote is a mistake. */
function limitMistakes({ limits }: Settings, words: Record<string, unknown>): Mistake[] {
  const written = words['limits']
  if (limits.event <= limits.body || !isPlainObject(written) || written['event'] === undefined) return []
  return [
    mistake(
      'limits.event',
      `${formatSize(limits.event)} is more than a whole body may have (limits.body: ${formatSize(limits.body)})`,
    ),
  ]
}

/** Rollups, sinks and buckets; their mistakes are added to `mistakes`. */
function checkParts(
  words: Record<string, unknown>,
  context: TransformContext & { streams: Record<string, StreamPlan>; kinds: SinkKinds },
  mistakes: Mistake[],
): Omit<Parts, 'streams'> {
  const each = <T extends object>(part: string, plan: (name: string, words: unknown, key: string) => T | Mistake[]) => {
    const plans: Record<string, T> = {}
    const own = words[part]
    if (own === undefined) return plans
    if (!isPlainObject(own)) {
      mistakes.push(mistake(part, `must be an object of ${part} by name, not ${kindOf(own)}`))
      return plans
    }
    for (const [name, one] of Object.entries(own)) {
      const key = keyPath(part, name)
      const problem = nameMistake(name, undefined, Object.keys(own), part.slice(0, -1))
      const planned = plan(name, one, key)
      if (problem !== undefined) mistakes.push({ key, ...problem })
      if (Array.isArray(planned)) mistakes.push(...planned)
      else if (problem === undefined) plans[name] = planned
    }
    return plans
  }
  const rollups = each('rollups', (name, one, key) => planRollup(name, one, key, { ...context, mistakesOf }))
  const [taken, own] = [true, false].map((is) =>
    Object.values(rollups).filter(({ name }) => Object.hasOwn(context.streams, name) === is),
  ) as [RollupPlan[], RollupPlan[]]
  for (const { name } of taken) mistakes.push(mistake(keyPath('rollups', name), 'a stream has this name already'))
  const chains = new Map(own.map(({ name, from }) => [name, from]))
  mistakes.push(...circleMistakes(chains, (name) => `${keyPath('rollups', name)}.from`))
  mistakes.push(...widthMistakes(rollups))
  const sinks = each('sinks', (name, one, key) => planSink(name, one, key, { ...context, mistakesOf }))
  const buckets = each('buckets', (name, one, key) => planBucket(name, one, key, { ...context, mistakesOf }))
  return { rollups, sinks, buckets }
}

function checkStreams(words: unknown, mistakes: Mistake[], context: TransformContext): Record<string, StreamPlan> {
  const plans: Record<string, StreamPlan> = {}
  if (words === undefined) return plans
  if (!isPlainObject(words)) {
    mistakes.push(mistake('streams', `must be an object of streams by name, not ${kindOf(words)}`))
    return plans
  }
  const seen = new Map<string, string>()
  for (const [name, stream] of Object.entries(words)) {
    const key = keyPath('streams', name)
    const twin = seen.get(name.toLowerCase())
    const problem = nameMistake(name, twin, Object.keys(words))
    seen.set(name.toLowerCase(), name)
    if (problem !== undefined) mistakes.push({ key, ...problem })
    let read = streamSettings.safeParse(stream)
    if (!read.success) {
      mistakes.push(...mistakesOf(read.error, { schema: streamSettings, under: ['streams', name] }))
      if (!isPlainObject(stream)) continue
      // The rest is looked at all the same, so that every mistake is in one message.
      read = streamSettings.safeParse(withoutFaults(stream, read.error))
      if (!read.success) continue
    }
    const plan = planStream(name, read.data, key)
    const transform = planTransform(read.data, stream, key, context)
    if (Array.isArray(plan)) mistakes.push(...plan)
    if (Array.isArray(transform)) mistakes.push(...transform)
    if (!Array.isArray(plan) && !Array.isArray(transform) && problem === undefined) {
      plans[name] = transform === undefined ? plan : { ...plan, id: plan.id ?? '_event_id', transform }
    }
  }
  const sources = Object.values(plans).flatMap(({ name, transform }) =>
    transform ? [[name, transform.from] as const] : [],
  )
  const circles = circleMistakes(new Map(sources), (name) => `${keyPath('streams', name)}.from`)
  mistakes.push(...circles)
  return circles.length === 0 ? inheritTimes(plans) : plans
}

/** The keys of a stream that were read. `time` and `timeUnit` are judged by each other, so they go together. */
function withoutFaults(stream: Record<string, unknown>, error: z.ZodError): Record<string, unknown> {
  const faulty = new Set(error.issues.map((issue) => issue.path[0]))
  if (faulty.has('time') || faulty.has('timeUnit')) faulty.add('time').add('timeUnit')
  const known = knownKeys(streamSettings)
  return Object.fromEntries(Object.entries(stream).filter(([key]) => known.includes(key) && !faulty.has(key)))
}

/** Why a stream cannot be called that, with a name that it could have. */
function nameMistake(
  name: string,
  twin: string | undefined,
  taken: readonly string[],
  what = 'stream',
): Omit<Mistake, 'key'> | undefined {
  if (twin !== undefined) return { reason: `differs from the ${what} ${quoted(twin)} only by upper and lower case` }
  if (reservedStreamNames.includes(name)) {
    return { reason: `the name is reserved (${reservedStreamNames.join(', ')})`, suggestion: `${name}_events` }
  }
  if (name.endsWith(deadLettersSuffix)) {
    const reason = `names that end in "${deadLettersSuffix}" belong to dead letters`
    return { reason, suggestion: `${name.slice(0, -deadLettersSuffix.length)}_letters` }
  }
  if (streamNamePattern.test(name)) return undefined
  const reason = `a ${what} name is 1 to 63 lower-case letters, digits and "_", a letter first`
  const mended = mendedName(name)
  return mended === '' || taken.includes(mended) ? { reason } : { reason, suggestion: mended }
}

function mendedName(name: string): string {
  const snake = name
    .slice(0, 200)
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, '_')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .replace(/^_+/, '')
    .slice(0, 55)
    .replace(/_+$/, '')
  const mended = /^\d/.test(snake) ? `s_${snake}` : snake
  return reservedStreamNames.includes(mended) ? `${mended}_events` : mended
}

/** Issues of zod as mistakes: unknown keys with the nearest known one, and the reasons that the settings give. */
function mistakesOf(error: z.ZodError, place: { schema: z.ZodType; under?: readonly string[] }): Mistake[] {
  const under = place.under ?? []
  return error.issues.flatMap((issue) => {
    const path = issue.path.map(String)
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(place.schema, issue.path)
      return issue.keys.map((name) => unknownKey(keyPath(...under, ...path, name), name, known))
    }
    const params = issue.code === 'custom' ? issue.params : undefined
    return [mistake(keyPath(...under, ...path), issue.message, params?.['suggestion'] as string | undefined)]
  })
}

function unknownKey(key: string, name: string, known: readonly string[]): Mistake {
  const near = nearest(name, known)
  const elsewhere = near === undefined ? placesOf(name).filter((place) => place !== key) : []
  const list = near === undefined && elsewhere.length !== 1 ? ` (known: ${known.join(', ')})` : ''
  return mistake(key, `unknown key${list}`, near ?? (elsewhere.length === 1 ? elsewhere[0] : undefined))
}

/** Where a key of this name does belong. */
function placesOf(name: string): string[] {
  return knownKeys(settings).flatMap((part) => (knownKeys(settings, [part]).includes(name) ? [`${part}.${name}`] : []))
}
