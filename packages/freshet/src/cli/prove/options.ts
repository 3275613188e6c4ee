import { randomInt } from 'node:crypto'
import { resolve } from 'node:path'
import { usageError } from '../exit-codes.ts'

/** What the command line may say. */
export interface ProveFlags {
  events?: number
  sites: number
  duplicates: number
  late: number
  kill: number
  batch: number
  rate?: number
  readers: number
  seed?: number
  input?: string[]
  columns?: string
  url?: string
  stream: string
  dataDir?: string
  keep?: boolean
  json?: string
  html?: string
  quiet?: boolean
}

export interface ProveOptions {
  /** Events to send; null: all rows of the input. */
  events: number | null
  sites: number
  /** Parts of the events, from 0 to 1. */
  duplicates: number
  late: number
  kills: number
  batchEvents: number
  /** Events a second, all sites together; null: as fast as they are taken. */
  rate: number | null
  readers: number
  seed: number
  input: string[]
  columns: string[] | null
  /** A server that runs already; null: one of our own. */
  url: string | null
  /** The stream that the events go to. */
  stream: string
  /** Absolute path of the folder of our own server; null: a temporary one. */
  folder: string | null
  keep: boolean
}

export const defaultEvents = 100_000

/** @throws FreshetError `invalid_usage` for what contradicts itself */
export function proveOptions(flags: ProveFlags, cwd: string): ProveOptions {
  const input = flags.input ?? []
  if (flags.url !== undefined) {
    if (flags.kill > 0)
      throw usageError(
        '--kill needs a server of its own.',
        'Leave --url away: prove then starts one in a temporary folder, and kills only its processes.',
      )
    if (flags.dataDir !== undefined || flags.keep === true)
      throw usageError('--data-dir and --keep are about the server that prove starts; with --url it starts none.')
  }
  if (flags.columns !== undefined && input.length === 0) throw usageError('--columns names the columns of --input.')
  if (!/^[a-z][a-z0-9_]{0,62}$/.test(flags.stream)) throw usageError(`"${flags.stream}" is no name of a stream.`)
  return {
    events: flags.events ?? (input.length === 0 ? defaultEvents : null),
    sites: flags.sites,
    duplicates: flags.duplicates,
    late: flags.late,
    kills: flags.kill,
    batchEvents: flags.batch,
    rate: flags.rate ?? null,
    readers: flags.readers,
    seed: flags.seed ?? randomInt(1, 2 ** 31),
    input,
    columns: flags.columns?.split(',').map((name) => name.trim()) ?? null,
    url: flags.url ?? null,
    stream: flags.stream,
    folder: flags.dataDir === undefined ? null : resolve(cwd, flags.dataDir),
    keep: flags.keep === true || flags.dataDir !== undefined,
  }
}
