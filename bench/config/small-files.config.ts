import { defineConfig } from 'freshet'
import { trades } from './trades.ts'

/** Commits as often as it can, so that a table of many small files comes of it, and leaves them as they are. */
export default defineConfig({
  lake: { flushInterval: '200 ms', flushRows: 5000 },
  upkeep: { enabled: false },
  streams: { trades },
})
