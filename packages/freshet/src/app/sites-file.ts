import { join } from 'node:path'
import type { DataFolder } from '../runtime/data-folder.ts'

/** The file of the site registry, which the gateway's process changes and the engine's reads. */
export function sitesFile({ sitesDir }: Pick<DataFolder, 'sitesDir'>): string {
  return join(sitesDir, 'registry.db')
}
