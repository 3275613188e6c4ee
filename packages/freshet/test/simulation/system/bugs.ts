/**
 * Classic bugs, planted by wrapping the seams that the product's parts are joined by. Each must be found by the simulation; none of
 * it exists in the product.
 */
import { currentSnapshot, positionsKey, type TableMetadata } from '../../../src/lake/metadata.ts'
import { planScan } from '../../../src/lake/scan.ts'
import { encodeEnd, endFile } from '../../../src/log/file/durable-end.ts'
import type { Chunk, Log } from '../../../src/log/log.ts'
import type { FileSystem } from '../../../src/runtime/file-system.ts'
import { FreshetError } from '../../../src/runtime/errors.ts'
import { LocalObjectStore } from '../../../src/storage/local/local-object-store.ts'
import { seededRandom } from '../seeded-random.ts'
import { consumerBugs } from './consumer-bugs.ts'
import { lakeDir, logDir } from './machine.ts'
import { delegating, withHandles, type Bug } from './plant.ts'
import { rollupBugs } from './rollup-bugs.ts'

const isSegment = (path: string): boolean => path.endsWith('.ndjson')

function isConflict(error: unknown): boolean {
  return error instanceof FreshetError && error.code === 'commit_conflict'
}

/** The first chunk that a process reads of each stream, changed. */
function firstRead(log: Log, change: (stream: string, chunk: Chunk, from: bigint) => Promise<Chunk>): Log {
  const begun = new Set<string>()
  return delegating(log, {
    read: async (stream, partition, from, maxBytes) => {
      const chunk = await log.read(stream, partition, from, maxBytes)
      if (begun.has(stream) || chunk.bytes.length === 0) return chunk
      begun.add(stream)
      return from === 0n ? chunk : change(stream, chunk, from)
    },
  })
}

/** Metadata that claims other log positions. */
function claiming(metadata: TableMetadata, positions: string | undefined): TableMetadata {
  const claimed = (fields: Record<string, string>): Record<string, string> => {
    const { [positionsKey]: _, ...others } = fields
    return positions === undefined ? others : { ...others, [positionsKey]: positions }
  }
  const snapshots = metadata.snapshots.map((snapshot) => ({ ...snapshot, summary: claimed(snapshot.summary) }))
  return { ...metadata, properties: claimed(metadata.properties), snapshots }
}

export const bugs: Readonly<Record<string, Bug>> = {
  'acknowledge-before-append': {
    summary: 'a batch is acknowledged while it is still being written',
    breaks: ['I1'],
    plant: () => ({
      gatewayLog: (log) =>
        delegating(log, {
          append: async (stream, batch) => {
            const lines = batch.lines.map((piece) => Buffer.from(piece))
            log.append(stream, { ...batch, lines }).catch(() => undefined)
            return { from: 0n, position: 0n, duplicate: false }
          },
        }),
    }),
  },
  'commit-before-letter': {
    summary: 'a position is committed while the letters of events before it are still being written',
    breaks: ['I6'],
    plant: () => ({
      engineLog: (log) =>
        delegating(log, {
          append: async (stream, batch) => {
            log.append(stream, batch).catch(() => undefined)
            return { from: 0n, position: 0n, duplicate: false }
          },
        }),
    }),
  },
  'acknowledge-before-sync': {
    summary: 'a batch is acknowledged when the operating system has it, not the disk',
    breaks: ['I1', 'I2'],
    plant: () => ({ gatewayFiles: (files) => withHandles(files, isSegment, () => ({ sync: async () => {} })) }),
  },
  'forget-folder-sync': {
    summary: 'the folder of a new segment is not synced',
    breaks: ['I1', 'I2', 'I7'],
    plant: () => ({ gatewayFiles: (files) => delegating(files, { syncDir: async () => {} }) }),
  },
  'retry-failed-sync': {
    summary: 'a failed sync is made again, and what that says is believed',
    breaks: ['I1', 'I2'],
    plant: () => ({
      gatewayFiles: (files) =>
        withHandles(files, isSegment, (handle) => ({ sync: () => handle.sync().catch(() => handle.sync()) })),
    }),
  },
  'publish-before-sync': {
    summary: 'readers are told of bytes that are not durable yet',
    breaks: ['I2', 'I10'],
    plant: () => ({
      gatewayFiles: (files) =>
        withHandles(files, isSegment, (handle, path) => ({
          write: async (buffers, position) => {
            await handle.write(buffers, position)
            const [, stream = '', base = ''] = /([^/]+)\/0\/(\d+)\.ndjson$/.exec(path) ?? []
            const end = Number(base) + position + buffers.reduce((bytes, buffer) => bytes + buffer.byteLength, 0)
            const ends = await files.open(endFile(logDir, stream, 0), 'create')
            await ends.write([encodeEnd(end)], 0)
            await ends.close()
          },
        })),
    }),
  },
  'trim-one-too-far': {
    summary: 'the log is trimmed up to the segment that holds the checkpoint, and that one too',
    breaks: ['I7'],
    plant: () => ({
      engineLog: (log) =>
        delegating(log, {
          trim: (stream, below) =>
            log.trim(stream, new Map([...below].map(([partition, position]) => [partition, position + 2000n]))),
        }),
    }),
  },
  'positions-before-files': {
    summary: 'the positions are committed first, and then the files',
    breaks: ['I3'],
    plant: () => ({
      catalog: (catalog) =>
        delegating(catalog, {
          commit: async (base, next) => {
            const first = await catalog.commit(base, claiming(base.metadata, next.properties[positionsKey]))
            return catalog.commit(first, next)
          },
        }),
    }),
  },
  'resume-one-early': {
    summary: 'after a restart the last chunk that was committed is loaded once more',
    breaks: ['I4', 'I5', 'I6'],
    plant: () => {
      const before = new Map<string, { chunk: Chunk; next: bigint }[]>()
      return {
        engineLog: (log) => {
          const remembering = delegating(log, {
            read: async (stream, partition, from, maxBytes) => {
              const chunk = await log.read(stream, partition, from, maxBytes)
              const kept = { ...chunk, bytes: Buffer.from(chunk.bytes) }
              before.set(stream, [...(before.get(stream) ?? []), { chunk: kept, next: chunk.next }])
              return chunk
            },
          })
          return firstRead(remembering, async (stream, chunk, from) => {
            const last = before.get(stream)?.findLast(({ next }) => next === from)
            if (last === undefined) return chunk
            return {
              ...chunk,
              bytes: Buffer.concat([last.chunk.bytes, chunk.bytes]),
              count: last.chunk.count + chunk.count,
              batches: [...last.chunk.batches, ...chunk.batches],
            }
          })
        },
      }
    },
  },
  'resume-one-late': {
    summary: 'after a restart the first batch behind the checkpoint is passed over',
    // I10 where only heartbeats follow: without events nothing asks for a commit, and the table stays in front of that batch.
    breaks: ['I3', 'I4', 'I10'],
    plant: () => ({
      engineLog: (log) =>
        firstRead(log, async (_, chunk) => {
          const second = chunk.bytes.indexOf('\n{"_frame"') + 1
          if (second === 0) return chunk
          const [first, ...batches] = chunk.batches
          return { ...chunk, bytes: chunk.bytes.subarray(second), count: chunk.count - first!.count, batches }
        }),
    }),
  },
  'forget-stored-ids': {
    summary: 'ids are looked for among those that came since the start, not in the data files',
    breaks: ['I5'],
    plant: () => ({
      statement: (sql) =>
        /\(_event_id\b.* FROM read_parquet/.test(sql) ? sql.replace(' WHERE ', ' WHERE false AND ') : sql,
    }),
  },
  'forget-sequences': {
    summary: 'a batch that is sent again is not recognised at the door',
    breaks: ['I5'],
    plant: () => ({
      gatewayLog: (log) =>
        delegating(log, {
          append: (stream, { producer: _producer, idempotency: _idempotency, ...batch }) => log.append(stream, batch),
        }),
    }),
  },
  'skip-positions-check': {
    summary: 'a commit that met another one is made again on top of it without a look at the positions',
    breaks: ['I3', 'I5'],
    plant: () => ({
      catalog: (catalog) => {
        const expected = new Map<string, string | undefined>()
        return delegating(catalog, {
          commit: async (base, next) => {
            const positions = base.metadata.properties[positionsKey]
            try {
              const committed = await catalog.commit(base, next)
              expected.delete(base.name)
              return committed
            } catch (error) {
              if (isConflict(error)) expected.set(base.name, positions)
              throw error
            }
          },
          load: async (name) => {
            const table = await catalog.load(name)
            if (table === undefined || !expected.has(name)) return table
            return { ...table, metadata: claiming(table.metadata, expected.get(name)) }
          },
        })
      },
    }),
  },
  'compaction-loses-a-file': {
    summary: 'compaction leaves out the rows of one of its files, and its check looks at the wrong files',
    breaks: ['I3', 'I4'],
    plant: () => {
      let checked = ''
      return {
        statement: (sql) => {
          const isCheck = sql.startsWith('SELECT count(*), coalesce(sum(CAST(hash(_event_id)')
          if (isCheck && sql.includes('schema = MAP')) checked = sql
          else if (isCheck) return checked
          const isCopy = sql.startsWith('COPY (SELECT * FROM (SELECT f.')
          return isCopy ? sql.replace(/(read_parquet\(\[[^\]]*), '[^']*'\], schema/, '$1], schema') : sql
        },
      }
    },
  },
  'expiry-removes-live-files': {
    summary: 'expiry removes all files of a snapshot that expires, also those that the table still has',
    breaks: ['I3'],
    plant: () => {
      let disk: FileSystem | undefined
      return {
        engineFiles: (files) => (disk = files),
        catalog: (catalog) =>
          delegating(catalog, {
            commit: async (base, next) => {
              const committed = await catalog.commit(base, next)
              const kept = new Set(next.snapshots.map((snapshot) => snapshot['snapshot-id']))
              const store = new LocalObjectStore({ root: lakeDir, fileSystem: disk!, random: seededRandom(1) })
              for (const snapshot of base.metadata.snapshots) {
                if (kept.has(snapshot['snapshot-id'])) continue
                const { files } = await planScan(store, base, { snapshot })
                await store.delete(files.map(({ key }) => key))
              }
              return committed
            },
          }),
      }
    },
  },
  'compaction-removes-at-once': {
    summary: 'the files that were compacted are removed with the commit, though older snapshots have them',
    breaks: ['I3'],
    plant: () => {
      let disk: FileSystem | undefined
      return {
        engineFiles: (files) => (disk = files),
        catalog: (catalog) =>
          delegating(catalog, {
            commit: async (base, next) => {
              const committed = await catalog.commit(base, next)
              if (currentSnapshot(next)?.summary['operation'] !== 'replace') return committed
              const store = new LocalObjectStore({ root: lakeDir, fileSystem: disk!, random: seededRandom(1) })
              const before = await planScan(store, base)
              const { removed } = await planScan(store, committed, { previous: before })
              await store.delete(removed.map(({ key }) => key))
              return committed
            },
          }),
      }
    },
  },
  'erasure-misses-rows': {
    summary: 'an erasure takes its condition for another one, also when it looks whether the rows are gone',
    breaks: ['erasure'],
    plant: () => ({ statement: (sql) => sql.replaceAll("'person-", "'nobody-") }),
  },
  'erasure-keeps-files': {
    summary: 'data files that nothing needs any more are not removed, though they are said to be',
    breaks: ['erasure'],
    plant: () => ({
      engineFiles: (files) =>
        delegating(files, {
          remove: async (path) => (path.endsWith('.parquet') ? undefined : files.remove(path)),
        }),
    }),
  },
  'skip-file-sync': {
    summary: 'data files are committed before they are durable',
    breaks: ['I3'],
    plant: () => ({
      engineFiles: (files) =>
        withHandles(
          files,
          (path) => path.endsWith('.parquet'),
          () => ({ sync: async () => {} }),
        ),
    }),
  },
  ...consumerBugs,
  ...rollupBugs,
}
