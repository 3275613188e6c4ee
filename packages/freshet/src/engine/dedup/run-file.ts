/** Reads what a run's file says of itself, checked. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import {
  filterBytes,
  formatVersion,
  indexWords,
  magic,
  tailBytes,
  windowBytes,
  wordBytes,
  type RunFooter,
  type RunShape,
} from './run-format.ts'

interface RunContent {
  footer: RunFooter
  index: Uint32Array
  filter: Uint32Array | undefined
}

/**
 * @param keepsFilter whether a filter of so many bytes is wanted
 * @returns undefined when the file is not whole, damaged, or was written with another seed or in another format
 */
export function readRunFile(
  path: string,
  seed: number,
  keepsFilter: (bytes: number) => boolean,
): RunContent | undefined {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    const found = readFooter(fd)
    if (found === undefined || found.footer.version !== formatVersion || found.footer.seed !== seed) return undefined
    const { footer, at } = found
    const bytes = indexWords(footer) * wordBytes
    const index = readWords(fd, at - bytes, bytes)
    if (crc32(bytesOf(index)) !== footer.indexCrc) return undefined
    return { footer, index, filter: keepsFilter(filterBytes(footer)) ? readFilter(fd, footer, index) : undefined }
  } catch {
    return undefined
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/** The whole filter. @throws Error when it is damaged */
export function readFilter(fd: number, shape: RunShape, index: Uint32Array): Uint32Array {
  const bytes = filterBytes(shape)
  const filter = readWords(fd, 0, bytes)
  for (let at = 0; at < bytes; at += windowBytes)
    checkWindow(bytesOf(filter).subarray(at, at + windowBytes), shape, index, at)
  return filter
}

/** The part of the filter from `at` on, a multiple of `windowBytes`. @throws Error when it is damaged */
export function readWindow(fd: number, shape: RunShape, index: Uint32Array, at: number): Uint32Array {
  const window = readWords(fd, at, Math.min(windowBytes, filterBytes(shape) - at))
  checkWindow(bytesOf(window), shape, index, at)
  return window
}

function checkWindow(bytes: Uint8Array, { bits }: RunShape, index: Uint32Array, at: number): void {
  if (crc32(bytes) !== index[2 ** bits + 1 + at / windowBytes]) throw new Error('The filter is damaged')
}

function readFooter(fd: number): { footer: RunFooter; at: number } | undefined {
  const tailAt = fstatSync(fd).size - tailBytes
  const [length, crc, mark] = readWords(fd, tailAt, tailBytes)
  const at = tailAt - length!
  if (mark !== magic || at < 0) return undefined
  const text = Buffer.alloc(length!)
  readSync(fd, text, 0, length!, at)
  return crc32(text) === crc ? { footer: JSON.parse(text.toString()) as RunFooter, at } : undefined
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
}

/** @throws Error when the file ends sooner */
function readWords(fd: number, at: number, bytes: number): Uint32Array {
  const words = new Uint32Array(bytes / wordBytes)
  if (readSync(fd, words, 0, bytes, at) !== bytes) throw new Error('The file is too short')
  return words
}
