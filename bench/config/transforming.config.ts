import { defineConfig, stream } from 'freshet'
import { identity } from '../harness/identity.ts'
import { trades } from './trades.ts'

/** One transform, which gives every event on as it is. Commits after a second, as committing.config.ts. */
export default defineConfig({
  lake: { flushInterval: '1 s' },
  streams: { trades, copied: stream({ from: trades, each: identity }) },
})
