import { endToEndRun } from '../harness/end-to-end-run.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { rounded } from '../harness/statistics.ts'

const ratioGoal = 0.15
const rateGoal = 200_000

/** Events a second from the first request until everything is committed, with the whole server running. */
export async function endToEnd(lab: Lab): Promise<Result> {
  const { events, rows, seconds, load, limit, limits } = await endToEndRun(lab)
  const value = events / seconds
  const ratio = value / limit.value
  return {
    name: 'end-to-end',
    value,
    unit: 'events/s',
    limit,
    ratio,
    goal: {
      text: `ratio at least ${ratioGoal}, ${rateGoal.toLocaleString('en-US')} events/s`,
      met: ratio >= ratioGoal && value >= rateGoal,
    },
    details: {
      events,
      rows,
      seconds: rounded(seconds),
      postedInSeconds: rounded(load.seconds),
      generatorCpu: rounded(load.cpuSeconds / load.seconds),
      limits: limits.map(rounded),
    },
  }
}
