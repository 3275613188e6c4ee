/** How text without a type of its own (a CSV cell, a query parameter) becomes a JSON value. */
export type CellType = 'auto' | 'string' | 'number' | 'boolean' | 'json'

export const cellTypes: readonly CellType[] = ['auto', 'string', 'number', 'boolean', 'json']

const plainNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/
const jsonNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/

/**
 * The JSON text of a cell; undefined when it cannot be of that type.
 * `auto` takes true and false as booleans and a number as a number, but only where nothing of it could get lost: no leading
 * zeros or plus sign, no exponent, no more digits than a double holds. Everything else is a string. A number's digits are
 * kept as written.
 */
export function cellJson(text: string, type: CellType): string | undefined {
  switch (type) {
    case 'string':
      return JSON.stringify(text)
    case 'number':
      return numberJson(text.trim())
    case 'boolean':
      return booleanJson(text.trim().toLowerCase())
    case 'json':
      return isJson(text) ? text.replace(/[\r\n]+/g, ' ') : undefined
    case 'auto':
      if (text === 'true' || text === 'false') return text
      return isExactNumber(text) ? text : JSON.stringify(text)
  }
}

/** Whether `text` is a decimal number that a double holds without losing a digit. */
export function isExactNumber(text: string): boolean {
  const first = text.charCodeAt(0)
  // Most cells that are no number end here: the first character is neither a minus sign nor a digit.
  if (first !== 45 && (first < 48 || first > 57)) return false
  if (text.length > 300 || !plainNumber.test(text)) return false
  if (text.length <= 15) return true
  const significant = text.replace(/^-?[0.]*/, '').replace('.', '')
  if (significant.length <= 15) return true
  return String(Number(text)) === withoutTrailingZeros(text)
}

function withoutTrailingZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}

function numberJson(text: string): string | undefined {
  if (jsonNumber.test(text)) return text
  const value = Number(text)
  return text !== '' && Number.isFinite(value) && /^[+-]?[\d.]/.test(text) && !/[xob]/i.test(text)
    ? String(value)
    : undefined
}

function booleanJson(text: string): string | undefined {
  if (['true', 't', 'yes', 'y', '1'].includes(text)) return 'true'
  return ['false', 'f', 'no', 'n', '0'].includes(text) ? 'false' : undefined
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
