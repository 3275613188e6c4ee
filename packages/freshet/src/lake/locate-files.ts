import { entryStatus, type ManifestFile, type PartitionSummary, type RawEntry } from './manifest.ts'
import { openManifest, specById, type ManifestWriter, type OpenManifest } from './manifest-writer.ts'
import { currentSchema, type TableMetadata } from './metadata.ts'
import { parsePartitionText, timePartitionOf } from './partition.ts'

/** Where files are among a snapshot's manifests. */
export interface LocatedFiles {
  /** The manifests that have them. */
  opened: OpenManifest[]
  files: { row: ManifestFile; entry: RawEntry }[]
  /** Paths that no manifest has live. */
  missing: string[]
}

/**
 * Finds live files by their paths. Manifests are read, newest first, until all are found: first those whose partition bounds
 * allow what the folders in the paths say, so that a file of one day is found without reading those of others. The folders are
 * only a hint.
 * @throws FreshetError `corrupt_table`
 */
export async function locateFiles(
  writer: Pick<ManifestWriter, 'store' | 'table'>,
  manifests: readonly ManifestFile[],
  content: 0 | 1,
  paths: readonly string[],
): Promise<LocatedFiles> {
  const left = new Set(paths)
  const located: LocatedFiles = { opened: [], files: [], missing: [] }
  const candidates = manifests.filter((manifest) => manifest.content === content)
  const likely = new Set(candidates.filter((manifest) => isLikely(writer.table.metadata, manifest, paths)))
  for (const row of [...likely, ...candidates.filter((manifest) => !likely.has(manifest))]) {
    if (left.size === 0) break
    const manifest = await openManifest(writer, row)
    const files = manifest.entries.filter(
      ({ status, data_file: file }) => status !== entryStatus.deleted && left.delete(file.file_path),
    )
    if (files.length === 0) continue
    located.opened.push(manifest)
    located.files.push(...files.map((entry) => ({ row, entry })))
  }
  located.missing.push(...left)
  return located
}

function isLikely(metadata: TableMetadata, manifest: ManifestFile, paths: readonly string[]): boolean {
  const spec = specById(metadata, manifest.specId)
  const time = spec && timePartitionOf(spec, currentSchema(metadata))
  const summary = manifest.partitions?.[0]
  if (time === undefined || summary === undefined) return true
  const folder = `/${time.name}=`
  return paths.some((path) => {
    const start = path.indexOf(folder)
    if (start < 0) return false
    const [text = ''] = path.slice(start + folder.length).split('/')
    return text === 'null' ? summary.containsNull : holds(summary, parsePartitionText(time.unit, text))
  })
}

function holds({ lower, upper }: PartitionSummary, value: number | undefined): boolean {
  if (value === undefined) return true
  return lower?.length === 4 && upper?.length === 4 && lower.readInt32LE() <= value && value <= upper.readInt32LE()
}
