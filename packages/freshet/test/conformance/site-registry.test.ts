import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSiteReader, openSiteRegistry } from '../../src/sites/sqlite/sqlite-site-registry.ts'
import { siteRegistrySuite } from './site-registry-suite.ts'

siteRegistrySuite('SQLite', async (clock) => {
  const folder = await mkdtemp(join(tmpdir(), 'freshet-registry-'))
  const file = join(folder, 'registry.db')
  const reading = openSiteReader(file)
  const opened = [openSiteRegistry(file, clock)]
  return {
    sites: opened[0]!,
    reading,
    reopen: () => {
      opened.push(openSiteRegistry(file, clock))
      return opened.at(-1)!
    },
    dispose: async () => {
      for (const one of [reading, ...opened]) one.close()
      await rm(folder, { recursive: true })
    },
  }
})
