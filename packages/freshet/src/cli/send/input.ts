import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { basename, extname, resolve } from 'node:path'
import { pipeline } from 'node:stream'
import type { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { FreshetError, messageOf, systemCodeOf } from '../../runtime/errors.ts'
import type { CliContext } from '../context.ts'
import { usageError } from '../exit-codes.ts'
import { readCsv, type CsvOptions } from './csv.ts'
import type { InputItem } from './input-item.ts'
import { readJsonValues } from './json-values.ts'
import { readNdjson } from './ndjson.ts'

export type InputFormat = 'ndjson' | 'json' | 'csv'

/** One place that events come from. */
export interface Source {
  /** As errors name it. */
  label: string
  /** Absolute path of a regular file, which can be read twice; null for a pipe. */
  path: string | null
  /** Bytes, as stored; null when unknown. */
  size: number | null
  /** The bytes as stored. Once only for a pipe. */
  open(): Readable
}

/** Finds the sources named on the command line; `-`, or none at all, is standard input. @throws FreshetError `invalid_usage` */
export async function findSources(files: readonly string[], context: CliContext): Promise<Source[]> {
  if (files.length === 0 && context.stdin.isTTY === true) {
    throw usageError('There is nothing to send.', 'Name files, or pipe events in: freshet send STREAM events.ndjson')
  }
  const names = files.length === 0 ? ['-'] : files
  if (names.filter((name) => name === '-').length > 1) throw usageError('Standard input ("-") is named twice.')
  return Promise.all(names.map(async (name) => (name === '-' ? stdinSource(context) : await fileSource(name, context))))
}

function stdinSource(context: CliContext): Source {
  return { label: 'stdin', path: null, size: null, open: () => context.stdin }
}

async function fileSource(name: string, context: CliContext): Promise<Source> {
  const path = resolve(context.cwd, name)
  try {
    const found = await stat(path)
    if (found.isDirectory()) throw usageError(`${name} is a folder.`, `Name the files in it: ${name}/*`)
    if (!found.isFile()) return { label: name, path: null, size: null, open: () => createReadStream(path) }
    // Opened once here, so that a file without read permission is found before anything is sent.
    await (await open(path, 'r')).close()
    return { label: name, path, size: found.size, open: () => createReadStream(path, { highWaterMark: 256 * 1024 }) }
  } catch (error) {
    if (error instanceof FreshetError) throw error
    const reason = systemCodeOf(error) === 'ENOENT' ? 'there is no such file' : messageOf(error)
    throw usageError(`${name} cannot be read: ${reason}.`, `Paths are taken from ${context.cwd}.`)
  }
}

export interface OpenInput {
  /** Events, a piece of the input at a time. */
  items: AsyncGenerator<InputItem[]>
  /** Stops reading at once, even while waiting for more input. */
  close(): void
}

export interface OpenOptions {
  csv: Omit<CsvOptions, 'delimiter'>
  /** Told of every piece read, in bytes as stored. */
  onBytes: (count: number) => void
}

/** What a source holds, as far as its name and the options tell. */
export interface InputShape {
  /** null: to be judged by the first bytes. */
  format: InputFormat | null
  delimiter: string
  packing: 'gzip' | 'zstd' | null
}

export function shapeOf(label: string, options: { format: InputFormat | null; delimiter: string | null }): InputShape {
  const packing = /\.gz$/i.test(label) ? 'gzip' : /\.zst$/i.test(label) ? 'zstd' : null
  const extension = extname(packing === null ? basename(label) : basename(label, extname(label))).toLowerCase()
  return {
    format: options.format ?? formatByExtension[extension] ?? null,
    delimiter: options.delimiter ?? (extension === '.tsv' || extension === '.tab' ? '\t' : ','),
    packing,
  }
}

/** Begins to read a source, unpacked when it is gzip or zstd. @throws FreshetError `invalid_usage` for text that is not UTF-8 */
export async function openInput(source: Source, shape: InputShape, options: OpenOptions): Promise<OpenInput> {
  const stream = source.open()
  const chunks = unpacked(counted(stream, options.onBytes), shape.packing)
  const { bytes, ended } = await readHead(chunks, source)
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    throw usageError(`${source.label} is UTF-16 text.`, `Convert it first: iconv -f utf-16 -t utf-8 ${source.label}`)
  }
  const text = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes
  const rest = joined(text, ended, chunks, source)
  const csv = { ...options.csv, delimiter: shape.delimiter }
  return { items: readItems(shape.format ?? sniffFormat(text), rest, csv), close: () => void stream.destroy() }
}

function readItems(format: InputFormat, chunks: AsyncIterable<Buffer>, csv: CsvOptions): AsyncGenerator<InputItem[]> {
  switch (format) {
    case 'ndjson':
      return readNdjson(chunks)
    case 'json':
      return readJsonValues(chunks)
    case 'csv':
      return readCsv(chunks, csv)
  }
}

const formatByExtension: Readonly<Record<string, InputFormat>> = {
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.ldjson': 'ndjson',
  '.json': 'json',
  '.csv': 'csv',
  '.tsv': 'csv',
  '.tab': 'csv',
}

/** Judges by the first line: a bracket begins JSON, a whole object NDJSON, an unfinished one JSON, anything else CSV. */
function sniffFormat(head: Buffer): InputFormat {
  const text = head.toString().trimStart()
  if (text.startsWith('[')) return 'json'
  if (!text.startsWith('{')) return 'csv'
  const first = text.split('\n', 1)[0]!
  try {
    JSON.parse(first)
    return 'ndjson'
  } catch {
    return first.trim() === '{' || first.trimEnd().endsWith(',') ? 'json' : 'ndjson'
  }
}

async function* counted(stream: Readable, onBytes: (count: number) => void): AsyncGenerator<Buffer> {
  for await (const chunk of stream) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer)
    onBytes(bytes.length)
    yield bytes
  }
}

function unpacked(chunks: AsyncGenerator<Buffer>, packing: InputShape['packing']): AsyncIterator<Buffer> {
  if (packing === null) return chunks
  const unpacker = packing === 'gzip' ? createGunzip() : createZstdDecompress()
  // Errors reach whoever reads the last stream of the pipeline.
  pipeline(chunks, unpacker, () => {})
  return unpacker[Symbol.asyncIterator]() as AsyncIterator<Buffer>
}

const headBytes = 64 * 1024

/** Reads until the first line is whole, at most 64 kB or the end of the input. */
async function readHead(chunks: AsyncIterator<Buffer>, source: Source): Promise<{ bytes: Buffer; ended: boolean }> {
  let bytes = Buffer.alloc(0)
  while (bytes.length < headBytes && !bytes.toString().trimStart().includes('\n')) {
    const next = await nextChunk(chunks, source)
    if (next === null) return { bytes, ended: true }
    bytes = Buffer.concat([bytes, next])
  }
  return { bytes, ended: false }
}

async function* joined(
  head: Buffer,
  ended: boolean,
  chunks: AsyncIterator<Buffer>,
  source: Source,
): AsyncGenerator<Buffer> {
  try {
    if (head.length > 0) yield head
    for (
      let next = ended ? null : await nextChunk(chunks, source);
      next !== null;
      next = await nextChunk(chunks, source)
    )
      yield next
  } finally {
    await chunks.return?.()
  }
}

async function nextChunk(chunks: AsyncIterator<Buffer>, source: Source): Promise<Buffer | null> {
  try {
    const next = await chunks.next()
    return next.done === true ? null : next.value
  } catch (cause) {
    throw new FreshetError('invalid_request', `${source.label} cannot be read further: ${messageOf(cause)}.`, {
      hint: 'What was sent so far is kept; the same command sends the rest once the file can be read.',
      cause,
    })
  }
}
