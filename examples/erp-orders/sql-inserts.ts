/** Reads the rows of a SQL dump: statements of the form `INSERT INTO table VALUES (...);`, one a line. */

export type SqlValue = string | number | null

/** The rows of each table, in the order of the file. @throws Error naming the line that is not understood */
export function parseInserts(sql: string): Map<string, SqlValue[][]> {
  const tables = new Map<string, SqlValue[][]>()
  sql.split(/\r?\n/).forEach((line, index) => {
    const start = /^INSERT INTO (\w+) VALUES \(/.exec(line)
    if (start?.[1] === undefined) return
    const values = parseValues(line, start[0].length)
    if (values === undefined) throw new Error(`line ${index + 1} of the dump is not an INSERT of plain values`)
    const rows = tables.get(start[1])
    if (rows === undefined) tables.set(start[1], [values])
    else rows.push(values)
  })
  return tables
}

/** The values from `at` to the closing bracket; undefined if there is anything but texts, numbers and NULL. */
function parseValues(line: string, at: number): SqlValue[] | undefined {
  const values: SqlValue[] = []
  // A text in quotes, in which a quote is doubled; a number; or NULL; and what ends it.
  const value = /\s*(?:'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(NULL))\s*(,|\);\s*$)/y
  value.lastIndex = at
  for (;;) {
    const found = value.exec(line)
    if (found === null) return undefined
    const [, quoted, digits, , end] = found
    values.push(quoted !== undefined ? quoted.replaceAll("''", "'") : digits !== undefined ? Number(digits) : null)
    if (end !== ',') return values
  }
}
