import { expect, vi } from 'vitest'
import { rows } from './api.ts'
import { patience } from './until.ts'

/** Waits until a stream holds as many events as there are ids, and holds the two sets equal. The stream's id field is `id`. */
export async function expectStored(url: string, stream: string, ids: ReadonlySet<string>): Promise<void> {
  const sql = `SELECT count(*)::INT AS events, count(DISTINCT id)::INT AS ids FROM ${stream}`
  await vi.waitFor(async () => {
    expect((await rows(url, sql))[0]).toEqual({ events: ids.size, ids: ids.size })
  }, patience)
  const stored = await rows(url, `SELECT _event_id AS id FROM ${stream}`)
  const found = new Set(stored.map(({ id }) => String(id)))
  expect([...ids].filter((id) => !found.has(id))).toEqual([])
}
