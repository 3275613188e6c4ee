import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileCatalog } from '../../src/lake/file-catalog/file-catalog.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { silentLogger } from '../../src/runtime/logging.ts'
import { systemRandom } from '../../src/runtime/random.ts'
import { LocalObjectStore } from '../../src/storage/local/local-object-store.ts'
import { catalogSuite } from './catalog-suite.ts'

catalogSuite('file catalog on local files', async () => {
  const root = await mkdtemp(join(tmpdir(), 'freshet-catalog-'))
  const open = (): FileCatalog =>
    new FileCatalog({
      store: new LocalObjectStore({ root, fileSystem: nodeFileSystem, random: systemRandom }),
      rootLocation: `file://${root}`,
      logger: silentLogger,
    })
  return { catalog: open(), reopen: async () => open(), dispose: () => rm(root, { recursive: true }) }
})
