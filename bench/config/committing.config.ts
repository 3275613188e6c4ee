import { defineConfig } from 'freshet'
import { trades } from './trades.ts'

/** Commits what is hot after a second, so that the end of a measurement is not spent waiting; all else is as it comes. */
export default defineConfig({ lake: { flushInterval: '1 s' }, streams: { trades } })
