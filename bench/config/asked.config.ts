import { defineConfig } from 'freshet'
import { trades } from './trades.ts'

/** Commits what is hot after a second; upkeep works only when it is asked to. */
export default defineConfig({ lake: { flushInterval: '1 s' }, upkeep: { enabled: false }, streams: { trades } })
