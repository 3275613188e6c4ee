import { defineConfig } from 'freshet'
import { trades } from './trades.ts'

/** Never commits by age, so that some rows stay hot while queries are measured; all else is as it comes. */
export default defineConfig({ lake: { flushInterval: '1 h' }, streams: { trades } })
