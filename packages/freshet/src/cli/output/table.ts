import measure from 'fast-string-truncated-width'
import { sanitiseCell } from './sanitise.ts'
import type { Style } from './style.ts'

export interface TableColumn {
  name: string
  align?: 'left' | 'right'
}

export interface TableOptions {
  /** Columns of the terminal; undefined: nothing is shortened. */
  width?: number | undefined
  style: Style
  /** Widest a cell may be when `width` is given. */
  cellWidthMax?: number
}

export interface RenderedTable {
  /** Lines, each ended by a line feed. */
  text: string
  /** Cells that were shortened. */
  shortenedCells: number
  /** Names of the columns that did not fit. */
  hiddenColumns: string[]
}

const gap = 2
const columnWidthMin = 6

/** How many terminal cells `text` takes: wide characters take two, combining marks none. */
export function displayWidth(text: string): number {
  return measure(text).width
}

/** `text` shortened to `width` terminal cells, its last one an ellipsis. */
export function shorten(text: string, width: number): string {
  const result = measure(text, { limit: width, ellipsis: '…', ellipsisWidth: 1 })
  return result.truncated || result.ellipsed ? `${text.slice(0, result.index)}…` : text
}

/**
 * An aligned table. Cells are text already; null prints as a dim NULL. Without a width every cell is whole. With one, cells
 * are shortened to 60 or `cellWidthMax`, then the widest columns further, then columns are left off at the right.
 */
export function renderTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly (string | null)[])[],
  options: TableOptions,
): RenderedTable {
  const { width, style } = options
  const heads = columns.map((column) => sanitiseCell(column.name))
  const cells = rows.map((row) => columns.map((_, index) => cellText(row[index] ?? null)))
  const natural = heads.map((head, index) =>
    cells.reduce((most, row) => Math.max(most, displayWidth(row[index]!)), displayWidth(head)),
  )
  const widths = width === undefined ? natural : fit(natural, width, options.cellWidthMax ?? 60)
  const shown = widths.length
  let shortenedCells = 0

  const line = (texts: readonly string[], paint: (text: string, index: number) => string): string => {
    const parts: string[] = []
    for (let index = 0; index < shown; index++) {
      const room = widths[index]!
      let text = texts[index]!
      if (displayWidth(text) > room) {
        text = shorten(text, room)
        shortenedCells++
      }
      const padding = ' '.repeat(Math.max(0, room - displayWidth(text)))
      const painted = paint(text, index)
      if (columns[index]!.align === 'right') parts.push(padding + painted)
      else parts.push(index === shown - 1 ? painted : painted + padding)
    }
    return `${parts.join(' '.repeat(gap))}\n`
  }

  let text = line(heads, (part) => style.bold(part))
  text += `${style.dim(widths.map((room) => '─'.repeat(room)).join(' '.repeat(gap)))}\n`
  rows.forEach((row, at) => {
    text += line(cells[at]!, (part, index) => ((row[index] ?? null) === null ? style.dim(part) : part))
  })
  return { text, shortenedCells, hiddenColumns: heads.slice(shown) }
}

function cellText(value: string | null): string {
  return value === null ? 'NULL' : sanitiseCell(value)
}

/** Widths of the columns that fit into `width`, in order; at least the first. */
function fit(natural: readonly number[], width: number, cellWidthMax: number): number[] {
  const widths = natural.map((room) => Math.min(room, cellWidthMax, Math.max(1, width)))
  const total = (): number => widths.reduce((sum, room) => sum + room, 0) + gap * (widths.length - 1)
  while (widths.length > 1) {
    const least = widths.reduce((sum, room) => sum + Math.min(room, columnWidthMin), 0) + gap * (widths.length - 1)
    if (least <= width) break
    widths.pop()
  }
  for (let over = total() - width; over > 0; over = total() - width) {
    const widest = Math.max(...widths)
    if (widest <= columnWidthMin) break
    const second = Math.max(columnWidthMin, ...widths.filter((room) => room < widest))
    const count = widths.filter((room) => room === widest).length
    const cut = Math.max(1, Math.min(widest - second, Math.ceil(over / count)))
    let left = over
    for (let index = widths.length - 1; index >= 0 && left > 0; index--) {
      if (widths[index] !== widest) continue
      const take = Math.min(cut, left)
      widths[index] = widest - take
      left -= take
    }
  }
  return widths
}
