import type { Client } from './client.ts'

/** `GET /v1/status`. Members that another version of the server does not send are undefined or null. */
export interface ServerStatus {
  version?: string
  mode?: string
  startedAt?: string
  processes: StatusProcess[]
  engine: { available: boolean; catchingUp?: boolean }
  sites?: { registered: number | null; problem: string | null }
  streams: StatusStream[]
  /** null while the engine does not answer. */
  rollups?: StatusRollup[] | null
  /** What takes events on: transforms and sinks; null while the worker does not answer. */
  consumers?: StatusConsumer[] | null
  buckets?: StatusBucket[] | null
}

interface StatusBucket {
  name: string
  stream: string
  objects?: number | null
  bytes?: number | null
  /** When the server last measured it. */
  storedBytes?: number | null
  uploads?: number | null
  problem?: string | null
}

interface StatusRollup {
  name: string
  from?: string | null
  /** null when the configuration does not have it any more. */
  bucket?: string | null
  rows?: number | null
  files?: number | null
  bytes?: number | null
  lagMs?: number | null
  lastCommitAt?: string | null
  completeThrough?: string | null
  problem?: string | null
}

interface StatusConsumer {
  name: string
  from: string
  state: string
  lagBytes?: number | null
  events?: number | null
  lastTakenAt?: string | null
  problem?: string | null
}

export interface StatusProcess {
  role: string
  pid: number
  state: string
  restarts: number
  startedAt?: string | null
  rssBytes?: number | null
  cpuSeconds?: number | null
}

export interface StatusStream {
  name: string
  declared?: boolean
  eventsPerSecond?: number | null
  logEnd?: string | number | null
  checkpoint?: string | number | null
  lagBytes?: number | string | null
  behindBytes?: number | string | null
  rows?: number | string | null
  hotRows?: number | string | null
  files?: number | null
  bytes?: number | string | null
  freshnessMs?: { p50: number; p99: number } | null
  lastCommitAt?: string | null
  duplicates?: number | string | null
  deadLetters?: number | string | null
  ledger?: { accepted?: number | string | null; inFlight?: number | string | null } | null
  completeThrough?: string | null
  /** The first of them, what holds back in front. */
  sites?: StatusSite[] | null
}

interface StatusSite {
  site: string
  state: string
  silentMs?: number | null
  holdsBack: boolean
}

/** Asks the server how it is. @throws FreshetError */
export async function fetchStatus(client: Client, signal?: AbortSignal): Promise<ServerStatus> {
  const answer = (await client.getJson('/v1/status', signal)) as Partial<ServerStatus>
  return {
    ...answer,
    processes: answer.processes ?? [],
    engine: answer.engine ?? { available: false },
    streams: answer.streams ?? [],
  }
}
