export interface Line {
  /** From 1. */
  number: number
  /** Without its line feed; a carriage return before that stays. Only the first part when `tooLong`. */
  bytes: Buffer
  tooLong: boolean
}

/** Cuts chunks into lines, a chunk's lines at a time. A line over `lineBytesMax` is skipped, only its beginning is kept. */
export async function* readLines(chunks: AsyncIterable<Buffer>, lineBytesMax: number): AsyncGenerator<Line[]> {
  let parts: Buffer[] = []
  let partsBytes = 0
  let tooLong: Buffer | null = null
  let number = 0

  const finish = (last: Buffer): Line => {
    number++
    if (tooLong !== null) {
      const line = { number, bytes: tooLong, tooLong: true }
      tooLong = null
      return line
    }
    const bytes = parts.length === 0 ? last : Buffer.concat([...parts, last])
    parts = []
    partsBytes = 0
    if (bytes.length > lineBytesMax) return { number, bytes: bytes.subarray(0, 1024), tooLong: true }
    return { number, bytes, tooLong: false }
  }

  for await (const chunk of chunks) {
    const lines: Line[] = []
    let start = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      lines.push(finish(chunk.subarray(start, end)))
      start = end + 1
    }
    if (start < chunk.length && tooLong === null) {
      parts.push(chunk.subarray(start))
      partsBytes += chunk.length - start
      if (partsBytes > lineBytesMax) {
        tooLong = Buffer.concat(parts).subarray(0, 1024)
        parts = []
        partsBytes = 0
      }
    }
    if (lines.length > 0) yield lines
  }
  if (parts.length > 0 || tooLong !== null) yield [finish(Buffer.alloc(0))]
}
