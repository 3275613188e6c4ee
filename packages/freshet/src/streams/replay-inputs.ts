/** Gives inputs that became dead letters to their consumer again: what a replay of dead letters asks the worker for. */
import type { AppendBatch } from '../log/log.ts'
import { runsOf, type SourceBatch } from './source-batch.ts'
import { logStart } from './place.ts'

/** What became of one input, or would. */
export type ReplayOutcome = { accepted: true } | { accepted: false; code: string; path?: string; message: string }

/** A consumer that can be given inputs beside its stream. Inputs are lines as the log has them, without their ends. */
export interface Replayable {
  /** Events are known again by their ids, so an input that was taken before changes nothing. */
  replay(inputs: readonly string[], dryRun: boolean): Promise<ReplayOutcome[]>
}

/** Lines as a batch that is nowhere in the log; each has the source and time of arrival that it had. */
export function batchOf(inputs: readonly string[]): SourceBatch {
  const batches = inputs.map((input) => {
    const { _received_at, _source, _event_time } = JSON.parse(input) as Record<string, string | undefined>
    return {
      count: 1,
      receivedAtMs: Date.parse(_received_at!),
      source: _source,
      eventTimeMaxMs: Date.parse(_event_time!),
    }
  })
  const bytes = Buffer.from(inputs.map((input) => `${input}\n`).join(''))
  return { bytes, count: inputs.length, skip: 0, batches, from: logStart, to: logStart }
}

/** What was made of such a batch, for the log: it has no numbers, and its events are known by their ids. */
export function appendsOf(batch: SourceBatch, made: readonly { bytes: Uint8Array; count: number }[]): AppendBatch[] {
  return runsOf(batch.batches).flatMap(({ source, receivedAtMs }, index) => {
    const { bytes, count } = made[index]!
    if (count === 0) return []
    return [{ lines: [bytes], count, receivedAtMs, ...(source !== undefined && { source }) }]
  })
}
