import { isUtf8 } from 'node:buffer'
import { cellJson, type CellType } from '../cell-types.ts'
import { usageError } from '../exit-codes.ts'
import { CsvRecord } from './csv-record.ts'
import { itemBytesMax, type BrokenInput, type InputItem } from './input-item.ts'
import { readLines, type Line } from './lines.ts'

export interface CsvOptions {
  delimiter: string
  /** Names of the columns; null: the first record holds them. */
  header: readonly string[] | null
  /** `auto` or `string`, for columns that `columnTypes` does not name. */
  types: 'auto' | 'string'
  columnTypes: Readonly<Record<string, CellType>>
  /** Cells of this text become JSON null; null: none do. */
  nullText: string | null
}

/**
 * Events of CSV text, one a record. A record that breaks the rules is reported with its first line and reading goes on at the
 * line after that, so that a stray quote cannot swallow the rest of the file.
 * An empty cell of an `auto` column is left out of the event.
 * @throws FreshetError `invalid_usage` when the header is unusable
 */
export async function* readCsv(chunks: AsyncIterable<Buffer>, options: CsvOptions): AsyncGenerator<InputItem[]> {
  const reader = new CsvReader(options)
  for await (const lines of readLines(chunks, itemBytesMax)) {
    const items = reader.push(lines)
    if (items.length > 0) yield items
  }
  const rest = reader.end()
  if (rest.length > 0) yield rest
}

interface ColumnPlan {
  name: string
  /** `"name":`, ready to be put in front of the value. */
  key: string
  type: CellType
}

class CsvReader {
  readonly #options: CsvOptions
  #columns: ColumnPlan[] | null = null
  #items: InputItem[] = []
  #record: CsvRecord | null = null
  /** Lines of the record that is still open. */
  #lines: Line[] = []
  #bytes = 0

  constructor(options: CsvOptions) {
    this.#options = options
    if (options.header !== null) this.#columns = planColumns(options.header, options)
  }

  push(lines: readonly Line[]): InputItem[] {
    for (const line of lines) this.#add(line)
    return this.#take()
  }

  end(): InputItem[] {
    while (this.#record !== null) this.#breakOff('a quoted field is not closed before the end of the input')
    return this.#take()
  }

  #add(line: Line): void {
    if (line.tooLong) {
      if (this.#record !== null) this.#breakOff('a quoted field runs into a line that is too long')
      this.#reject(line, `the line is longer than ${itemBytesMax} bytes`, 'event_too_large')
      return
    }
    if (!isUtf8(line.bytes)) {
      if (this.#record !== null) this.#breakOff('a quoted field runs into a line that is not UTF-8')
      this.#reject(line, 'the line is not UTF-8 text')
      return
    }
    if (this.#record === null) {
      if (line.bytes.length === 0 || (line.bytes.length === 1 && line.bytes[0] === 13)) return
      this.#record = new CsvRecord(this.#options.delimiter)
    }
    this.#lines.push(line)
    this.#bytes += line.bytes.length
    const state = this.#record.add(line.bytes.toString())
    if (state === 'whole') this.#finish(this.#record.fields)
    else if (state === 'broken') this.#breakOff(this.#record.reason)
    else if (this.#bytes > itemBytesMax) this.#breakOff(`a quoted field is not closed within ${itemBytesMax} bytes`)
  }

  #finish(fields: readonly string[]): void {
    const line = this.#lines[0]!
    const raw = this.#lines
    this.#record = null
    this.#lines = []
    this.#bytes = 0
    if (this.#columns === null) {
      this.#columns = planColumns(fields, this.#options)
      return
    }
    if (fields.length !== this.#columns.length) {
      const reason = `the record has ${fields.length} fields, the header ${this.#columns.length}`
      this.#reject({ ...line, bytes: joinLines(raw) }, reason)
      return
    }
    const event = eventJson(fields, this.#columns, this.#options)
    if (typeof event === 'string') this.#items.push({ kind: 'event', line: line.number, json: Buffer.from(event) })
    else this.#reject({ ...line, bytes: joinLines(raw) }, event.reason, 'invalid_csv', event.path)
  }

  /** Gives the first line of the open record up and reads the lines after it anew. */
  #breakOff(reason: string): void {
    const [first, ...rest] = this.#lines
    this.#record = null
    this.#lines = []
    this.#bytes = 0
    if (first === undefined) return
    if (this.#columns === null) {
      throw usageError(
        `The CSV header in line ${first.number} cannot be read: ${reason}.`,
        'Mend it, or name the columns by --header.',
      )
    }
    this.#reject(first, reason)
    for (const line of rest) this.#add(line)
  }

  #reject(line: Line, reason: string, code: BrokenInput['code'] = 'invalid_csv', path: string | null = null): void {
    this.#items.push({ kind: 'broken', line: line.number, code, path, reason, raw: line.bytes, fatal: false })
  }

  #take(): InputItem[] {
    const items = this.#items
    this.#items = []
    return items
  }
}

function joinLines(lines: readonly Line[]): Buffer {
  return lines.length === 1 ? lines[0]!.bytes : Buffer.from(lines.map((line) => line.bytes.toString()).join('\n'))
}

function planColumns(names: readonly string[], options: CsvOptions): ColumnPlan[] {
  const seen = new Set<string>()
  const columns = names.map((written, index) => {
    const name = written.trim()
    if (name === '') {
      throw usageError(
        `Column ${index + 1} of the CSV header has no name.`,
        'Name it, or give all names by --header a,b,c.',
      )
    }
    if (seen.has(name))
      throw usageError(`The CSV header has two columns "${name}".`, 'Rename one, or give all names by --header a,b,c.')
    seen.add(name)
    return { name, key: `${JSON.stringify(name)}:`, type: options.columnTypes[name] ?? options.types }
  })
  const unknown = Object.keys(options.columnTypes).find((name) => !seen.has(name))
  if (unknown !== undefined)
    throw usageError(`--type names a column "${unknown}" that the CSV has not.`, `It has ${[...seen].join(', ')}.`)
  return columns
}

function eventJson(
  fields: readonly string[],
  columns: readonly ColumnPlan[],
  options: CsvOptions,
): string | { path: string; reason: string } {
  let json = '{'
  for (let index = 0; index < columns.length; index++) {
    const text = fields[index]!
    const { name, key, type } = columns[index]!
    let value: string | undefined
    if (text === options.nullText) value = 'null'
    else if (text === '' && type !== 'string') continue
    else value = cellJson(text, type)
    if (value === undefined) {
      return {
        path: `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`,
        reason: `${JSON.stringify(text.slice(0, 60))} is not a ${type}`,
      }
    }
    json += json.length === 1 ? key + value : `,${key}${value}`
  }
  return `${json}}`
}
