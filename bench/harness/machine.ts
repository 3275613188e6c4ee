/** What the figures were measured on. */
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { median, rounded } from './statistics.ts'

export interface Machine {
  platform: string
  kernel: string
  arch: string
  cpu: string
  cores: number
  memoryBytes: number
  node: string
  /** Median time of writing 4 KiB and waiting until they are on disk, in the folder the benchmarks use. */
  diskSyncMs: number
  /** Of the last minute, when the benchmarks began: above zero, others were using the machine too. */
  loadAverage: number
}

export function describeMachine(folder: string): Machine {
  return {
    platform: process.platform,
    kernel: release(),
    arch: process.arch,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    node: process.versions.node,
    diskSyncMs: rounded(measureDiskSync(folder)),
    loadAverage: rounded(loadavg()[0] ?? 0),
  }
}

function measureDiskSync(folder: string): number {
  const syncs = 50
  const path = join(folder, 'disk-sync')
  const file = openSync(path, 'w')
  try {
    const block = Buffer.alloc(4096, 1)
    const samplesMs = Array.from({ length: syncs }, () => {
      const startedAt = performance.now()
      writeSync(file, block)
      fdatasyncSync(file)
      return performance.now() - startedAt
    })
    return median(samplesMs)
  } finally {
    closeSync(file)
    rmSync(path)
  }
}
