import { stream } from 'freshet'
import { z } from 'zod'

/** The stream that every benchmark uses; harness/corpus.ts makes its events. */
export const trades = stream({
  schema: z.object({
    id: z.string(),
    at: z.iso.datetime(),
    symbol: z.string(),
    venue: z.string().length(1),
    exchange: z.string(),
    currency: z.string().length(3),
    price: z.number().positive(),
    size: z.int().positive(),
    notional: z.number(),
    condition: z.string(),
    suspicious: z.boolean(),
    file: z.string(),
    line: z.int(),
  }),
  id: 'id',
  time: 'at',
})
