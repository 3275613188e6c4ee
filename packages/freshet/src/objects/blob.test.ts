import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { crc32 } from 'node:zlib'
import { beforeEach, describe, expect, test } from 'vitest'
import { MemoryObjectStore } from '../../test/conformance/memory-object-store.ts'
import { seededRandom } from '../../test/simulation/seeded-random.ts'
import { SimulatedDisk, type Call } from '../../test/simulation/simulated-file-system.ts'
import { encrypted, masterKey, ObjectsLab } from '../../test/support/objects-lab.ts'
import { nodeFileSystem } from '../runtime/file-system.ts'
import { systemRandom } from '../runtime/random.ts'
import { LocalObjectStore } from '../storage/local/local-object-store.ts'
import {
  blockBytes,
  decodeEntry,
  decodeHead,
  encodeEntries,
  encodeHead,
  entryBytes,
  headOf,
  packBlock,
  unpackBlock,
} from './blob-format.ts'
import { Blobs, blobPlace, type BlobForm } from './blobs.ts'

const place = blobPlace('logs', 'ab'.repeat(32))
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** Compressible and not, in turns, so that blocks are stored in both ways. */
function mixed(bytes: number): Buffer {
  const pieces: Buffer[] = []
  for (let made = 0; made < bytes; made += blockBytes / 2)
    pieces.push(made % blockBytes === 0 ? Buffer.alloc(blockBytes / 2, 'line of a log\n') : randomBytes(blockBytes / 2))
  return Buffer.concat(pieces).subarray(0, bytes)
}

const forms: [string, BlobForm][] = [
  ['as they come', { level: null, keys: null }],
  ['compressed', { level: 3, keys: null }],
  ['encrypted', { level: null, keys: encrypted(masterKey()).keys }],
  ['compressed and encrypted', encrypted(masterKey())],
]

describe.each(forms)('blobs that are stored %s', (_, form) => {
  let store: MemoryObjectStore
  let blobs: Blobs
  beforeEach(async () => {
    store = new MemoryObjectStore()
    const incomingDir = mkdtempSync(join(tmpdir(), 'freshet-blob-'))
    blobs = new Blobs({
      store,
      fileSystem: nodeFileSystem,
      random: systemRandom,
      incomingDir,
      forms: new Map([['logs', form]]),
    })
    await blobs.prepare()
    return () => rmSync(incomingDir, { recursive: true })
  })

  async function keep(bytes: Buffer, at = place, chunk = 100_000): Promise<void> {
    const incoming = await blobs.receive('logs')
    for (let from = 0; from < bytes.length; from += chunk) await incoming.write(bytes.subarray(from, from + chunk))
    expect(await incoming.finish()).toMatchObject({ bytes: bytes.length, sha256: sha(bytes) })
    await incoming.keep(at)
  }

  async function read(start?: number, end?: number): Promise<Buffer> {
    const blob = await blobs.open('logs', place)
    return await buffer(blob!.read(start, end))
  }

  test.each([0, 1, blockBytes - 1, blockBytes, blockBytes + 1, 3 * blockBytes, 7 * blockBytes + 12_345])(
    'are read as they were written: %d bytes',
    async (bytes) => {
      const plain = mixed(bytes)
      await keep(plain)
      expect((await read()).equals(plain)).toBe(true)
      expect(await blobs.has('logs', place)).toBe(true)
    },
  )

  test('any range is read, and only what it needs', async () => {
    const plain = mixed(20 * blockBytes + 777)
    await keep(plain)
    const random = seededRandom(1)
    for (let round = 0; round < 50; round++) {
      const start = random.integer(plain.length)
      const end = start + 1 + random.integer(plain.length - start)
      expect((await read(start, end)).equals(plain.subarray(start, end))).toBe(true)
    }
    const blob = (await blobs.open('logs', place))!
    store.reads.length = 0
    await buffer(blob.read(10 * blockBytes + 5, 10 * blockBytes + 6))
    // A page of the table, and the block.
    expect(store.reads).toEqual([place, place])
  })

  test('a changed byte anywhere is refused as damage', async () => {
    await keep(mixed(3 * blockBytes))
    const data = store.objects.get(place)!
    const head = store.objects.get(headOf(place))!
    const random = seededRandom(2)
    for (let round = 0; round < 40; round++) {
      const target = round % 4 === 0 ? head : data
      const at = random.integer(target.length)
      // Three bytes of an entry of the table mean nothing.
      const inTable = at - (data.length - 3 * entryBytes)
      if (target === data && inTable >= 0 && inTable % entryBytes >= 13) continue
      const before = target[at]!
      target[at] = before ^ (1 << random.integer(8))
      await expect(read(), `byte ${at} of ${target === head ? 'the head' : 'the data'}`).rejects.toMatchObject({
        code: 'corrupt_object',
      })
      target[at] = before
    }
    await read()
  })

  test('a blob without a head is none', async () => {
    await keep(mixed(10))
    store.objects.delete(headOf(place))
    expect(await blobs.open('logs', place)).toBeUndefined()
    expect(await blobs.has('logs', place)).toBe(false)
  })
})

describe('encryption', () => {
  let lab: ObjectsLab
  const key = masterKey()
  beforeEach(async () => {
    lab = await ObjectsLab.open({ logs: encrypted(key), other: encrypted(key) })
    return () => lab.close()
  })

  const dataOf = async (bytes: Buffer, bucket = 'logs'): Promise<{ at: string; data: Buffer; head: Buffer }> => {
    const at = blobPlace(bucket, sha(bytes))
    return { at, data: (await lab.store.get(at))!, head: (await lab.store.get(headOf(at)))! }
  }

  test('nothing of the plain text is in the folder but names, and the same bytes look different every time', async () => {
    const plain = Buffer.from('the quick brown secret '.repeat(1000))
    await lab.put('a', plain)
    await lab.put('a', plain, { bucket: 'other' })
    const [one, two] = [await dataOf(plain), await dataOf(plain, 'other')]
    expect(one.data.equals(two.data)).toBe(false)
    for (const name of readdirSync(lab.dir, { recursive: true, encoding: 'utf8' })) {
      const file = join(lab.dir, name)
      if (statSync(file).isFile()) expect(readFileSync(file).includes('brown secret')).toBe(false)
    }
  })

  /** The blob with its table (and so the checksums) made anew, as an attacker would. */
  function forged(data: Buffer, blocks: number, change: (blocks: Buffer[]) => Buffer[]): Buffer {
    const table = data.subarray(data.length - blocks * entryBytes)
    const entries = Array.from({ length: blocks }, (_, index) => decodeEntry(table, index))
    const found = entries.map(({ end }, index) => data.subarray(entries[index - 1]?.end ?? 0, end))
    const changed = change(found)
    let end = 0
    const rewritten = changed.map((block) => {
      const { crc, packing } = entries[found.indexOf(block)]!
      return { end: (end += block.length), crc, packing }
    })
    return Buffer.concat([...changed, encodeEntries(rewritten)])
  }

  test.each<[string, (blocks: Buffer[]) => Buffer[]]>([
    ['in another order', ([a, b, c]) => [b!, a!, c!]],
    ['repeated', ([a, , c]) => [a!, a!, c!]],
    ['cut off at the end', ([a, b]) => [a!, b!]],
  ])('blocks %s are refused', async (_, change) => {
    // Incompressible, so that all blocks have one length and the table stays where it is.
    const plain = randomBytes(3 * blockBytes)
    await lab.put('a', plain)
    const { at, data } = await dataOf(plain)
    await lab.store.put(
      at,
      forged(data, 3, (blocks) => blocks),
    )
    expect((await lab.get('a')).equals(plain)).toBe(true)
    await lab.store.put(at, forged(data, 3, change))
    await expect(lab.get('a')).rejects.toMatchObject({ code: 'corrupt_object' })
  })

  test('a block is only read as the one that it is', async () => {
    const dataKey = masterKey()
    const plain = Buffer.from('the last block')
    const { stored, packing } = await packBlock(plain, null, { index: 3, last: true, dataKey })
    const entry = { end: stored.length, crc: crc32(stored), packing }
    const read = (index: number, last: boolean): Promise<Buffer> =>
      unpackBlock(stored, entry, plain.length, { index, last, dataKey, place })
    expect((await read(3, true)).equals(plain)).toBe(true)
    for (const [index, last] of [
      [3, false],
      [2, true],
      [4, true],
    ] as const)
      await expect(read(index, last)).rejects.toMatchObject({ code: 'corrupt_object' })
  })

  test('a head that says less than there is, or is of another object, is refused', async () => {
    const plain = randomBytes(3 * blockBytes)
    await lab.put('a', plain)
    await lab.put('b', 'other bytes')
    const { at, head } = await dataOf(plain)
    await lab.store.put(headOf(at), encodeHead({ ...decodeHead(head, at), bytes: blockBytes }))
    await expect(lab.get('a')).rejects.toMatchObject({ code: 'corrupt_object' })
    await lab.store.put(headOf(at), (await dataOf(Buffer.from('other bytes'))).head)
    await expect(lab.get('a')).rejects.toMatchObject({ code: 'corrupt_object' })
  })

  test('a master key that is not there is named, and nothing else of it', async () => {
    await lab.put('a', 'text')
    lab.forms = new Map([['logs', encrypted(masterKey())]])
    await lab.restart()
    const failure = await lab.get('a').then(
      () => undefined,
      (error: Error) => error,
    )
    expect(failure).toMatchObject({ code: 'object_unreadable', message: expect.stringMatching(/key [0-9a-f]{16},/) })
    expect(String(failure)).not.toContain(key.toString('base64'))
    // Putting the bytes again mends it.
    await lab.put('a', 'text')
    expect((await lab.get('a')).toString()).toBe('text')
  })

  test('a rotation rewraps keys, leaves the bytes alone, and makes old keys needless', async () => {
    const plain = randomBytes(2 * blockBytes)
    await lab.put('a', plain)
    await lab.put('b', 'second')
    const before = await dataOf(plain)
    const newer = masterKey()
    lab.forms = new Map([['logs', encrypted(newer, key)]])
    await lab.restart()
    await lab.put('c', 'third')
    expect(await lab.objects.rotate('logs')).toEqual({
      rewrapped: 2,
      current: 1,
      plain: 0,
      unreadable: 0,
      problems: [],
    })
    expect(await lab.objects.rotate('logs')).toMatchObject({ rewrapped: 0, current: 3 })
    const after = await dataOf(plain)
    expect([after.data.equals(before.data), after.head.equals(before.head)]).toEqual([true, false])
    lab.forms = new Map([['logs', encrypted(newer)]])
    await lab.restart()
    expect((await lab.get('a')).equals(plain)).toBe(true)
    expect((await lab.get('b')).toString()).toBe('second')
  })

  test('a rotation goes on when a key is missing, and says so', async () => {
    await lab.put('a', 'first')
    lab.forms = new Map([['logs', encrypted(masterKey())]])
    await lab.restart()
    await lab.put('b', 'second')
    expect(await lab.objects.rotate('logs')).toMatchObject({
      rewrapped: 0,
      current: 1,
      unreadable: 1,
      problems: [expect.stringContaining('is encrypted under the master key')],
    })
  })
})

describe('blobs on a disk that loses power', () => {
  const writes: Call[] = ['open', 'write', 'sync', 'rename', 'syncDir', 'makeDir']
  const plain = Buffer.from('some text '.repeat(100))

  async function blobsOn(disk: SimulatedDisk, fileSystem = disk.process()): Promise<Blobs> {
    const store = new LocalObjectStore({ root: '/data', fileSystem, random: disk.random })
    const blobs = new Blobs({
      store,
      fileSystem,
      random: disk.random,
      incomingDir: '/data/incoming',
      forms: new Map([['logs', encrypted(Buffer.alloc(32, 7))]]),
    })
    await blobs.prepare()
    return blobs
  }

  const keep = async (blobs: Blobs): Promise<void> => {
    const incoming = await blobs.receive('logs')
    await incoming.write(plain)
    await incoming.keep(place)
  }

  test('what was kept is there', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const disk = new SimulatedDisk(seededRandom(seed))
      await keep(await blobsOn(disk))
      disk.powerCut()
      const blob = await (await blobsOn(disk)).open('logs', place)
      expect((await buffer(blob!.read())).equals(plain)).toBe(true)
    }
  })

  test('a death at any step leaves no blob or a whole one, and the next put makes it whole', async () => {
    let deaths = 0
    for (let step = 0; ; step++) {
      const disk = new SimulatedDisk(seededRandom(step))
      const process = disk.process()
      const dying = await blobsOn(disk, process)
      let calls = 0
      process.interfere((call) => (writes.includes(call) && calls++ === step ? 'dies within' : 'goes on'))
      const died = await keep(dying).then(
        () => false,
        () => true,
      )
      if (!died) break
      deaths++
      disk.powerCut()
      const blobs = await blobsOn(disk)
      const blob = await blobs.open('logs', place)
      if (blob !== undefined) expect((await buffer(blob.read())).equals(plain)).toBe(true)
      expect(await blobs.has('logs', place)).toBe(blob !== undefined)
      await keep(blobs)
      expect(await blobs.has('logs', place)).toBe(true)
    }
    expect(deaths).toBeGreaterThan(8)
  })
})
