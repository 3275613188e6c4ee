/**
 * Takes letters out of their table: files that have some are written anew without them, as an erasure does (erasure/rewrite.ts), and the
 * ledgers are told in the same commit (I6). Former snapshots keep what they have, until they expire.
 *
 * Crash points: every commit is whole; what was not dropped yet is there, and is dropped by whoever asks again.
 */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Random } from '../../runtime/random.ts'
import { readJson } from '../columns.ts'
import { eraseFromFiles, type ErasedTable, type RewriteDeps } from '../erasure/rewrite.ts'
import { allFiles } from '../erasure/wanted.ts'
import type { LetterKey } from './stored-letter.ts'

export interface DropDeps extends RewriteDeps {
  random: Random
}

/** The field of a snapshot's summary that tells which request dropped letters. */
const dropKey = 'freshet.dropped-letters'
const keyBytesMax = 64 * 1024

/**
 * Drops the committed letters that fulfil a condition.
 * @param id of the request, for the snapshots that it makes
 * @returns how many there were
 */
export async function dropWhere(
  deps: DropDeps,
  kept: ErasedTable,
  { id, condition }: { id: string; condition: string },
  signal: AbortSignal,
): Promise<number> {
  let dropped = 0
  const request = { id, summaryKey: dropKey, kept, condition, choose: allFiles, signal }
  await eraseFromFiles(deps, request, async ({ rows }) => {
    dropped += rows
  })
  return dropped
}

/** Drops the committed letters that have these keys. */
export async function dropKeys(
  deps: DropDeps,
  kept: ErasedTable,
  { id, keys }: { id: string; keys: readonly LetterKey[] },
  signal: AbortSignal,
): Promise<number> {
  if (keys.length === 0) return 0
  const list = join(deps.tmpDir, `letters-${deps.random.hex(8)}.ndjson`)
  await writeFile(list, keys.map(([letter, micros]) => `${JSON.stringify({ k: `${micros} ${letter}` })}\n`).join(''))
  try {
    const named = `SELECT k FROM ${readJson(list, [{ name: 'k', type: { kind: 'string' } }], keyBytesMax)}`
    const condition = `coalesce(concat(epoch_us(_event_time), ' ', _event_id) IN (${named}), false)`
    return await dropWhere(deps, kept, { id, condition }, signal)
  } finally {
    await rm(list, { force: true })
  }
}
