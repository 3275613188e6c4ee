export type ProcessRole = 'supervisor' | 'gateway' | 'engine' | 'worker'

/** What the supervisor knows of one process of the server. */
export interface ProcessStatus {
  role: ProcessRole
  /** 0 while it is not running. */
  pid: number
  /** `failed`: it died so often, so soon after starting, that it is only started again at long intervals. */
  state: 'starting' | 'running' | 'restarting' | 'failed'
  /** How often it was started again. */
  restarts: number
  /** ISO time of its last start. */
  startedAt: string
  /** Resident memory, bytes. */
  rssBytes: number
  /** CPU time used since its start, seconds. */
  cpuSeconds: number
}

/** How often a process measures itself and tells its supervisor, milliseconds. */
export const statsIntervalMs = 5_000

/** What this process uses at the moment. */
export function processUsage(): Pick<ProcessStatus, 'rssBytes' | 'cpuSeconds'> {
  const { user, system } = process.cpuUsage()
  return { rssBytes: process.memoryUsage.rss(), cpuSeconds: (user + system) / 1e6 }
}
