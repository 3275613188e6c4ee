import { itemBytesMax, type BrokenInput, type InputItem } from './input-item.ts'

const byte = {
  tab: 9,
  lineFeed: 10,
  carriageReturn: 13,
  space: 32,
  quote: 34,
  comma: 44,
  open: 91,
  backslash: 92,
  close: 93,
  openBrace: 123,
  closeBrace: 125,
} as const

/** Events of JSON text: objects one after another, or the elements of arrays. Neither is ever in memory whole. */
export async function* readJsonValues(chunks: AsyncIterable<Buffer>): AsyncGenerator<InputItem[]> {
  const splitter = new JsonSplitter()
  for await (const chunk of chunks) {
    const items = splitter.push(chunk)
    if (items.length > 0) yield items
    if (splitter.failed) return
  }
  const rest = splitter.end()
  if (rest.length > 0) yield rest
}

/**
 * Finds where each event begins and ends by counting brackets outside strings; the text in between is not judged, the server
 * does that. Line breaks between tokens become spaces, so that an event is one line of NDJSON. Text that leaves unclear where
 * the next event begins ends the reading.
 */
class JsonSplitter {
  failed = false
  #items: InputItem[] = []
  /** 'top': outside any array; 'value': an element must come; 'first': an element or the end; 'next': a comma or the end. */
  #expect: 'top' | 'first' | 'value' | 'next' = 'top'
  #inArray = false
  #inValue = false
  #scalar = false
  #depth = 0
  #inString = false
  #escaped = false
  /** A raw line break in a string is never valid; it must not be mended by being turned into a space. */
  #brokenString = false
  #line = 1
  #lineStart = 0
  #offset = 0
  #valueLine = 1
  #parts: Buffer[] = []
  #partsBytes = 0
  #arrayLine = 1

  push(chunk: Buffer): InputItem[] {
    let start = 0
    for (let at = 0; at < chunk.length && !this.failed; at++) {
      const code = chunk[at]!
      if (this.#inValue) {
        const end = this.#step(code, at)
        if (end !== null) {
          this.#emit(chunk.subarray(start, end))
          at = end - 1
        }
      } else if (code === byte.lineFeed) {
        this.#newLine(at)
      } else if (!isBlank(code)) {
        start = at
        this.#between(code, at)
      }
    }
    if (this.#inValue && !this.failed) {
      this.#parts.push(flatten(chunk.subarray(start)))
      this.#partsBytes += chunk.length - start
      if (this.#partsBytes > itemBytesMax)
        this.#fail(`a value longer than ${itemBytesMax} bytes starts here`, this.#valueLine)
    }
    this.#offset += chunk.length
    return this.#take()
  }

  end(): InputItem[] {
    if (this.failed) return []
    if (this.#inValue && this.#scalar && !this.#inArray && !this.#inString) this.#emit(Buffer.alloc(0))
    else if (this.#inValue)
      this.#fail(
        `the input ends inside ${this.#inString ? 'a string of ' : ''}the value that starts here`,
        this.#valueLine,
      )
    else if (this.#inArray) this.#fail('the input ends before the array that starts here is closed', this.#arrayLine)
    return this.#take()
  }

  /** One byte of a value; the end (exclusive) of the value when it is known. */
  #step(code: number, at: number): number | null {
    if (this.#scalar && !this.#inString) {
      return isBlank(code) || code === byte.lineFeed || code === byte.comma || code === byte.close ? at : null
    }
    if (code === byte.lineFeed) {
      if (this.#inString) this.#brokenString = true
      this.#newLine(at)
    }
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false
      else if (code === byte.backslash) this.#escaped = true
      else if (code === byte.quote) {
        this.#inString = false
        if (this.#scalar) return at + 1
      }
      return null
    }
    if (code === byte.quote) this.#inString = true
    else if (code === byte.openBrace || code === byte.open) this.#depth++
    else if (code === byte.closeBrace || code === byte.close) {
      this.#depth--
      if (this.#depth === 0) return at + 1
    }
    return null
  }

  /** A byte that is no blank, outside every value. */
  #between(code: number, at: number): void {
    if (code === byte.comma && this.#expect === 'next') this.#expect = 'value'
    else if (code === byte.close && (this.#expect === 'next' || this.#expect === 'first')) {
      this.#inArray = false
      this.#expect = 'top'
    } else if (code === byte.open && !this.#inArray) {
      this.#inArray = true
      this.#arrayLine = this.#line
      this.#expect = 'first'
    } else if (code === byte.comma || code === byte.close || code === byte.closeBrace || this.#expect === 'next') {
      const wanted = this.#expect === 'next' ? 'a comma or the end of the array' : 'a value'
      this.#fail(
        `expected ${wanted} at column ${this.#offset + at - this.#lineStart + 1}, found "${String.fromCharCode(code)}"`,
        this.#line,
      )
    } else {
      this.#inValue = true
      this.#valueLine = this.#line
      this.#scalar = code !== byte.openBrace && code !== byte.open
      this.#depth = this.#scalar ? 0 : 1
      this.#inString = code === byte.quote
      this.#escaped = false
      this.#brokenString = false
    }
  }

  #newLine(at: number): void {
    this.#line++
    this.#lineStart = this.#offset + at + 1
  }

  #emit(last: Buffer): void {
    const json = this.#parts.length === 0 ? flatten(last) : Buffer.concat([...this.#parts, flatten(last)])
    this.#parts = []
    this.#partsBytes = 0
    this.#inValue = false
    this.#expect = this.#inArray ? 'next' : 'top'
    if (this.#brokenString)
      this.#items.push(broken(this.#valueLine, 'a string contains a line break; write it as \\n', json, false))
    else this.#items.push({ kind: 'event', line: this.#valueLine, json })
  }

  #fail(reason: string, line: number): void {
    this.failed = true
    const raw = Buffer.concat(this.#parts).subarray(0, 1024)
    this.#items.push(broken(line, `${reason}; the rest of the input was not read`, raw, true))
  }

  #take(): InputItem[] {
    const items = this.#items
    this.#items = []
    return items
  }
}

function broken(line: number, reason: string, raw: Buffer, fatal: boolean): BrokenInput {
  return { kind: 'broken', line, code: 'invalid_json', path: null, reason, raw, fatal }
}

/** The same bytes with every line break turned into a space. */
function flatten(bytes: Buffer): Buffer {
  if (!bytes.includes(byte.lineFeed) && !bytes.includes(byte.carriageReturn)) return bytes
  const copy = Buffer.from(bytes)
  for (let at = 0; at < copy.length; at++) {
    if (copy[at] === byte.lineFeed || copy[at] === byte.carriageReturn) copy[at] = byte.space
  }
  return copy
}

function isBlank(code: number): boolean {
  return code === byte.space || code === byte.tab || code === byte.carriageReturn
}
