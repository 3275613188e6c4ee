/**
 * Checks data files against what their manifest entries say: the footer's row count and, in depth, that every value of every column
 * can be read, that the rows lie in the file's partition, and that `_event_time` (`bucket`, in a rollup) keeps to its bounds.
 */
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { partitionRange } from '../../lake/partition.ts'
import type { CheckedFile } from '../../lake/verify-table.ts'
import { messageOf } from '../../runtime/errors.ts'
import type { Finding } from '../../runtime/finding.ts'
import { literal } from '../sql-text.ts'

export interface VerifyFilesOptions {
  connection: DuckDBConnection
  lakeDir: string
  stream: string
  files: readonly CheckedFile[]
  deep: boolean
  /** Told how many bytes of files were checked since the last call. */
  onBytes: (bytes: number) => void
}

export interface FilesCheck {
  /** Those that nothing is wrong with. */
  sound: CheckedFile[]
  findings: Finding[]
}

const filesAtOnce = 200
const restore = 'Restore the file from a copy; what it held is in no other place.'

export async function verifyFiles(options: VerifyFilesOptions): Promise<FilesCheck> {
  const { files, deep, onBytes } = options
  const result: FilesCheck = { sound: [], findings: [] }
  for (let from = 0; from < files.length; from += filesAtOnce) {
    const group = files.slice(from, from + filesAtOnce)
    const rows = await footers(options, group)
    for (const file of group) {
      const found =
        rowCountProblem(options, file, rows.get(file.key)) ?? (deep ? await readAll(options, file) : undefined)
      if (found === undefined) result.sound.push(file)
      else result.findings.push(found)
      onBytes(file.bytes)
    }
  }
  return result
}

/** Rows by key, or why the footer cannot be read. */
async function footers(
  { connection, lakeDir }: VerifyFilesOptions,
  files: readonly CheckedFile[],
): Promise<Map<string, number | string>> {
  const read = async (part: readonly CheckedFile[]): Promise<[string, number][]> => {
    const byPath = new Map(part.map(({ key }) => [join(lakeDir, key), key]))
    const list = [...byPath.keys()].map(literal).join(', ')
    const result = await connection.runAndReadAll(`SELECT file_name, num_rows FROM parquet_file_metadata([${list}])`)
    return result.getRows().map(([path, rows]) => [byPath.get(path as string)!, Number(rows)])
  }
  try {
    return new Map(await read(files))
  } catch {
    // One of them cannot be read; which one shows when they are read alone.
    const found = new Map<string, number | string>()
    for (const file of files) {
      const rows = await read([file]).then(
        ([row]) => row![1],
        (error: unknown) => firstLine(error),
      )
      found.set(file.key, rows)
    }
    return found
  }
}

function rowCountProblem(
  options: VerifyFilesOptions,
  file: CheckedFile,
  rows: number | string | undefined,
): Finding | undefined {
  const place = join(options.lakeDir, file.key)
  if (typeof rows === 'number') {
    if (rows === file.recordCount) return undefined
    return problem(options, file, `The data file ${place} has ${rows} rows; its manifest says ${file.recordCount}.`)
  }
  return problem(options, file, `The data file ${place} is damaged: ${rows ?? 'its footer cannot be read'}`)
}

async function readAll(options: VerifyFilesOptions, file: CheckedFile): Promise<Finding | undefined> {
  const { connection, lakeDir } = options
  const place = join(lakeDir, file.key)
  const source = `read_parquet(${literal(place)})`
  try {
    const whole = await connection.runAndReadAll(`SELECT count(*), bit_xor(hash(t)) FROM ${source} t`)
    const rows = Number(whole.getRows()[0]![0])
    if (rows !== file.recordCount) return rowCountProblem(options, file, rows)
    const wrong = await rangeProblem(connection, source, file)
    return wrong === undefined ? undefined : problem(options, file, `The data file ${place} ${wrong}`)
  } catch (error) {
    return problem(options, file, `The data file ${place} is damaged: ${firstLine(error)}`)
  }
}

/** What is wrong with the times in a file, as the rest of a sentence. */
async function rangeProblem(
  connection: DuckDBConnection,
  source: string,
  { eventTime, receivedAt, partition, partitionValue }: CheckedFile,
): Promise<string | undefined> {
  // A rollup has buckets, and no events.
  const isRollup = partition?.column === 'bucket'
  const columns = isRollup ? { bucket: eventTime } : { _event_time: eventTime, _received_at: receivedAt }
  const needed = isRollup ? ['bucket'] : ['_event_id', '_event_time']
  const lacks = needed.map((name) => `${name} IS NULL`).join(' OR ')
  const extremes = Object.keys(columns).map((name) => `min(epoch_us(${name})), max(epoch_us(${name}))`)
  const result = await connection.runAndReadAll(
    `SELECT count(*) FILTER (${lacks}), ${extremes.join(', ')} FROM ${source}`,
  )
  const [lacking, ...values] = result.getRows()[0] as [bigint, ...(bigint | null)[]]
  if (lacking > 0n) return `has ${lacking} rows without ${needed.join(' or ')}.`
  for (const [index, [name, { lower, upper }]] of Object.entries(columns).entries()) {
    const [min, max] = values.slice(2 * index)
    if (min == null || max == null) continue
    const seen = `has ${name} from ${iso(min)} to ${iso(max)}, outside`
    if ((lower !== undefined && min < lower) || (upper !== undefined && max > upper)) {
      return `${seen} the bounds in its manifest: queries may pass over its rows.`
    }
    if (partition?.column !== name || partitionValue === null) continue
    const { from, to } = partitionRange(partition.unit, partitionValue)
    if (min < from || max >= to) return `${seen} its partition: queries may pass over its rows.`
  }
  return undefined
}

function problem({ stream, lakeDir }: VerifyFilesOptions, { key }: CheckedFile, what: string, mend = restore): Finding {
  return { severity: 'problem', check: 'table', stream, file: join(lakeDir, key), what, mend }
}

function iso(micros: bigint): string {
  return new Date(Number(micros / 1000n)).toISOString()
}

function firstLine(error: unknown): string {
  return messageOf(error).split('\n')[0]!
}
