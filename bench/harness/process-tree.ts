/** What processes use, as Linux's /proc tells it (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs'

/** Kernel ticks a second in /proc, which Linux fixes at 100 for user space. */
const ticksPerSecond = 100

interface Stat {
  pid: number
  parent: number
  cpuTicks: number
}

/** What a process-bound benchmark needs; elsewhere than on Linux it is left out. */
export function hasProc(): boolean {
  return process.platform === 'linux'
}

/** The pid and all pids below it. */
export function treeOf(root: number): number[] {
  const stats = allStats()
  const tree = [root]
  for (const pid of tree) tree.push(...stats.filter((stat) => stat.parent === pid).map((stat) => stat.pid))
  return tree
}

/** CPU time, user and system, that the processes have taken so far, seconds; one that has ended counts nothing. */
export function cpuSeconds(pids: readonly number[]): number {
  const wanted = new Set(pids)
  const ticks = allStats()
    .filter((stat) => wanted.has(stat.pid))
    .reduce((total, stat) => total + stat.cpuTicks, 0)
  return ticks / ticksPerSecond
}

/** Most memory a process ever had resident, bytes. @throws Error when there is no such process */
export function peakResidentBytes(pid: number): number {
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  if (found === null) throw new Error(`process ${pid} has no VmHWM`)
  return Number(found[1]) * 1024
}

function allStats(): Stat[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        return [parseStat(readFileSync(`/proc/${name}/stat`, 'utf8'))]
      } catch {
        // It ended between the listing and the look.
        return []
      }
    })
}

/** The second field, the command, is in brackets and may hold anything; what follows the last bracket is regular. */
export function parseStat(text: string): Stat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return {
    pid: Number.parseInt(text, 10),
    parent: Number(fields[1]),
    cpuTicks: Number(fields[11]) + Number(fields[12]),
  }
}
