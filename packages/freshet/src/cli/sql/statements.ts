export interface SplitSql {
  /** Whole statements, without their semicolons. */
  statements: string[]
  /** What follows the last semicolon. */
  rest: string
}

/** Cuts SQL at its semicolons, not at those in strings, quoted names, dollar quotes and comments. Blank statements are left out. */
export function splitStatements(text: string): SplitSql {
  const statements: string[] = []
  let start = 0
  let at = 0
  while (at < text.length) {
    if (text[at] === ';') {
      const statement = text.slice(start, at)
      if (!isBlankSql(statement)) statements.push(statement.trim())
      at++
      start = at
    } else {
      at = skipToken(text, at)
    }
  }
  return { statements, rest: text.slice(start) }
}

/** Whether there is nothing in `text` but white space and comments. */
export function isBlankSql(text: string): boolean {
  let at = 0
  while (at < text.length) {
    if (/\s/.test(text[at]!)) at++
    else if (text.startsWith('--', at) || text.startsWith('/*', at)) at = skipToken(text, at)
    else return false
  }
  return true
}

/** The position behind the string, quoted name, comment or single character at `at`; the end of the text when it is not closed. */
function skipToken(text: string, at: number): number {
  const character = text[at]!
  if (character === "'")
    return closeQuote(text, at, "'", /[eE]/.test(text[at - 1] ?? '') && !/\w/.test(text[at - 2] ?? ''))
  if (character === '"') return closeQuote(text, at, '"', false)
  if (text.startsWith('--', at)) {
    const end = text.indexOf('\n', at)
    return end === -1 ? text.length : end + 1
  }
  if (text.startsWith('/*', at)) return closeComment(text, at)
  if (character === '$' && !/[\w$]/.test(text[at - 1] ?? '')) return closeDollar(text, at)
  return at + 1
}

function closeQuote(text: string, open: number, quote: string, backslashes: boolean): number {
  for (let at = open + 1; at < text.length; at++) {
    if (backslashes && text[at] === '\\') at++
    else if (text[at] === quote) {
      if (text[at + 1] !== quote) return at + 1
      at++
    }
  }
  return text.length
}

function closeComment(text: string, open: number): number {
  const end = text.indexOf('*/', open + 2)
  return end === -1 ? text.length : end + 2
}

/** `$tag$ ... $tag$`; a `$parameter` is one character more. */
function closeDollar(text: string, open: number): number {
  const tag = /^\$(?:[A-Za-z_]\w*)?\$/.exec(text.slice(open, open + 66))?.[0]
  if (tag === undefined) return open + 1
  const end = text.indexOf(tag, open + tag.length)
  return end === -1 ? text.length : end + tag.length
}

/** A name as SQL writes it, whatever characters it has. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
