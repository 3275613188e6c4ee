import { ingestInTurns } from '../harness/ingest-rounds.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'

const ratioGoal = 0.55
const shape = { events: 500, overlap: 0 }

/** Durable, validated events a second in NDJSON batches, against the same HTTP server that only parses. */
export async function ingestBatch(lab: Lab): Promise<Result> {
  const rounds = lab.quick ? 3 : 7
  const { gateway, limit, details } = await ingestInTurns(lab, {
    limit: 'parse',
    connections: 16,
    shape,
    rounds,
    secondsPerRound: lab.quick ? 1.2 : 3,
  })
  const ratio = gateway / limit
  return {
    name: 'ingest-batch',
    value: gateway * shape.events,
    unit: 'events/s',
    limit: { name: 'HTTP server that only parses', value: limit * shape.events },
    ratio,
    goal: { text: `ratio at least ${ratioGoal}`, met: ratio >= ratioGoal },
    details,
  }
}
