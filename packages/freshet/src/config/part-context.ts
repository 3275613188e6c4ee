import type { z } from 'zod'
import type { Mistake } from './mistakes.ts'
import type { Sources } from './sources.ts'

/** What the parts of a configuration beside the streams (rollups, sinks, buckets) are checked with. */
export interface PartContext {
  sources: Sources
  /** The issues of a section, as mistakes with the keys below `under`. */
  mistakesOf: (error: z.ZodError, place: { schema: z.ZodType; under: readonly string[] }) => Mistake[]
}
