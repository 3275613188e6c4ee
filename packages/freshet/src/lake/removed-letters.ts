/**
 * Dead letters that left their table (I6). An event that could not be loaded is counted in the ledger of its stream, and its letter is a
 * row of the table of that stream's letters, among letters of other stages, which are in no ledger but that table's own. What of them
 * leaves the table is noted in a property of it, in the same commit: the stream's dead-lettered = its letters of the stage `load` + those
 * noted here.
 */
import { FreshetError } from '../runtime/errors.ts'
import type { TableMetadata } from './metadata.ts'

export const removedLettersKey = 'freshet.removed-dead-letters'

/** How many letters of the stage `load` are gone whose events arrived from a source in an hour (whole hours since 1970). */
export interface RemovedLetters {
  source: string | null
  hour: number
  count: number
}

type Stored = [source: string | null, hour: number, count: number]

/** @throws FreshetError `corrupt_table` when the property cannot be read */
export function removedLetters({ properties }: Pick<TableMetadata, 'properties'>): RemovedLetters[] {
  const text = properties[removedLettersKey]
  if (text === undefined) return []
  try {
    return (JSON.parse(text) as Stored[]).map(([source, hour, count]) => ({ source, hour, count }))
  } catch (error) {
    throw new FreshetError('corrupt_table', `The table property ${removedLettersKey} cannot be read.`, { cause: error })
  }
}

/** The property after a commit on `base` that removes more: for `RewriteRequest.properties`. */
export function withRemovedLetters(
  base: Pick<TableMetadata, 'properties'>,
  more: readonly RemovedLetters[],
): Record<string, string> {
  const sums = new Map<string, Stored>()
  for (const { source, hour, count } of [...removedLetters(base), ...more]) {
    const key = JSON.stringify([source, hour])
    sums.set(key, [source, hour, (sums.get(key)?.[2] ?? 0) + count])
  }
  return { [removedLettersKey]: JSON.stringify([...sums.values()].filter(([, , count]) => count !== 0)) }
}
