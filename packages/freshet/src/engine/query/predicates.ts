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

/** What a condition compares in place of a time itself: the beginning of what the time lies in, or the date. */
export type Floor = 'date' | 'second' | 'minute' | 'hour' | 'day' | 'week' | 'month' | 'quarter' | 'year'

/** A condition on a column, by its name as the statement has it. */
export interface Condition {
  column: string
  floor?: Floor
  test: Comparison | 'in' | 'starts with' | 'is null' | 'is not null'
  /** What it is compared with: one for comparisons, all of a list for `in`. */
  values: readonly Node[]
}

/** What a comparison compares: a column, or what its time lies in. */
interface Compared {
  column: Node
  floor?: Floor
}

type Found = Compared & Pick<Condition, 'test' | 'values'>

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
const floors = new Set<string>(['second', 'minute', 'hour', 'day', 'week', 'month', 'quarter', 'year'])
const truncating = new Set(['date_trunc', 'datetrunc'])
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
    for (const { column, ...condition } of this.#read(expression)) {
      const names = (column['column_names'] as string[]).map(folded)
      const source = sourceOf(names, sources, aliases)
      if (source === undefined || !source.isFree || (condition.test === 'is null' && source.isOptional)) continue
      const conditions = this.#found.get(source.node) ?? []
      conditions.push({ column: names.at(-1)!, ...condition })
      this.#found.set(source.node, conditions)
    }
  }

  #read(expression: Node): Found[] {
    const type = String(expression['type'])
    switch (expression['class']) {
      case 'COMPARISON': {
        const [left, right] = [expression['left'] as Node, expression['right'] as Node]
        const [onLeft, onRight] = [comparedIn(left), comparedIn(right)]
        if (onLeft) return this.#condition(onLeft, comparisons[type], [right])
        return onRight ? this.#condition(onRight, flipped[type], [left]) : []
      }
      case 'BETWEEN': {
        const input = comparedIn(expression['input'] as Node)
        const bounds = [expression['lower'] as Node, expression['upper'] as Node]
        // Both, so that the types can be seen to agree.
        return input === undefined
          ? []
          : [...this.#condition(input, '>=', bounds), ...this.#condition(input, '<=', bounds.toReversed())]
      }
      case 'OPERATOR': {
        const [child, ...values] = expression['children'] as [Node, ...Node[]]
        const compared = comparedIn(child)
        if (compared && type === 'COMPARE_IN') return this.#condition(compared, 'in', values)
        if (!isColumn(child)) return []
        if (type === 'OPERATOR_IS_NULL') return this.#condition({ column: child }, 'is null', [])
        return type === 'OPERATOR_IS_NOT_NULL' ? this.#condition({ column: child }, 'is not null', []) : []
      }
      case 'FUNCTION': {
        const name = String(expression['function_name'])
        const [column, pattern, ...others] = expression['children'] as Node[]
        if (!column || !pattern || others.length > 0 || !isColumn(column)) return []
        if (prefixFunctions.has(name)) return this.#condition({ column }, 'starts with', [pattern])
        return name === '~~' ? this.#like(column, pattern) : []
      }
      default:
        return []
    }
  }

  #condition(compared: Compared, test: Condition['test'] | undefined, values: readonly Node[]): Found[] {
    if (test === undefined || values.some((value) => !this.#isConstant(value))) return []
    return [{ ...compared, test, values }]
  }

  /** A pattern begins with a text; LIKE without ESCAPE has no other special characters than these two. */
  #like(column: Node, pattern: Node): Found[] {
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

/** `column`, `column::date`, or `date_trunc('day', column)`. */
function comparedIn(node: Node): Compared | undefined {
  if (isColumn(node)) return { column: node }
  if (node['class'] === 'CAST') {
    const child = node['child'] as Node
    return isColumn(child) && (node['cast_type'] as Node)['id'] === 'DATE'
      ? { column: child, floor: 'date' }
      : undefined
  }
  if (node['class'] !== 'FUNCTION' || !truncating.has(folded(node['function_name']))) return undefined
  const [unit, column, ...others] = node['children'] as Node[]
  if (!unit || !column || others.length > 0 || !isColumn(column) || unit['class'] !== 'CONSTANT') return undefined
  const name = folded((unit['value'] as Node)['value'])
  return floors.has(name) ? { column, floor: name as Floor } : undefined
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
