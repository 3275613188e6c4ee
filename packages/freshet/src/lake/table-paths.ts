import { FreshetError } from '../runtime/errors.ts'
import type { LoadedTable } from './catalog.ts'

/**
 * Manifests hold absolute paths, so that any engine can read the tables; the object store has keys, `<table>/data/...`. They
 * are matched by the location in the table's metadata, not by where the table is now: a data folder that was moved still reads.
 */
type Located = Pick<LoadedTable, 'name' | 'metadata'>

/** The path that manifests and metadata hold for a file of the table, given by its place in the table's folder. */
export function pathOf(table: Located, place: string): string {
  return `${table.metadata.location}/${place}`
}

/**
 * The object store key of a path in the table's metadata.
 * @throws FreshetError `unsupported_table` for a file outside the table's folder.
 */
export function keyOf(table: Located, path: string): string {
  const folder = `${withoutScheme(table.metadata.location)}/`
  const plain = withoutScheme(path)
  if (!plain.startsWith(folder)) {
    throw new FreshetError(
      'unsupported_table',
      `The file ${path} is outside the folder of the table ${table.name}, ${table.metadata.location}.`,
      {
        hint: 'Another engine wrote it: have that engine rewrite the table with all files under its location.',
      },
    )
  }
  return `${table.name}/${plain.slice(folder.length)}`
}

/** `file:///a`, `file:/a` and `/a` are one place; engines differ in which they write. */
function withoutScheme(path: string): string {
  return path.startsWith('file:') ? path.replace(/^file:(\/\/)?/, '') : path
}
