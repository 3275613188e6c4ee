/**
 * Dead letters that were erased or expired (I6). The table `dead_letters` has no log and so no ledger; each of its rows is counted in the
 * ledger of the stream it came from. What leaves the table is noted in a property of it, in the same commit: the ledger's
 * dead-lettered = rows in `dead_letters` + those noted here.
 */
import { FreshetError } from '../runtime/errors.ts'
import type { TableMetadata } from './metadata.ts'

export const removedLettersKey = 'freshet.removed-dead-letters'

/** How many dead letters of a stream are gone that arrived from a source in an hour (whole hours since 1970). */
export interface RemovedLetters {
  stream: string
  source: string | null
  hour: number
  count: number
}

type Stored = [stream: string, source: string | null, hour: number, count: number]

/** @throws FreshetError `corrupt_table` when the property cannot be read */
export function removedLetters({ properties }: Pick<TableMetadata, 'properties'>): RemovedLetters[] {
  const text = properties[removedLettersKey]
  if (text === undefined) return []
  try {
    return (JSON.parse(text) as Stored[]).map(([stream, source, hour, count]) => ({ stream, source, hour, count }))
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
  for (const { stream, source, hour, count } of [...removedLetters(base), ...more]) {
    const key = JSON.stringify([stream, source, hour])
    sums.set(key, [stream, source, hour, (sums.get(key)?.[3] ?? 0) + count])
  }
  return { [removedLettersKey]: JSON.stringify([...sums.values()].filter(([, , , count]) => count !== 0)) }
}
