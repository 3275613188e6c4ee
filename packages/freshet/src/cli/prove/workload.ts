/** Where the events of a run come from: made up, or read from files. */

/** An event that is ready to be sent. */
export interface ProveEvent {
  /** Its number among the events of its site, from 0. */
  n: number
  id: string
  /** JSON, without a line feed. */
  line: string
  /** See checksum.ts. */
  checksum: number
}

export interface Workload {
  /** How many events each site sends. */
  readonly counts: readonly number[]
  /** The next events of a site, at most `most`; none when it has sent all. */
  next(site: number, most: number): Promise<ProveEvent[]>
  close(): void
}

/** The id of an event: it says by itself which run, site and number it is. */
export function eventId(run: string, site: string, n: number): string {
  return `${run}-${site}-${n}`
}

/** What an id names; undefined when it is none of this run. */
export function parseEventId(run: string, id: string): { site: string; n: number } | undefined {
  const match = /^([^-]+)-([^-]+)-(0|[1-9]\d*)$/.exec(id)
  return match === null || match[1] !== run ? undefined : { site: match[2]!, n: Number(match[3]) }
}
