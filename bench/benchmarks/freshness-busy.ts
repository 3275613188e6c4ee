import { freshnessRun } from '../harness/freshness-run.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'

const p99GoalMs = 1000
const clients = 2

/** The same as freshness, while two clients run heavy SQL without pause. */
export async function freshnessBusy(lab: Lab): Promise<Result> {
  const { freshnessMs, details } = await freshnessRun(lab, clients)
  return {
    name: 'freshness-busy',
    value: freshnessMs.p99,
    unit: 'ms, p99',
    limit: null,
    ratio: null,
    goal: { text: `p99 ${p99GoalMs.toLocaleString('en-US')} ms`, met: freshnessMs.p99 <= p99GoalMs },
    details,
  }
}
