import { expect, test } from 'vitest'
import { listSeen, listSegments, partitionFolder, seenPath, segmentPath } from './segments.ts'

const folder = partitionFolder('/log', 'trades', 0)
const names = [
  '00000000000000000900.ndjson',
  '00000000000000000900.seen',
  '00000000000000001000.ndjson',
  '00000000000000001000.seen.tmp',
  '00000000000000000000.ndjson',
  '00000000000000000000.ndjson~',
  '1000.ndjson',
  'notes.txt',
]
const fileSystem = { readDir: async () => names } as unknown as Parameters<typeof listSegments>[0]

test('segments are listed in the order of their positions, and other files are left out', async () => {
  expect(await listSegments(fileSystem, folder)).toEqual(
    [0, 900, 1000].map((base) => ({ base, path: segmentPath(folder, base) })),
  )
  expect(await listSeen(fileSystem, folder)).toEqual([900])
})

test('names sort as positions do', () => {
  expect(segmentPath(folder, 2 ** 53 - 1)).toBe('/log/trades/0/00009007199254740991.ndjson')
  expect(segmentPath(folder, 999) < segmentPath(folder, 1000)).toBe(true)
  expect(seenPath(folder, 5)).toBe('/log/trades/0/00000000000000000005.seen')
})
