import type { LoadedTable } from '../../src/lake/catalog.ts'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'

/** The files of a lake folder. */
export function storeOf(lakeDir: string): ObjectStore {
  return new LocalObjectStore({ root: lakeDir, fileSystem: nodeFileSystem, random: systemRandom })
}

/** A table of a lake folder as it is now. */
export async function loadTable(lakeDir: string, name: string): Promise<LoadedTable> {
  const store = storeOf(lakeDir)
  const table = await new FileCatalog({ store, rootLocation: `file://${lakeDir}`, logger: silentLogger }).load(name)
  if (table === undefined) throw new Error(`there is no table ${name} in ${lakeDir}`)
  return table
}
