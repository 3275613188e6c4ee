import { freshnessRun } from '../harness/freshness-run.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'

const p50GoalMs = 100
const p99GoalMs = 250

/** From acknowledgement to visible in SQL, at 20,000 events a second from 64 producers. */
export async function freshness(lab: Lab): Promise<Result> {
  const { freshnessMs, details } = await freshnessRun(lab, 0)
  return {
    name: 'freshness',
    value: freshnessMs.p99,
    unit: 'ms, p99',
    limit: null,
    ratio: null,
    goal: {
      text: `p50 ${p50GoalMs} ms, p99 ${p99GoalMs} ms`,
      met: freshnessMs.p50 <= p50GoalMs && freshnessMs.p99 <= p99GoalMs,
    },
    details,
  }
}
