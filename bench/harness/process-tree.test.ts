import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { cpuSeconds, hasProc, parseStat, peakResidentBytes, treeOf } from './process-tree.ts'

describe('a line of /proc/<pid>/stat', () => {
  test('is read past a command name with brackets and spaces', () => {
    const text = '42 (odd ) name) S 7 42 42 0 -1 4194560 100 0 0 0 150 25 3 4 20 0 11 0 5000 1 2'
    expect(parseStat(text)).toEqual({ pid: 42, parent: 7, cpuTicks: 175 })
  })
})

describe.runIf(hasProc())('the process tree', () => {
  test('has children and their use of memory and CPU', async () => {
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] })
    try {
      await once(child, 'spawn')
      const tree = treeOf(process.pid)
      expect(tree).toContain(child.pid)
      expect(tree[0]).toBe(process.pid)
      expect(cpuSeconds([process.pid])).toBeGreaterThan(0)
      expect(peakResidentBytes(process.pid)).toBeGreaterThan(10e6)
    } finally {
      child.kill('SIGKILL')
    }
  })
})
