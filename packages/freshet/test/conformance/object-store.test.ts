import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { MemoryBucket, MemoryObjectStore } from './memory-object-store.ts'
import { objectStoreSuite, remoteObjectStoreSuite } from './object-store-suite.ts'

objectStoreSuite('local', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'freshet-local-'))
  return {
    store: new LocalObjectStore({ root: join(folder, 'lake'), fileSystem: nodeFileSystem, random: systemRandom }),
    dispose: () => rm(folder, { recursive: true }),
  }
})

objectStoreSuite('memory', async () => ({ store: new MemoryObjectStore(), dispose: async () => undefined }))

const makeBucket = async () => ({ store: new MemoryBucket(), dispose: async () => undefined })
objectStoreSuite('memory bucket', makeBucket)
remoteObjectStoreSuite('memory bucket', makeBucket)
