import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { agrees } from './compare.ts'
import { changesOf } from './erp.ts'
import { compareBatches, readBatches } from './legacy-folder.ts'
import { legacyBatch, legacyRecord } from './legacy-format.ts'
import { readNorthwind } from './northwind.ts'

const changes = changesOf(readNorthwind(10))
const records = changes.filter((change) => change.stream === 'orders').map(({ event }) => legacyRecord.orders(event))

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-legacy-'))
  mkdirSync(join(folder, 'orders'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Writes the batch of a number with its marker, as the sink does. */
function write(sequence: number, own: readonly string[], { name = `${sequence}.txt`, isDone = true } = {}): void {
  const bytes = Buffer.from(legacyBatch('orders', sequence, own), 'latin1')
  writeFileSync(join(folder, 'orders', name), bytes)
  if (!isDone) return
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const marker = { file: name, bytes: bytes.length, events: own.length, sha256 }
  writeFileSync(join(folder, 'orders', `${name}.done`), JSON.stringify(marker))
}

test('the records of all finished batches are the changes of the stream', () => {
  write(2, records.slice(4))
  write(1, records.slice(0, 4))
  expect(readBatches(folder, 'orders')).toEqual({ files: ['1.txt', '2.txt'], records })
  expect(agrees(compareBatches(folder, 'orders', changes))).toBe(true)
})

test('a batch without its marker is not read', () => {
  write(1, records.slice(0, 4))
  write(2, records.slice(4), { isDone: false })
  const rest = records.length - 4
  expect(compareBatches(folder, 'orders', changes)).toMatchObject({ missing: rest, unexpected: 0 })
})

test('a record that is in two batches is there too often', () => {
  write(1, records)
  write(2, records.slice(0, 1))
  expect(compareBatches(folder, 'orders', changes)).toMatchObject({ missing: 0, unexpected: 1 })
})

test('a stream without a folder has no batches', () => {
  expect(readBatches(folder, 'customers')).toEqual({ files: [], records: [] })
})

test('a batch that is missing is noticed by the next one', () => {
  write(1, records.slice(0, 4))
  write(3, records.slice(4))
  expect(() => readBatches(folder, 'orders')).toThrow('orders/3.txt is batch 3, and 2 is the next')
})

test('a batch that is not what its marker says is noticed', () => {
  write(1, records)
  writeFileSync(join(folder, 'orders', '1.txt'), legacyBatch('orders', 1, records.toReversed()), 'latin1')
  expect(() => readBatches(folder, 'orders')).toThrow('orders/1.txt is not what its marker says')
})
