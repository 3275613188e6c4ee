/** Waiting for the server, through its public doors. */
import { setTimeout as delay } from 'node:timers/promises'
import type { StatusStream } from '../server-status.ts'
import type { Door, Row } from './door.ts'

const pauseMs = 100

/**
 * Waits until all that is in the log now is committed. Returns false when that takes longer than `patienceMs`.
 * @param onWait told of the bytes that are still to be committed
 */
export async function waitUntilCommitted(
  door: Door,
  streams: readonly string[],
  options: { patienceMs: number; stop: AbortSignal; onWait: (lagBytes: number) => void },
): Promise<boolean> {
  const deadline = performance.now() + options.patienceMs
  let goals: Map<string, bigint> | undefined
  while (performance.now() < deadline) {
    options.stop.throwIfAborted()
    const found = await streamsOf(door, streams)
    if (found !== undefined) {
      goals ??= new Map(found.map(({ name, logEnd }) => [name, BigInt(logEnd ?? 0)]))
      if (found.every(({ name, checkpoint }) => BigInt(checkpoint ?? 0) >= (goals?.get(name) ?? 0n))) return true
      options.onWait(found.reduce((sum, { lagBytes }) => sum + Number(lagBytes ?? 0), 0))
    }
    await delay(pauseMs)
  }
  return false
}

async function streamsOf(door: Door, names: readonly string[]): Promise<StatusStream[] | undefined> {
  try {
    const { engine, streams } = await door.status()
    return engine.available ? streams.filter(({ name }) => names.includes(name)) : undefined
  } catch {
    return undefined
  }
}

/** How many events of a run each site has in a stream, with a mark over their ids: equal for equal contents. */
export async function marksOf(door: Door, stream: string, run: string): Promise<Row[]> {
  return door.rows(
    `select prove_site as site, count(*) as events, count(distinct prove_id) as ids,
       cast(bit_xor(hash(prove_id)) as varchar) as mark
     from ${stream} where starts_with(prove_id, $run) group by prove_site order by prove_site`,
    { run: `${run}-` },
  )
}
