import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32, deflateRawSync, gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { processContext } from '../context.ts'
import { checksumOf } from './checksum.ts'
import { InputFiles } from './input-rows.ts'
import { InputWorkload } from './input-workload.ts'
import { planSites } from './sites.ts'

let folder: string
const sites = planSites({ seed: 2, sites: 3, batchEvents: 10, withoutIds: false })

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-prove-input-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function workload(files: string[], columns: string[] | null = null, rowsMax = Infinity): Promise<InputWorkload> {
  const found = await InputFiles.find(files, columns, { ...processContext(), cwd: folder })
  return InputWorkload.open({ seed: 2, run: 'r', sites, late: 0, startedAtMs: 0, files: found, rowsMax })
}

async function rowsOf(one: InputWorkload): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = []
  for (const { index } of sites) {
    let left = one.counts[index]!
    while (left > 0) {
      for (const { line, checksum } of await one.next(index, 4)) {
        const row = JSON.parse(line) as Record<string, unknown>
        expect(checksumOf(row)).toBe(checksum)
        rows.push(row)
        left--
      }
    }
  }
  one.close()
  return rows.toSorted((a, b) => Number(a['prove_line']) - Number(b['prove_line']))
}

test('equal rows are events of their own, told apart by their place', async () => {
  const rows = await rowsOf(await workload([file('t.csv', 'ms,price\n1,2.50\n1,2.50\n1,2.50\n')]))
  expect(rows).toMatchObject([2, 3, 4].map((line) => ({ ms: 1, price: 2.5, prove_file: 't.csv', prove_line: line })))
  expect(new Set(rows.map(({ prove_id: id }) => id)).size).toBe(3)
})

test('CSV without a header gets names, or those that are given', async () => {
  const path = file('t.csv', '14400464,1674100,P\n14400465,1674100,\n')
  expect(await rowsOf(await workload([path]))).toMatchObject([{ c1: 14400464, c3: 'P' }, { c1: 14400465 }])
  expect(await rowsOf(await workload([path], ['ms', 'price', 'venue']))).toMatchObject([{ ms: 14400464 }, {}])
})

test('the rows of all files are read, packed or not, and no more than asked for', async () => {
  const paths = [
    file('a.ndjson', '{"a":1}\n{}\n'),
    file('b.ndjson.gz', gzipSync('{"a":2}\n')),
    file('c.zip', zip('c.csv', 'a\n3\n4\n')),
  ]
  const all = await rowsOf(await workload(paths))
  expect(all.flatMap(({ a }) => (a === undefined ? [] : [a])).toSorted((a, b) => Number(a) - Number(b))).toEqual([
    1, 2, 3, 4,
  ])
  expect(all).toHaveLength(5)
  expect(await rowsOf(await workload(paths, null, 2))).toHaveLength(2)
})

test.each([
  ['a field with a name of ours', 'x.ndjson', '{"prove_id":"1"}\n', 'prove_'],
  ['what is no object', 'x.ndjson', '[1]\n', 'no JSON object'],
  ['a line that is no JSON', 'x.ndjson', '{"a":\n', 'no JSON'],
  ['a file without rows', 'x.csv', 'a,b\n', 'no row'],
  ['an archive that is none', 'x.zip', 'not zipped', 'zip archive'],
])('%s is refused', async (_what, name, content, message) => {
  const path = file(name, content)
  await expect(workload([path]).then(rowsOf)).rejects.toThrow(message)
})

test('pipes, which can be read once, are refused', async () => {
  await expect(workload(['-'])).rejects.toThrow('read twice')
})

/** An archive of one file (APPNOTE.TXT, 4.3). */
function zip(name: string, text: string): Buffer {
  const data = deflateRawSync(text)
  const common = Buffer.alloc(26)
  common.writeUInt16LE(20, 0)
  common.writeUInt16LE(8, 4)
  common.writeUInt32LE(crc32(text), 10)
  common.writeUInt32LE(data.length, 14)
  common.writeUInt32LE(Buffer.byteLength(text), 18)
  common.writeUInt16LE(name.length, 22)
  const local = Buffer.concat([Buffer.from('PK\u0003\u0004'), common, Buffer.from(name), data])
  const central = Buffer.concat([
    Buffer.from('PK\u0001\u0002\u0014\u0000'),
    common,
    Buffer.alloc(14),
    Buffer.from(name),
  ])
  const end = Buffer.alloc(22)
  end.write('PK\u0005\u0006', 'latin1')
  end.writeUInt16LE(1, 8)
  end.writeUInt16LE(1, 10)
  end.writeUInt32LE(central.length, 12)
  end.writeUInt32LE(local.length, 16)
  return Buffer.concat([local, central, end])
}
