import { deflateRawSync } from 'node:zlib'
import avsc from 'avsc'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dataFile, emptyTable } from '../../test/conformance/lake-fixture.ts'
import { MemoryObjectStore } from '../../test/conformance/memory-object-store.ts'
import { decodeAvro, encodeAvro, type AvroSchema } from './avro.ts'
import {
  encodeManifest,
  encodeManifestList,
  entryStatus,
  readManifest,
  readManifestList,
  type ManifestEntry,
  type ManifestFile,
} from './manifest.ts'
import { currentSchema, defaultSpec } from './metadata.ts'

const metadata = { ...emptyTable(), location: 'file:///lake/trades' }
const table = { name: 'trades', version: 1, metadata }

function entry(changes: Partial<ManifestEntry> = {}): ManifestEntry {
  return {
    status: entryStatus.added,
    snapshotId: 7n,
    sequenceNumber: null,
    fileSequenceNumber: null,
    content: 0,
    format: 'PARQUET',
    file: dataFile(table, 'a'),
    splitOffsets: null,
    sortOrderId: 0,
    keyMetadata: null,
    ...changes,
  }
}

const row: ManifestFile = {
  path: 'file:///lake/trades/metadata/a.avro',
  bytes: 100,
  specId: 0,
  content: 0,
  sequenceNumber: 12,
  minSequenceNumber: 3,
  addedSnapshotId: 9_223_372_036_854_775_807n,
  addedFiles: 1,
  existingFiles: 2,
  deletedFiles: 3,
  addedRows: 10,
  existingRows: 20,
  deletedRows: 30,
  partitions: [{ containsNull: true, containsNan: false, lower: Buffer.from([1]), upper: null }],
  keyMetadata: null,
}

async function stored(bytes: Buffer): Promise<MemoryObjectStore> {
  const store = new MemoryObjectStore()
  await store.put('m.avro', bytes)
  return store
}

describe('manifests', () => {
  const schema = currentSchema(metadata)
  const spec = defaultSpec(metadata)

  test('the file carries the metadata and field ids that other engines need', () => {
    const file = decodeAvro(encodeManifest(spec, schema, [entry()]))
    expect(Object.fromEntries([...file.metadata].filter(([key]) => !key.startsWith('avro.')))).toEqual({
      schema: JSON.stringify(schema),
      'schema-id': '0',
      'partition-spec': JSON.stringify(spec.fields),
      'partition-spec-id': '0',
      'format-version': '2',
      content: 'data',
    })
    const text = file.metadata.get('avro.schema')!
    for (const id of [0, 1, 2, 3, 4, 100, 101, 102, 103, 104, 108, 117, 118, 125, 126, 127, 128, 1000])
      expect(text).toContain(`"field-id":${id}`)
  })

  test('what an added entry leaves out it inherits from the manifest list', async () => {
    const store = await stored(encodeManifest(spec, schema, [entry({ snapshotId: null })]))
    const [read] = await readManifest(store, 'm.avro', row)
    expect(read).toMatchObject({ snapshotId: row.addedSnapshotId, sequenceNumber: 12, fileSequenceNumber: 12 })
  })

  test('an existing entry keeps its own snapshot and sequence number', async () => {
    const old = entry({
      status: entryStatus.existing,
      snapshotId: 8_888_888_888_888_888_888n,
      sequenceNumber: 3,
      fileSequenceNumber: 2,
    })
    const store = await stored(encodeManifest(spec, schema, [old]))
    expect((await readManifest(store, 'm.avro', row))[0]).toEqual(old)
  })

  test('statistics, partitions and any 64-bit snapshot id come back as written', async () => {
    // The largest that avsc writes as a long.
    const countMax = Number.MAX_SAFE_INTEGER - 1
    const counts = fc
      .array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.nat({ max: countMax })))
      .map((list) => new Map(list.toSorted(([a], [b]) => a - b)))
    const bounds = fc
      .array(
        fc.tuple(
          fc.integer({ min: 1, max: 500 }),
          fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
        ),
      )
      .map((list) => new Map(list.toSorted(([a], [b]) => a - b)))
    await fc.assert(
      fc.asyncProperty(
        counts,
        bounds,
        fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
        fc.option(fc.integer({ min: -100_000, max: 100_000 })),
        async (sizes, lower, id, day) => {
          const file = {
            ...dataFile(table, 'a'),
            columnSizes: sizes,
            lowerBounds: lower,
            partition: { _event_time_day: day },
          }
          const written = entry({ file, snapshotId: id, sequenceNumber: 1, fileSequenceNumber: 1 })
          const store = await stored(encodeManifest(spec, schema, [written, written]))
          const read = await readManifest(store, 'm.avro', row)
          expect(read).toHaveLength(2)
          expect(read[1]).toEqual(written)
        },
      ),
      { numRuns: 30 },
    )
  })

  test('a manifest list comes back as written', async () => {
    const store = await stored(
      encodeManifestList({ id: 5n, parentId: 2n ** 62n, sequenceNumber: 12 }, [row, { ...row, partitions: null }]),
    )
    expect(await readManifestList(store, 'm.avro')).toEqual([row, { ...row, partitions: null }])
  })

  test('a manifest list of another engine is read: other codecs, unknown fields, version 1 gaps', async () => {
    const schemaOfOthers = {
      type: 'record',
      name: 'manifest_file',
      fields: [
        { name: 'manifest_path', type: 'string', 'field-id': 500 },
        { name: 'novel', type: ['null', { type: 'map', values: 'string' }], default: null, 'field-id': 900 },
        { name: 'manifest_length', type: 'long', 'field-id': 501 },
        { name: 'partition_spec_id', type: 'int', 'field-id': 502 },
        { name: 'added_snapshot_id', type: ['null', 'long'], default: null, 'field-id': 503 },
      ],
    } satisfies AvroSchema
    const bytes = encodeAvro(schemaOfOthers, {}, [
      {
        manifest_path: 'p',
        novel: { x: 'y' },
        manifest_length: 7,
        partition_spec_id: 0,
        added_snapshot_id: 2n ** 63n - 1n,
      },
    ])
    const [read] = await readManifestList(await stored(bytes), 'm.avro')
    expect(read).toMatchObject({
      path: 'p',
      bytes: 7,
      content: 0,
      sequenceNumber: 0,
      addedSnapshotId: 2n ** 63n - 1n,
      partitions: null,
    })
  })
})

describe('Avro container files', () => {
  const schema = { type: 'record', name: 'r', fields: [{ name: 'n', type: 'long' }] } satisfies AvroSchema

  test('avsc itself reads what we write', async () => {
    const records = Array.from({ length: 2500 }, (_, n) => ({ n }))
    const decoder = new avsc.streams.BlockDecoder()
    const read: unknown[] = []
    const done = new Promise((resolve, reject) =>
      decoder
        .on('data', (record: { n: number }) => read.push({ n: record.n }))
        .on('end', resolve)
        .on('error', reject),
    )
    decoder.end(encodeAvro(schema, { a: 'b' }, records))
    await done
    expect(read).toEqual(records)
  })

  test('we read what avsc writes, compressed or not', async () => {
    for (const codec of ['null', 'deflate'] as const) {
      const encoder = new avsc.streams.BlockEncoder(schema as avsc.Schema, {
        codec,
        blockSize: 64,
        codecs: { null: (data, done) => done(null, data), deflate: (data, done) => done(null, deflateRawSync(data)) },
      })
      const chunks: Buffer[] = []
      const done = new Promise((resolve, reject) =>
        encoder
          .on('data', (chunk: Buffer) => chunks.push(chunk))
          .on('end', resolve)
          .on('error', reject),
      )
      for (let n = 0; n < 100; n++) encoder.write({ n })
      encoder.end()
      await done
      expect(decodeAvro<{ n: number }>(Buffer.concat(chunks)).records.map((record) => record.n)).toEqual(
        Array.from({ length: 100 }, (_, n) => n),
      )
    }
  })

  test('a file without records still has its schema', () => {
    const file = decodeAvro(encodeAvro(schema, { a: 'b' }, []))
    expect(file.records).toEqual([])
    expect(file.metadata.get('a')).toBe('b')
  })

  test('no torn file passes for a whole one', () => {
    const whole = encodeAvro(
      schema,
      {},
      Array.from({ length: 1500 }, (_, n) => ({ n })),
    )
    for (let length = 0; length < whole.length; length++) {
      let records = -1
      try {
        records = decodeAvro(whole.subarray(0, length)).records.length
      } catch {
        continue
      }
      // Cut between two blocks nothing in the file tells; the length in the manifest list does.
      expect([0, 1000]).toContain(records)
    }
  })
})
