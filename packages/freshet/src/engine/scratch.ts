import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCodeOf } from '../runtime/errors.ts'

/**
 * Removes what is in the scratch folder. The folder itself stays: other processes of the server make sure of it as they start, and
 * making a folder fails when somebody removes it at the same moment.
 */
export async function emptyScratch(tmpDir: string): Promise<void> {
  for (const name of await namesIn(tmpDir)) await rm(join(tmpDir, name), { recursive: true, force: true })
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw error
  }
}
