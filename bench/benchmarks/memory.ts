import { endToEndRun, type Peaks } from '../harness/end-to-end-run.ts'
import type { Lab } from '../harness/lab.ts'
import type { Result } from '../harness/result.ts'
import { rounded } from '../harness/statistics.ts'

const megabyte = 1e6
const gatewayGoalBytes = 250 * megabyte
const engineGoalBytes = 1000 * megabyte
/** Memory counts as flat when it has not grown by more than a quarter while the table grew fivefold. */
const flatFactor = 1.25

/** Peak resident size of gateway and engine in the end-to-end run, early in it and at its end. */
export async function memory(lab: Lab): Promise<Result> {
  const { peaks, rows } = await endToEndRun(lab)
  if (peaks === null) throw new Error('peak memory is read from /proc, which only Linux has')
  const { early, late, earlyRows } = peaks
  const growth = { gateway: late.gateway / early.gateway, engine: late.engine / early.engine }
  const small = late.gateway <= gatewayGoalBytes && late.engine <= engineGoalBytes
  // The first rows of a table fill the hot tail; only from there on memory has to stay as it is.
  const flat = lab.quick || (growth.gateway <= flatFactor && growth.engine <= flatFactor)
  return {
    name: 'memory',
    value: (late.gateway + late.engine) / megabyte,
    unit: 'MB, gateway and engine',
    limit: null,
    ratio: null,
    goal: { text: `gateway 250 MB, engine 1,000 MB${lab.quick ? '' : '; flat'}`, met: small && flat },
    details: {
      gatewayMB: rounded(late.gateway / megabyte),
      engineMB: rounded(late.engine / megabyte),
      [`at${earlyRows}Rows`]: inMegabytes(early),
      [`at${rows}Rows`]: inMegabytes(late),
      growth: { gateway: rounded(growth.gateway), engine: rounded(growth.engine) },
    },
  }
}

function inMegabytes(peaks: Peaks): Record<string, number> {
  return { gatewayMB: rounded(peaks.gateway / megabyte), engineMB: rounded(peaks.engine / megabyte) }
}
