/**
 * A ledger file: rows that a table's ledger no longer holds in its metadata, in `metadata/ledger-<uuid>.ndjson`. A file is
 * written once and never changed. Its first line says how many rows follow and what their CRC-32 is (zlib's, over all bytes behind
 * the first line), each further line is one row:
 *
 *     {"format":1,"rows":2,"crc":305419896}
 *     ["site-1",489902,100,97,2,1]
 *     [null,489902,5,5,0,0]
 */
import { crc32 } from 'node:zlib'
import { FreshetError, messageOf } from '../runtime/errors.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { LoadedTable } from './catalog.ts'
import { readStoredRow, storedRow, type LedgerRow } from './ledger-rows.ts'

export interface LedgerFile {
  /** Its name in the table's metadata folder. */
  file: string
  rows: number
}

/** The object store key of a table's ledger file. */
export function ledgerFileKey(table: Pick<LoadedTable, 'name'>, file: string): string {
  return `${table.name}/metadata/${file}`
}

export function encodeLedgerFile(rows: readonly LedgerRow[]): Buffer {
  const body = Buffer.from(rows.map((row) => `${JSON.stringify(storedRow(row))}\n`).join(''))
  return Buffer.concat([Buffer.from(`${JSON.stringify({ format: 1, rows: rows.length, crc: crc32(body) })}\n`), body])
}

/** @throws FreshetError `corrupt_table` when the file is gone or not what was written */
export async function readLedgerFile(
  store: ObjectStore,
  table: Pick<LoadedTable, 'name'>,
  { file, rows: expected }: LedgerFile,
): Promise<LedgerRow[]> {
  const key = ledgerFileKey(table, file)
  const bytes = await store.get(key)
  if (bytes === undefined) throw damaged(key, 'it is gone')
  try {
    const bodyStart = bytes.indexOf('\n') + 1
    const { rows, crc } = JSON.parse(bytes.toString('utf8', 0, bodyStart)) as { rows: number; crc: number }
    const body = bytes.subarray(bodyStart)
    if (crc32(body) !== crc) throw new Error('its checksum does not match')
    const lines = body.toString('utf8').split('\n')
    if (lines.pop() !== '' || lines.length !== rows || rows !== expected)
      throw new Error(`it has ${lines.length} rows, not ${expected}`)
    return lines.map((line) => readStoredRow(JSON.parse(line)))
  } catch (error) {
    throw damaged(key, messageOf(error), error)
  }
}

function damaged(key: string, reason: string, cause?: unknown): FreshetError {
  return new FreshetError('corrupt_table', `The ledger file ${key} is damaged: ${reason}.`, {
    hint: 'Restore it from a backup. Events are loaded and committed all the same.',
    cause,
  })
}
