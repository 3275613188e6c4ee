import { itemBytesMax, type InputItem } from './input-item.ts'
import { readLines } from './lines.ts'

/** One event a line, passed on byte for byte; the server judges each. Blank lines are skipped. */
export async function* readNdjson(chunks: AsyncIterable<Buffer>): AsyncGenerator<InputItem[]> {
  for await (const lines of readLines(chunks, itemBytesMax)) {
    const items: InputItem[] = []
    for (const line of lines) {
      if (line.tooLong) {
        const reason = `the line is longer than ${itemBytesMax} bytes`
        items.push({
          kind: 'broken',
          line: line.number,
          code: 'event_too_large',
          path: null,
          reason,
          raw: line.bytes,
          fatal: false,
        })
        continue
      }
      const json = trimBlanks(line.bytes)
      if (json.length > 0) items.push({ kind: 'event', line: line.number, json })
    }
    yield items
  }
}

function trimBlanks(bytes: Buffer): Buffer {
  let start = 0
  let end = bytes.length
  while (start < end && isBlank(bytes[start]!)) start++
  while (end > start && isBlank(bytes[end - 1]!)) end--
  return end - start === bytes.length ? bytes : bytes.subarray(start, end)
}

function isBlank(byte: number): boolean {
  return byte === 32 || byte === 9 || byte === 13
}
