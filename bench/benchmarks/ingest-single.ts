import { ingestInTurns } from '../harness/ingest-rounds.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'

const ratioGoal = 0.35

/** Acknowledged requests a second, one event each, over 64 connections, against a server that does nothing. */
export async function ingestSingle(lab: Lab): Promise<Result> {
  const { gateway, limit, details } = await ingestInTurns(lab, {
    limit: 'nothing',
    connections: 64,
    shape: { events: 1, overlap: 0 },
    rounds: lab.quick ? 3 : 7,
    secondsPerRound: lab.quick ? 1.2 : 3,
  })
  const ratio = gateway / limit
  return {
    name: 'ingest-single',
    value: gateway,
    unit: 'requests/s',
    limit: { name: 'HTTP server that does nothing', value: limit },
    ratio,
    goal: { text: `ratio at least ${ratioGoal}`, met: ratio >= ratioGoal },
    details,
  }
}
