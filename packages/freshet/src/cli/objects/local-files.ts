/** The files that `freshet objects put` sends, and the keys that they get. */
import { readdir, stat } from 'node:fs/promises'
import { basename, extname, join, resolve, sep } from 'node:path'
import { keyFault } from '../../objects/object-key.ts'
import { usageError } from '../exit-codes.ts'
import { systemCodeOf } from '../../runtime/errors.ts'

export interface LocalFile {
  path: string
  key: string
  bytes: number
}

export interface FileWishes {
  cwd: string
  /** The key, for a single file. */
  key?: string | undefined
  /** What is put in front of each key. */
  prefix?: string | undefined
  recursive?: boolean | undefined
}

/**
 * The files at `paths`, those of folders with the path below the folder as their key.
 * @throws FreshetError `invalid_usage`
 */
export async function localFiles(paths: readonly string[], wishes: FileWishes): Promise<LocalFile[]> {
  const { cwd, key, prefix = '', recursive = false } = wishes
  const found: LocalFile[] = []
  for (const given of paths) {
    const path = resolve(cwd, given)
    const stats = await stat(path).catch((error: unknown) => {
      if (systemCodeOf(error) === 'ENOENT') throw usageError(`There is no file ${path}.`)
      throw error
    })
    if (!stats.isDirectory()) found.push({ path, key: prefix + (key ?? basename(path)), bytes: stats.size })
    else if (!recursive) throw usageError(`${path} is a folder.`, 'Use --recursive to put all files in it.')
    else found.push(...(await filesBelow(path, prefix)))
  }
  if (key !== undefined && (found.length !== 1 || paths.length !== 1))
    throw usageError('--key is for a single file.', 'Use --prefix for what is put in front of the keys of several.')
  const taken = new Map<string, string>()
  for (const file of found) {
    const fault = keyFault(file.key)
    if (fault !== undefined) throw usageError(`${JSON.stringify(file.key)} cannot be a key: ${fault}.`)
    const other = taken.get(file.key)
    if (other !== undefined) throw usageError(`${other} and ${file.path} would both be put as "${file.key}".`)
    taken.set(file.key, file.path)
  }
  return found
}

/** Links to files are followed, links to folders are not: they could lead round in a circle. */
async function filesBelow(folder: string, prefix: string): Promise<LocalFile[]> {
  const found: LocalFile[] = []
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter(
    (entry) => !entry.isDirectory(),
  )
  for (const entry of names) {
    const path = join(entry.parentPath, entry.name)
    const stats = await stat(path).catch(() => undefined)
    if (stats?.isFile() !== true) continue
    const below = path.slice(folder.length).replace(/^[\\/]+/, '')
    found.push({ path, key: prefix + below.split(sep).join('/'), bytes: stats.size })
  }
  return found.toSorted((a, b) => (a.key < b.key ? -1 : 1))
}

const types: Readonly<Record<string, string>> = {
  '.csv': 'text/csv; charset=utf-8',
  '.gz': 'application/gzip',
  '.html': 'text/html; charset=utf-8',
  '.jpeg': 'image/jpeg',
  '.jpg': 'image/jpeg',
  '.json': 'application/json',
  '.log': 'text/plain; charset=utf-8',
  '.md': 'text/markdown; charset=utf-8',
  '.ndjson': 'application/x-ndjson',
  '.parquet': 'application/vnd.apache.parquet',
  '.pdf': 'application/pdf',
  '.png': 'image/png',
  '.txt': 'text/plain; charset=utf-8',
  '.xml': 'application/xml',
  '.zip': 'application/zip',
  '.zst': 'application/zstd',
}

/** The Content-Type that a file's name suggests. */
export function typeOf(path: string): string {
  return types[extname(path).toLowerCase()] ?? 'application/octet-stream'
}
