import { PassThrough, type Readable } from 'node:stream'
import { fromFd, type Entry, type ZipFile } from 'yauzl'
import { open as openFile } from 'node:fs'
import { usageError } from '../exit-codes.ts'
import { messageOf } from '../../runtime/errors.ts'

/** A file that is the only one in a zip archive. */
export interface ZippedFile {
  /** Its name in the archive. */
  name: string
  /** Its size when unpacked, bytes. */
  size: number
  /** Its content, unpacked as it is read. May be called again. */
  open: () => Readable
}

/** The only file of an archive. @throws FreshetError `invalid_usage` when there are several, or the archive is damaged */
export async function onlyZippedFile(path: string, label: string): Promise<ZippedFile> {
  try {
    const archive = await openArchive(path)
    try {
      const entry = await onlyEntry(archive, label)
      return { name: entry.fileName, size: entry.uncompressedSize, open: () => contentOf(path, entry) }
    } finally {
      archive.close()
    }
  } catch (error) {
    if (error instanceof Error && error.name === 'FreshetError') throw error
    throw usageError(
      `${label} cannot be read as a zip archive: ${messageOf(error)}.`,
      'Unzip it, and name what was in it.',
    )
  }
}

function openArchive(path: string): Promise<ZipFile> {
  return new Promise((resolve, reject) => {
    openFile(path, 'r', (failure, fd) => {
      if (failure !== null) return reject(failure)
      fromFd(fd, { lazyEntries: true, autoClose: false }, (error, archive) =>
        error ? reject(error) : resolve(archive),
      )
    })
  })
}

function onlyEntry(archive: ZipFile, label: string): Promise<Entry> {
  return new Promise((resolve, reject) => {
    const files: Entry[] = []
    archive.on('error', reject)
    archive.on('entry', (entry: Entry) => {
      if (!entry.fileName.endsWith('/')) files.push(entry)
      if (files.length > 1)
        return reject(usageError(`${label} holds several files.`, 'Unzip it, and name the ones that are meant.'))
      archive.readEntry()
    })
    archive.on('end', () =>
      files[0] === undefined ? reject(usageError(`${label} holds no file.`)) : resolve(files[0]),
    )
    archive.readEntry()
  })
}

function contentOf(path: string, entry: Entry): Readable {
  const content = new PassThrough({ highWaterMark: 256 * 1024 })
  void pour(path, entry, content).catch((error: Error) => content.destroy(error))
  return content
}

async function pour(path: string, entry: Entry, content: PassThrough): Promise<void> {
  const archive = await openArchive(path)
  content.once('close', () => archive.close())
  const unpacked = await new Promise<Readable>((resolve, reject) => {
    archive.openReadStream(entry, (error, stream) => (error ? reject(error) : resolve(stream)))
  })
  unpacked.on('error', (error) => content.destroy(error))
  content.once('close', () => unpacked.destroy())
  unpacked.pipe(content)
}
