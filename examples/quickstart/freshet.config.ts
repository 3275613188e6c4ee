import { defineConfig, stream } from 'freshet'
import { z } from 'zod'

export default defineConfig({
  // Short, so that Iceberg files appear while you watch; a server in earnest is better off with the default, a minute.
  lake: { flushInterval: '2 s' },
  streams: {
    trades: stream({
      schema: z.object({
        id: z.string(),
        symbol: z.string(),
        venue: z.string().length(1),
        price: z.number().positive(),
        size: z.int().positive(),
        condition: z.string(),
        suspicious: z.boolean(),
        at: z.iso.datetime(),
      }),
      id: 'id',
      time: 'at',
      partition: 'hour',
    }),
  },
})
