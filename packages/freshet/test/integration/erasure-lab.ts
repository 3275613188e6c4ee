/** What tests of erasures share: orders of customers, a request as the gateway makes it, and a look at every byte on disk. */
import { cp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { expect } from 'vitest'
import { verifyDataFolder } from '../../src/app/verify/verify.ts'
import type { Column } from '../../src/config/plan.ts'
import type { ErasureAnswer } from '../../src/engine/erasure/record.ts'
import { decodeAvro } from '../../src/lake/avro.ts'
import { openDataFolder } from '../../src/runtime/data-folder.ts'
import { nodeFileSystem } from '../../src/runtime/file-system.ts'
import { Lab, streamPlan, until, type LabEngine, type LabEvent, type LabOptions } from './engine-harness.ts'

const orderColumns: Column[] = [
  { name: 'id', type: { kind: 'string' } },
  { name: 'at', type: { kind: 'timestamptz' } },
  { name: 'customer_id', type: { kind: 'string' } },
  { name: 'amount', type: { kind: 'double' } },
]

export const orders = streamPlan('orders', { columns: orderColumns })

/** The customer that is erased. */
export const secret = 'customer-secret-17'
export const where = `customer_id = '${secret}'`

/** Orders of customers in turn; the secret one's ids carry its name. */
export function orderEvents(count: number, options: { prefix?: string; day?: string; of?: string } = {}): LabEvent[] {
  const { prefix = 'o', day = '2013-10-07', of } = options
  return Array.from({ length: count }, (_, index) => {
    const customer = of ?? `customer-${index % 5}`
    const time = new Date(Date.parse(`${day}T00:00:00Z`) + index * 1000).toISOString()
    const id = `${prefix}-${customer}-${index}`
    return { id, time, fields: { id, at: time, customer_id: customer, amount: index } }
  })
}

/** An order that cannot be loaded: one of its fields is there twice. */
export function brokenOrder(id: string, customer: string): LabEvent {
  const time = '2013-10-07T00:00:00.000Z'
  const raw = `{"id":${JSON.stringify(id)},"at":"${time}","customer_id":"${customer}","amount":1,"amount":2}`
  return { id, time, raw }
}

/** Asks for an erasure as the gateway does: the time first, then a new segment, then the engine. */
export async function requestErasure(
  lab: Lab,
  engine: LabEngine,
  condition = where,
  options: { all?: boolean; stream?: string } = {},
): Promise<{ status: number; body: ErasureAnswer & { code?: string } }> {
  const { all = false, stream = 'orders' } = options
  const untilMs = Date.now()
  while (Date.now() <= untilMs) await new Promise((resolve) => setTimeout(resolve, 1))
  const position = (await lab.log.roll(stream)).get(0) ?? 0n
  const body = JSON.stringify({ where: condition, all, untilMs, position: String(position), requestedBy: 'a test' })
  const answer = await engine.send('POST', `/v1/streams/${stream}/erasures`, {}, body)
  return { status: answer.status, body: JSON.parse(answer.text) as ErasureAnswer }
}

export async function erasure(engine: LabEngine, id: string): Promise<ErasureAnswer> {
  return JSON.parse((await engine.send('GET', `/v1/erasures/${id}`)).text) as ErasureAnswer
}

/** Waits until an erasure is done. */
export async function done(engine: LabEngine, id: string): Promise<ErasureAnswer> {
  let last: ErasureAnswer | undefined
  await until(`erasure ${id} is done`, async () => {
    last = await erasure(engine, id)
    return last.state === 'done'
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`)
  })
  return last!
}

/** Steps that are tried at a time, each with a folder of its own: most of the time is waiting for the disk. */
const lanes = 3

/**
 * Tries one step after another, each from the same beginning, until one comes too late.
 * @param prepare brings a lab to the beginning; nothing may run after it
 * @param killedAt tries one step; `scratch` names the folder of the engine that it kills. Returns true when all was done before the step
 * @returns how many there were
 */
export async function killedAtEach(
  options: LabOptions,
  prepare: (own: Lab) => Promise<void>,
  killedAt: (own: Lab, step: number, scratch: string) => Promise<boolean>,
): Promise<number> {
  let steps = 0
  let isOver = false
  const lane = async (): Promise<void> => {
    const own = await Lab.open(options)
    const saved = `${own.dir}-saved`
    try {
      await prepare(own)
      await own.closeLog()
      await cp(own.dir, saved, { recursive: true, filter: (path) => !path.endsWith('.sock') })
      for (let engines = 1; !isOver; engines += 2) {
        const step = ++steps
        await rm(own.dir, { recursive: true })
        await cp(saved, own.dir, { recursive: true })
        await own.openLog()
        if (await killedAt(own, step, `tmp-${engines + 1}`)) isOver = true
        await own.closeLog()
      }
    } finally {
      await own.close()
      await rm(saved, { recursive: true, force: true })
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return steps
}

/** That `freshet verify` has nothing to say of the lab's folder: the ledger is what the files bear out, among others (I6). */
export async function expectVerified(lab: Lab): Promise<void> {
  await openDataFolder({ dataDir: lab.dir, version: '0.0.0', fileSystem: nodeFileSystem })
  const { problems, notes } = await verifyDataFolder({
    plan: lab.plan(),
    streams: [],
    deep: true,
    onProgress: () => undefined,
  })
  expect(problems).toEqual([])
  expect(notes.filter(({ check }) => check === 'ledger')).toEqual([])
}

/**
 * Files below a folder that have a text in them: byte by byte, and in what Parquet and Avro hold packed.
 * @param skipped names of folders that are not looked into
 */
export async function filesWith(dir: string, text: string, skipped: readonly string[] = []): Promise<string[]> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  const found: string[] = []
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || skipped.some((name) => path.includes(`/${name}/`))) continue
    const bytes = await readFile(path).catch(() => Buffer.alloc(0))
    let hit = bytes.includes(text)
    if (path.endsWith('.avro')) {
      const { records } = decodeAvro(bytes)
      hit ||= JSON.stringify(records, (_key, value: unknown) =>
        isBuffer(value)
          ? Buffer.from(value.data).toString('latin1')
          : typeof value === 'bigint'
            ? String(value)
            : value,
      ).includes(text.slice(0, 15))
    }
    if (path.endsWith('.parquet')) {
      const rows = `SELECT CAST(to_json(r) AS VARCHAR) AS j FROM read_parquet('${path}') AS r`
      const stats = `SELECT CAST(to_json(m) AS VARCHAR) AS j FROM parquet_metadata('${path}') AS m`
      const query = `SELECT count(*) FROM (${rows} UNION ALL ${stats}) WHERE contains(j, '${text}')`
      const matches = async (): Promise<number> => Number((await connection.runAndReadAll(query)).getRows()[0]![0])
      hit ||= (await whenWhole(path, matches)) > 0
    }
    if (hit) found.push(path.slice(dir.length + 1))
  }
  connection.closeSync()
  instance.closeSync()
  return found.toSorted()
}

/** Reads a file once its writer has ended it; scratch comes and goes, and what went has no matches. */
async function whenWhole(path: string, matches: () => Promise<number>): Promise<number> {
  let found = 0
  await until(`${path} is whole, or gone`, async () => {
    try {
      found = await matches()
      return true
    } catch (error) {
      if (!(await stat(path).catch(() => undefined))) return true
      // DuckDB's words for a file without its end.
      if (/too small to be a Parquet file|No magic bytes found/.test(String(error))) return false
      throw error
    }
  })
  return found
}

function isBuffer(value: unknown): value is { type: 'Buffer'; data: number[] } {
  return typeof value === 'object' && value !== null && (value as { type?: unknown }).type === 'Buffer'
}
