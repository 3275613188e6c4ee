/** What is on the simulated disk, read at once: no steps, no faults. `durable` is what a power cut would leave at least. */
import type { FileHandle, FileSystem } from '../../../src/runtime/file-system.ts'
import { silentLogger } from '../../../src/runtime/logging.ts'
import { FileCatalog } from '../../../src/lake/file-catalog/file-catalog.ts'
import { LocalObjectStore } from '../../../src/storage/local/local-object-store.ts'
import { seededRandom } from '../seeded-random.ts'
import { SimulatedFile } from '../simulated-file.ts'
import { SimulatedFolder, type Entry } from '../simulated-folder.ts'
import { lakeDir, type Machine } from './machine.ts'

function missing(path: string): Error {
  return Object.assign(new Error(`ENOENT: '${path}'`), { code: 'ENOENT' })
}

const refuse = (): never => {
  throw new Error('the checks only read')
}

export function storedView(machine: Machine, durable = false): FileSystem {
  const entry = (path: string): Entry | undefined => (durable ? machine.disk.durable(path) : machine.disk.entry(path))
  const bytes = (path: string): Buffer => {
    const found = entry(path)
    if (!(found instanceof SimulatedFile)) throw missing(path)
    return durable ? found.durable : found.read(0, found.length)
  }
  const names = (path: string): string[] => {
    const found = entry(path)
    return found instanceof SimulatedFolder ? [...(durable ? found.durable : found.entries).keys()].toSorted() : []
  }
  const open = async (path: string): Promise<FileHandle> => {
    const content = bytes(path)
    return {
      read: async (position, length) => content.subarray(position, position + length),
      size: async () => content.length,
      close: async () => {},
      write: refuse,
      sync: refuse,
      truncate: refuse,
    }
  }
  return {
    open,
    readFile: async (path) => bytes(path),
    readNow: (path) => (entry(path) instanceof SimulatedFile ? bytes(path) : undefined),
    readDir: async (path) => names(path),
    readEntries: async (path) =>
      names(path).map((name) => {
        const found = entry(`${path}/${name}`)
        const folder = found instanceof SimulatedFolder
        const modifiedMs = found instanceof SimulatedFile ? found.modifiedMs : 0
        return { name, folder, bytes: folder ? 0 : bytes(`${path}/${name}`).length, modifiedMs }
      }),
    freeBytes: async () => 0,
    makeDir: refuse,
    rename: refuse,
    link: refuse,
    remove: refuse,
    syncDir: refuse,
    watch: refuse,
  }
}

/** The lake's tables as they are stored. */
export function storedLake(machine: Machine, durable = false): { catalog: FileCatalog; store: LocalObjectStore } {
  const fileSystem = storedView(machine, durable)
  const store = new LocalObjectStore({ root: lakeDir, fileSystem, random: seededRandom(0) })
  return { store, catalog: new FileCatalog({ store, rootLocation: `file://${lakeDir}`, logger: silentLogger }) }
}
