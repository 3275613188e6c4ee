/** DuckDB's syntax tree, as `json_serialize_sql` writes it. */
export type Node = { [key: string]: unknown }

/** A name as DuckDB compares names: ASCII letters in lower case, all others as they are. */
export function folded(name: unknown): string {
  return String(name).replace(/[A-Z]/g, (letter) => letter.toLowerCase())
}

/** Where a node begins in the statement, a character offset; undefined for one that stands nowhere. The tree counts bytes. */
export function offsetOf(node: Node, sql: string): number | undefined {
  const location = node['query_location']
  if (typeof location !== 'number') return undefined
  const bytes = Buffer.from(sql, 'utf8')
  return location < bytes.length ? bytes.toString('utf8', 0, location).length : undefined
}

/** Calls `visit` with each object in a tree. */
export function eachNode(value: unknown, visit: (node: Node) => void): void {
  if (typeof value !== 'object' || value === null) return
  if (!Array.isArray(value)) visit(value as Node)
  for (const child of Object.values(value)) eachNode(child, visit)
}

/** Names of the parameters in a tree. */
export function parametersIn(tree: unknown): Set<string> {
  const names = new Set<string>()
  eachNode(tree, (node) => {
    if (node['class'] === 'PARAMETER') names.add(String(node['identifier']))
  })
  return names
}
