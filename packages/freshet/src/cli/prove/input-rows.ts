/** Rows of the files that `--input` names. They are read by what `freshet send` reads files with: this is the sending side. */
import { basename } from 'node:path'
import type { CliContext } from '../context.ts'
import { usageError } from '../exit-codes.ts'
import { isExactNumber } from '../cell-types.ts'
import { findSources, openInput, shapeOf, type Source } from '../send/input.ts'
import type { InputItem } from '../send/input-item.ts'
import { onlyZippedFile } from './zip-file.ts'

export interface InputRow {
  /** Name of the file. */
  file: string
  /** Line of the file that the row begins on, from 1. */
  line: number
  /** The row as a JSON object. */
  json: Buffer
}

/** Files whose rows can be read again and again. */
export class InputFiles {
  /** Rows that could not be read in the last pass. */
  broken = 0
  readonly #sources: readonly Source[]
  readonly #columns: readonly string[] | null

  private constructor(sources: readonly Source[], columns: readonly string[] | null) {
    this.#sources = sources
    this.#columns = columns
  }

  /** @throws FreshetError `invalid_usage` for files that cannot be read */
  static async find(
    files: readonly string[],
    columns: readonly string[] | null,
    context: CliContext,
  ): Promise<InputFiles> {
    if (files.includes('-')) throw usageError('--input needs files: they are read twice, and a pipe can be read once.')
    const found = await findSources(files, context)
    const pipe = found.find(({ path }) => path === null)
    if (pipe !== undefined) throw usageError(`${pipe.label} is no regular file, and cannot be read twice.`)
    const sources = await Promise.all(found.map((source) => unzipped(source)))
    return new InputFiles(sources, columns)
  }

  /** All rows, in order, some at a time. */
  async *rows(): AsyncGenerator<InputRow[]> {
    this.broken = 0
    for (const source of this.#sources) {
      const file = basename(source.label)
      for await (const items of this.#items(source)) {
        const rows: InputRow[] = []
        for (const item of items) {
          if (item.kind === 'event') rows.push({ file, line: item.line, json: item.json })
          else this.broken++
        }
        if (rows.length > 0) yield rows
      }
    }
  }

  async *#items(source: Source): AsyncGenerator<InputItem[]> {
    const shape = shapeOf(source.label, { format: null, delimiter: null })
    const header = this.#columns ?? (shape.format === 'csv' ? await namesFor(source, shape.delimiter) : null)
    const csv = { header, types: 'auto', columnTypes: {}, nullText: null } as const
    const input = await openInput(source, shape, { csv, onBytes: () => undefined })
    try {
      yield* input.items
    } finally {
      input.close()
    }
  }
}

/** What is in a zip archive; any other file as it is. */
async function unzipped(source: Source): Promise<Source> {
  if (!/\.zip$/i.test(source.label)) return source
  const { name, size, open } = await onlyZippedFile(source.path!, source.label)
  return { label: name, path: source.path, size, open }
}

/** Names for the columns of CSV without a header: a first line with a number in it is none. null: the first line has them. */
async function namesFor(source: Source, delimiter: string): Promise<string[] | null> {
  const { packing } = shapeOf(source.label, { format: null, delimiter: null })
  const input = await openInput(
    source,
    { format: 'ndjson', delimiter, packing },
    {
      csv: { header: null, types: 'auto', columnTypes: {}, nullText: null },
      onBytes: () => undefined,
    },
  )
  try {
    for await (const [first] of input.items) {
      if (first?.kind !== 'event') return null
      const cells = first.json.toString().split(delimiter)
      return cells.some((cell) => isExactNumber(cell.trim())) ? cells.map((_, index) => `c${index + 1}`) : null
    }
    return null
  } finally {
    input.close()
  }
}
