import type { Catalog } from '../../src/lake/catalog.ts'

/** A catalog in front of whose first commit another one is made. */
export function meeting(catalog: Catalog, first: () => Promise<unknown>): Catalog {
  let met = false
  return {
    tables: () => catalog.tables(),
    load: (name) => catalog.load(name),
    create: (name, metadata) => catalog.create(name, metadata),
    commit: async (base, next) => {
      if (!met) {
        met = true
        await first()
      }
      return catalog.commit(base, next)
    },
  }
}

/** A catalog whose first commit fails before or after it is made. */
export function failing(
  catalog: Catalog,
  when: 'before' | 'after',
  error: () => Error,
  then?: () => Promise<void>,
): Catalog {
  let failed = false
  return {
    tables: () => catalog.tables(),
    load: (name) => catalog.load(name),
    create: (name, metadata) => catalog.create(name, metadata),
    commit: async (base, next) => {
      if (failed) return catalog.commit(base, next)
      failed = true
      if (when === 'before') throw error()
      await catalog.commit(base, next)
      await then?.()
      throw error()
    },
  }
}
