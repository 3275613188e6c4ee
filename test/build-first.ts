import { join } from 'node:path'
import { ensureBuilt } from '../scripts/build.mjs'

/** Tests that start the server run what is in `dist`; this makes it match the sources, however vitest was started. */
export async function setup(): Promise<void> {
  const root = join(import.meta.dirname, '..')
  await ensureBuilt(root, process.execPath, (line) => console.error(line))
}
