/** Where this process of the operating system keeps the real files of its simulated worlds; removed when it ends. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const memoryFolder = '/dev/shm'
let root: string | undefined

/** A folder, in memory where there is such a thing. */
export function scratchRoot(): string {
  if (root === undefined) {
    const made = mkdtempSync(join(existsSync(memoryFolder) ? memoryFolder : tmpdir(), 'freshet-simulation-'))
    process.once('exit', removeScratch)
    root = made
  }
  return root
}

/** Removes it; for processes that may be ended without a word. */
export function removeScratch(): void {
  if (root !== undefined) rmSync(root, { recursive: true, force: true })
}
