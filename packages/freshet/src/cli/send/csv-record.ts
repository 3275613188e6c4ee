/** What one more line made of a record: it is whole, or it goes on in the next line, or it breaks the rules of quoting. */
export type RecordState = 'whole' | 'open' | 'broken'

/**
 * Puts the fields of one CSV record together from its lines (RFC 4180). A quote means something only at the beginning of a
 * field, so that `5" pipe` is a plain field.
 */
export class CsvRecord {
  fields: string[] = []
  /** Why the record is broken. */
  reason = ''
  readonly #delimiter: string
  #open: string | null = null

  constructor(delimiter: string) {
    this.#delimiter = delimiter
  }

  /** Adds a line, without its line feed. A carriage return at the end belongs to the record only inside quotes. */
  add(line: string): RecordState {
    let at = 0
    if (this.#open !== null) {
      at = this.#quoted(line, 0, `${this.#open}\n`)
      if (at === -1) return this.reason === '' ? 'open' : 'broken'
    }
    const end = line.endsWith('\r') ? line.length - 1 : line.length
    if (at === 0 && !line.includes('"')) {
      this.fields = (end === line.length ? line : line.slice(0, end)).split(this.#delimiter)
      return 'whole'
    }
    // `at` is a position where a field begins, or just behind one that was quoted.
    let afterField = at > 0
    for (;;) {
      if (afterField) {
        if (at >= end) return 'whole'
        at += this.#delimiter.length
      }
      afterField = true
      if (line[at] === '"') {
        at = this.#quoted(line, at + 1, '')
        if (at === -1) return this.reason === '' ? 'open' : 'broken'
        continue
      }
      let stop = line.indexOf(this.#delimiter, at)
      if (stop === -1 || stop > end) stop = end
      this.fields.push(line.slice(at, stop))
      at = stop
    }
  }

  /**
   * Reads a quoted field from `from`, behind its opening quote, `before` being what earlier lines held of it.
   * Returns the position behind its closing quote; -1 when the line ends first or something else follows the quote.
   */
  #quoted(line: string, from: number, before: string): number {
    let text = before
    let at = from
    for (;;) {
      const quote = line.indexOf('"', at)
      if (quote === -1) {
        this.#open = text + line.slice(at)
        return -1
      }
      text += line.slice(at, quote)
      if (line[quote + 1] === '"') {
        text += '"'
        at = quote + 2
        continue
      }
      this.#open = null
      this.fields.push(text)
      const next = quote + 1
      const ends =
        next >= line.length ||
        (line[next] === '\r' && next === line.length - 1) ||
        line.startsWith(this.#delimiter, next)
      if (ends) return next
      this.reason = `a closing quote is followed by ${JSON.stringify(line[next])} at column ${next + 1}; a quote inside a field is written twice`
      return -1
    }
  }
}
