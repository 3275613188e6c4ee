/** Bugs in the upkeep of rollups (I9). */
import { rollupKey } from '../../../src/engine/rollups/record.ts'
import { delegating, type Bug } from './plant.ts'

export const rollupBugs = {
  'rollup-bucket-missed': {
    summary: 'of the buckets that a commit touches, only the first is computed anew',
    breaks: ['I9'],
    plant: () => ({
      statement: (sql) => sql.replace('WHERE b IS NOT NULL ORDER BY 1', 'WHERE b IS NOT NULL ORDER BY 1 LIMIT 1'),
    }),
  },
  'rollup-rows-doubled': {
    summary: 'the former rows of a bucket stay beside the new ones',
    breaks: ['I9'],
    plant: () => ({ statement: (sql) => sql.replace('WHERE bucket NOT IN', 'WHERE true OR bucket NOT IN') }),
  },
  'rollup-record-first': {
    summary: 'a rollup says which snapshot it stands for before its rows are there',
    breaks: ['I9'],
    plant: () => ({
      catalog: (catalog) =>
        delegating(catalog, {
          commit: (base, next) => {
            const hasMoved = next.properties[rollupKey] !== base.metadata.properties[rollupKey]
            return catalog.commit(base, hasMoved ? { ...base.metadata, properties: next.properties } : next)
          },
        }),
    }),
  },
} satisfies Record<string, Bug>
