/**
 * What a statement's WHERE and INNER JOIN ... ON demand of the rows of each stream that it reads: comparisons of one of its columns with
 * constants, all of which a row must meet to matter to the answer. By them files are left out that have no such row.
 *
 * A condition counts only when it is sure whose column it speaks of, and that rows which fail it change nothing: not on the inner
 * side of a join whose choice of rows is by order (ASOF, POSITIONAL), not behind a sample, and IS NULL not where a join fills in nulls.
 * All that is not understood is passed over: then more files are read.
 */
import { constantNode, isConstant } from './constants.ts'
import type { Parameters } from './parameters.ts'
import { eachNode, folded, type Node } from './syntax.ts'

type Comparison = '=' | '<' | '<=' | '>' | '>='

/** A condition on a column, by its name as the statement has it. */
export interface Condition {
  column: string
  test: Comparison | 'in' | 'starts with' | 'is null' | 'is not null'
  /** What it is compared with: one for comparisons, all of a list for `in`. */
  values: readonly Node[]
}

/** Something that a FROM has. */
interface Source {
  node: Node
  /** What columns are qualified with, folded. */
  name: string
  /** Folded; undefined when they are not known. */
  columns: ReadonlySet<string> | undefined
  /** False when leaving out rows could change more than those rows. */
  isFree: boolean
  /** Whether a join may show nulls in place of its rows. */
  isOptional: boolean
}

/**
 * The conditions on each reference.
 * @param columnsOf the columns of a reference to a stream, by its BASE_TABLE node; undefined for any other
 */
export function conditionsIn(
  tree: Node,
  columnsOf: (node: Node) => readonly string[] | undefined,
  parameters: Parameters,
): Map<Node, Condition[]> {
  const found = new Map<Node, Condition[]>()
  const finder = new Finder(columnsOf, parameters, found)
  eachNode(tree, (node) => {
    if (node['type'] === 'SELECT_NODE' && node['from_table']) finder.select(node, node === tree['node'])
  })
  return found
}

const flipped: Readonly<Record<string, Comparison>> = {
  COMPARE_EQUAL: '=',
  COMPARE_LESSTHAN: '>',
  COMPARE_LESSTHANOREQUALTO: '>=',
  COMPARE_GREATERTHAN: '<',
  COMPARE_GREATERTHANOREQUALTO: '<=',
}
const comparisons: Readonly<Record<string, Comparison>> = {
  COMPARE_EQUAL: '=',
  COMPARE_LESSTHAN: '<',
  COMPARE_LESSTHANOREQUALTO: '<=',
  COMPARE_GREATERTHAN: '>',
  COMPARE_GREATERTHANOREQUALTO: '>=',
}
/** Names that stand for a call where no column has them. */
const clockFunctions: Readonly<Record<string, string>> = { current_date: 'today', current_timestamp: 'now' }
const prefixFunctions = new Set(['^@', 'starts_with', 'prefix'])

class Finder {
  readonly #columnsOf: (node: Node) => readonly string[] | undefined
  readonly #parameters: Parameters
  readonly #found: Map<Node, Condition[]>

  constructor(
    columnsOf: (node: Node) => readonly string[] | undefined,
    parameters: Parameters,
    found: Map<Node, Condition[]>,
  ) {
    this.#columnsOf = columnsOf
    this.#parameters = parameters
    this.#found = found
  }

  /** @param isOutermost whether no name in it can be one of a query around it */
  select(node: Node, isOutermost: boolean): void {
    const sources = this.#sources(node['from_table'] as Node, node['sample'] === null)
    const aliases = new Set<string>()
    for (const item of node['select_list'] as Node[]) if (item['alias']) aliases.add(folded(item['alias']))
    const where = node['where_clause'] as Node | null
    if (!where) return
    const taken = (name: string): boolean =>
      aliases.has(name) || sources.some(({ columns }) => columns === undefined || columns.has(name))
    const clocks = Object.keys(clockFunctions).filter((name) => isOutermost && !taken(name))
    this.#demand(withClocks(where, new Set(clocks)) as Node, sources, aliases)
  }

  /** The sources below a FROM item. Conditions of inner joins are taken on the way. */
  #sources(node: Node, isFree: boolean): Source[] {
    const free = isFree && (node['sample'] === null || node['sample'] === undefined)
    if (node['type'] !== 'JOIN') return [this.#source(node, free)]
    const kind = String(node['join_type'])
    const way = String(node['ref_type'])
    const isPlain = way === 'REGULAR' || way === 'NATURAL' || way === 'CROSS'
    const known = isPlain && ['INNER', 'LEFT', 'RIGHT', 'OUTER', 'SEMI', 'ANTI'].includes(kind)
    const isAsof = way === 'ASOF' && (kind === 'INNER' || kind === 'LEFT')
    const hidesRight = kind === 'SEMI' || kind === 'ANTI'
    const left = this.#sources(node['left'] as Node, free && (known || isAsof))
    const right = this.#sources(node['right'] as Node, free && known && !hidesRight)
    const both = [...left, ...right]
    const condition = node['condition'] as Node | null
    if (known && kind === 'INNER' && condition) this.#demand(condition, both, new Set())
    if (!known || kind === 'RIGHT' || kind === 'OUTER') for (const source of left) source.isOptional = true
    if (!known || kind === 'LEFT' || kind === 'OUTER') for (const source of right) source.isOptional = true
    return both
  }

  #source(node: Node, isFree: boolean): Source {
    const columns = node['type'] === 'BASE_TABLE' ? this.#columnsOf(node) : undefined
    const renamed = ((node['column_name_alias'] as unknown[] | undefined) ?? []).length > 0
    const { alias, table_name: table } = node as { alias?: string; table_name?: string }
    const name = folded(alias || table || '')
    const known = columns !== undefined && !renamed
    return {
      node,
      name,
      columns: known ? new Set(columns.map(folded)) : undefined,
      isFree: isFree && known,
      isOptional: false,
    }
  }

  /** @param aliases names of the select list, which a bare name could mean as well */
  #demand(expression: Node, sources: readonly Source[], aliases: ReadonlySet<string>): void {
    if (expression['type'] === 'CONJUNCTION_AND') {
      for (const child of expression['children'] as Node[]) this.#demand(child, sources, aliases)
      return
    }
    for (const { column, test, values } of this.#read(expression)) {
      const names = (column['column_names'] as string[]).map(folded)
      const source = sourceOf(names, sources, aliases)
      if (source === undefined || !source.isFree || (test === 'is null' && source.isOptional)) continue
      const conditions = this.#found.get(source.node) ?? []
      conditions.push({ column: names.at(-1)!, test, values })
      this.#found.set(source.node, conditions)
    }
  }

  #read(expression: Node): (Omit<Condition, 'column'> & { column: Node })[] {
    const type = String(expression['type'])
    switch (expression['class']) {
      case 'COMPARISON': {
        const left = expression['left'] as Node
        const right = expression['right'] as Node
        if (isColumn(left)) return this.#condition(left, comparisons[type], [right])
        return isColumn(right) ? this.#condition(right, flipped[type], [left]) : []
      }
      case 'BETWEEN': {
        const input = expression['input'] as Node
        const bounds = [expression['lower'] as Node, expression['upper'] as Node]
        if (!isColumn(input) || bounds.some((bound) => !this.#isConstant(bound))) return []
        // Both, so that the types can be seen to agree.
        return [
          { column: input, test: '>=', values: bounds },
          { column: input, test: '<=', values: bounds.toReversed() },
        ]
      }
      case 'OPERATOR': {
        const [column, ...values] = expression['children'] as [Node, ...Node[]]
        if (!isColumn(column)) return []
        if (type === 'COMPARE_IN') return this.#condition(column, 'in', values)
        if (type === 'OPERATOR_IS_NULL') return this.#condition(column, 'is null', [])
        return type === 'OPERATOR_IS_NOT_NULL' ? this.#condition(column, 'is not null', []) : []
      }
      case 'FUNCTION': {
        const name = String(expression['function_name'])
        const [column, pattern, ...others] = expression['children'] as Node[]
        if (!column || !pattern || others.length > 0 || !isColumn(column)) return []
        if (prefixFunctions.has(name)) return this.#condition(column, 'starts with', [pattern])
        return name === '~~' ? this.#like(column, pattern) : []
      }
      default:
        return []
    }
  }

  #condition(
    column: Node,
    test: Condition['test'] | undefined,
    values: readonly Node[],
  ): (Omit<Condition, 'column'> & { column: Node })[] {
    if (test === undefined || values.some((value) => !this.#isConstant(value))) return []
    return [{ column, test, values }]
  }

  /** A pattern begins with a text; LIKE without ESCAPE has no other special characters than these two. */
  #like(column: Node, pattern: Node): (Omit<Condition, 'column'> & { column: Node })[] {
    const parameter = pattern['class'] === 'PARAMETER' ? this.#parameters[String(pattern['identifier'])] : undefined
    const constant = pattern['class'] === 'CONSTANT' ? (pattern['value'] as Node)['value'] : parameter
    if (typeof constant !== 'string') return []
    const [prefix] = /^[^%_]*/.exec(constant)!
    if (prefix === '') return []
    return [{ column, test: 'starts with', values: [constantNode('VARCHAR', prefix)] }]
  }

  #isConstant(node: Node): boolean {
    return isConstant(node, this.#parameters)
  }
}

/** The tree with calls in place of these names. */
function withClocks(value: unknown, names: ReadonlySet<string>): unknown {
  if (names.size === 0 || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item) => withClocks(item, names))
  const column = value as Node
  const [name = '', ...others] = isColumn(column) ? (column['column_names'] as string[]).map(folded) : []
  if (others.length > 0 || !names.has(name)) {
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, withClocks(member, names)]))
  }
  return {
    class: 'FUNCTION',
    type: 'FUNCTION',
    alias: '',
    function_name: clockFunctions[name],
    schema: '',
    children: [],
    filter: null,
    order_bys: { type: 'ORDER_MODIFIER', orders: [] },
    distinct: false,
    is_operator: false,
    export_state: false,
    catalog: '',
  }
}

function isColumn(node: Node): boolean {
  return node['class'] === 'COLUMN_REF'
}

/** Whose column a name is; undefined when that is not certain. */
function sourceOf(
  names: readonly string[],
  sources: readonly Source[],
  aliases: ReadonlySet<string>,
): Source | undefined {
  const [first = '', second] = names
  if (names.length === 1) {
    if (aliases.has(first) || sources.some(({ columns }) => columns === undefined)) return undefined
    const having = sources.filter(({ columns }) => columns!.has(first))
    return having.length === 1 ? having[0] : undefined
  }
  if (names.length !== 2) return undefined
  const named = sources.filter(({ name }) => name === first)
  // What looks like a table's name may be a column with fields.
  if (named.length !== 1 || sources.some(({ columns }) => columns?.has(first) === true)) return undefined
  return named[0]!.columns?.has(second!) === true ? named[0] : undefined
}
