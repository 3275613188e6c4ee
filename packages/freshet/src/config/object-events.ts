/** The events of a bucket's stream, and whether a stream can take them. */
import { createRequire } from 'node:module'
import type { Ajv2020 } from 'ajv/dist/2020.js'
import { z } from 'zod'
import { eventSchema } from './event-schema.ts'
import { mistake, type Mistake } from './mistakes.ts'
import type { StreamPlan } from './plan.ts'

/**
 * Schema of the events of a bucket's stream: `stream({ schema: objectEvents, id: 'id', time: 'put_at' })`. A removal (`deleted`)
 * has the hash, size, type and metadata of what was removed.
 */
export const objectEvents = z.object({
  /** `<bucket>/<key>@<version>`. */
  id: z.string(),
  bucket: z.string(),
  key: z.string(),
  /** Of the object's bytes, in hex. */
  sha256: z.string(),
  /** Bytes. */
  size: z.int(),
  content_type: z.string(),
  metadata: z.record(z.string(), z.string()),
  /** Grows with each change of any object. */
  version: z.int(),
  put_at: z.iso.datetime(),
  deleted: z.boolean(),
})

export type ObjectEvent = z.output<typeof objectEvents>

const samples: readonly ObjectEvent[] = [false, true].map((deleted) => ({
  id: 'logs/2026/november.log@1764115200000',
  bucket: 'logs',
  key: '2026/november.log',
  sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  size: 1024,
  content_type: 'text/plain; charset=utf-8',
  metadata: { host: 'web-1' },
  version: 1_764_115_200_000,
  put_at: '2026-11-26T00:00:00.000Z',
  deleted,
}))

const mend =
  'declare it as stream({ schema: objectEvents, id: "id", time: "put_at" }), with objectEvents from "freshet"'

/** Why the events of a bucket would not fit into its stream. */
export function objectStreamMistakes(plan: StreamPlan, key: string): Mistake[] {
  const { name, id, schema, transform } = plan
  if (transform !== undefined) {
    return [mistake(key, `the stream "${name}" is made of another one, so a bucket cannot fill it; ${mend}`)]
  }
  // An arrival that is told again after a crash is known by its id.
  if (id !== 'id') return [mistake(key, `the stream "${name}" must have id: "id" to be filled by a bucket; ${mend}`)]
  const fault = schema === null ? undefined : schemaFault(schema)
  return fault === undefined
    ? []
    : [mistake(key, `the schema of the stream "${name}" refuses the events of a bucket (${fault}); ${mend}`)]
}

function schemaFault(schema: Record<string, unknown>): string | undefined {
  // Loaded only for configurations with buckets: it takes longer than all the rest of them.
  const { Ajv2020: Validator } = createRequire(import.meta.url)('ajv/dist/2020.js') as { Ajv2020: typeof Ajv2020 }
  try {
    const validate = new Validator({ strict: false, logger: false, validateFormats: false }).compile(
      eventSchema(schema),
    )
    for (const sample of samples) {
      if (validate(sample)) continue
      const [error] = validate.errors ?? []
      const field = error?.instancePath === '' ? '' : `${error?.instancePath.slice(1)} `
      const extra = (error?.params as { additionalProperty?: string } | undefined)?.additionalProperty
      return `${field}${error?.message ?? 'it does not match'}${extra === undefined ? '' : `: ${extra}`}`
    }
  } catch {
    // What is wrong with the schema itself is said elsewhere.
  }
  return undefined
}
