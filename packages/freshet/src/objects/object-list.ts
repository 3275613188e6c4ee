/** Pages of a bucket's keys, in the order of their bytes. */
import type { DatabaseSync } from 'node:sqlite'
import type { IndexFile } from './index-file.ts'
import { indexedObject, type IndexedObject } from './object-index.ts'

export interface ListRequest {
  bucket: string
  /** Only keys that begin so. */
  prefix: string
  /** Only what comes behind this key, or behind all keys of this common prefix. */
  after: string
  /** Keys and common prefixes at most. */
  limit: number
  /** Keys that have it behind `prefix` are shown by their common prefix up to it; '' for none. */
  delimiter: string
}

export interface ObjectPage {
  objects: IndexedObject[]
  /** Common prefixes, each with the delimiter at its end. */
  prefixes: string[]
  /** What to give as `after` for what comes next; undefined at the end. */
  next: string | undefined
}

/** Behind every key that begins with what it is put behind. */
const last = '\u{10ffff}'

export function listObjects(file: IndexFile, request: ListRequest): Promise<ObjectPage> {
  return file.read((database) => listWithin(database, request))
}

function listWithin(database: DatabaseSync, { bucket, prefix, after, limit, delimiter }: ListRequest): ObjectPage {
  const step = database.prepare(
    `SELECT * FROM object WHERE bucket = ? AND ended_at_ms IS NULL AND deleted = 0 AND key > ? AND key >= ? AND key < ?
     ORDER BY key LIMIT ?`,
  )
  const page: ObjectPage = { objects: [], prefixes: [], next: undefined }
  const commonPrefix = (key: string): string | undefined => {
    const at = delimiter === '' || !key.startsWith(prefix) ? -1 : key.indexOf(delimiter, prefix.length)
    return at < 0 ? undefined : key.slice(0, at + delimiter.length)
  }
  let shown = after
  let from = behind(after, commonPrefix)
  for (let count = 0; ;) {
    // Without a delimiter one step gives the whole page; else a step ends at the first common prefix.
    const rows = step.all(bucket, from, prefix, prefix + last + last, Math.min(limit - count, 100) + 1)
    if (rows.length === 0) return page
    for (const row of rows) {
      const object = indexedObject(row as unknown as Parameters<typeof indexedObject>[0])
      const common = commonPrefix(object.key)
      if (common !== undefined && common === page.prefixes.at(-1)) {
        from = common + last
        break
      }
      if (count === limit) return { ...page, next: shown }
      count++
      shown = common ?? object.key
      from = common === undefined ? object.key : common + last
      if (common === undefined) page.objects.push(object)
      else {
        page.prefixes.push(common)
        break
      }
    }
  }
}

function behind(after: string, commonPrefix: (key: string) => string | undefined): string {
  return commonPrefix(after) === after ? after + last : after
}
