/**
 * What a rollup's table remembers of what it was made from (`freshet.rollup`), written by the commit that swaps its rows (I9). How far
 * the source was complete goes with it, as the source has it (`freshet.sources`).
 */
import { createHash } from 'node:crypto'
import type { RollupPlan } from '../../config/plan.ts'
import type { TableMetadata } from '../../lake/metadata.ts'

export const rollupKey = 'freshet.rollup'

export interface RollupRecord {
  /** The stream or rollup that it is made of. */
  from: string
  /** The source's snapshot that the rows stand for; null while the source was empty. */
  snapshot: bigint | null
  /** Hash of the definition that the rows were computed by. */
  definition: string
}

/** A hash of all that decides the rows, 12 hex digits. */
export function definitionOf({ from, bucket, sql, by }: RollupPlan): string {
  return createHash('sha256')
    .update(JSON.stringify([from, bucket, sql, by]))
    .digest('hex')
    .slice(0, 12)
}

export function formatRecord({ from, snapshot, definition }: RollupRecord): string {
  return JSON.stringify({ from, snapshot: snapshot === null ? null : String(snapshot), definition })
}

/** The record of a table; undefined where there is none, or none that can be read: then its rows are computed anew. */
export function rollupRecord({ properties }: Pick<TableMetadata, 'properties'>): RollupRecord | undefined {
  try {
    const read = JSON.parse(properties[rollupKey] ?? 'null') as Record<string, unknown> | null
    if (read === null || typeof read['from'] !== 'string' || typeof read['definition'] !== 'string') return undefined
    const { from, definition, snapshot } = read
    if (snapshot !== null && !(typeof snapshot === 'string' && /^\d+$/.test(snapshot))) return undefined
    return { from, definition, snapshot: snapshot === null ? null : BigInt(snapshot) }
  } catch {
    return undefined
  }
}
