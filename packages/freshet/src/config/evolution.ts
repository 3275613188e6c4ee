/**
 * How a stream's fields changed their names, and which are to go: `renames` and `drop`, checked against the stream's columns where
 * those are declared. What the tables hold is not known here: that is for the plan of changes (engine/evolution/).
 */
import { formatFieldPath, parseFieldPath, samePath } from './field-path.ts'
import { keyPath, mistake, quoted, type Mistake } from './mistakes.ts'
import type { Column, ColumnType, FieldPath, Rename, StreamPlan } from './plan.ts'
import { nearest } from './spelling.ts'

interface EvolutionWords {
  renames?: Record<string, string[]> | undefined
  drop?: string[] | undefined
  id?: string | undefined
  time?: string | undefined
  sort?: string | undefined
}

type StreamEvolution = Pick<StreamPlan, 'renames' | 'drops'>

/**
 * What a stream's plan has of renames and drops, or everything that is wrong with them.
 * @param columns the declared ones; null when they are inferred
 */
export function planEvolution(
  words: EvolutionWords,
  columns: readonly Column[] | null,
  key: string,
): StreamEvolution | Mistake[] {
  const check = new EvolutionCheck(words, columns, key)
  for (const [path, former] of Object.entries(words.renames ?? {})) check.rename(path, former)
  for (const path of words.drop ?? []) check.drop(path)
  const { mistakes, renames, drops } = check
  if (mistakes.length > 0) return mistakes
  return { ...(renames.length === 0 ? {} : { renames }), ...(drops.length === 0 ? {} : { drops }) }
}

class EvolutionCheck {
  readonly mistakes: Mistake[] = []
  readonly renames: Rename[] = []
  readonly drops: string[][] = []
  readonly #words: EvolutionWords
  readonly #columns: readonly Column[] | null
  readonly #key: string
  /** Paths that are spoken of already, each with what says so. */
  readonly #taken: { path: FieldPath; key: string }[] = []

  constructor(words: EvolutionWords, columns: readonly Column[] | null, key: string) {
    this.#words = words
    this.#columns = columns
    this.#key = key
  }

  rename(text: string, former: readonly string[]): void {
    const key = `${this.#key}.${keyPath('renames', text)}`
    const path = this.#path(text, key)
    if (path === undefined || !this.#isDeclared(path, key) || !this.#isFree(path, key)) return
    const names: string[] = []
    for (const one of former) {
      const before = this.#formerPath(one, path, key)
      if (before === undefined || !this.#isUndeclared(before, key) || !this.#isFree(before, key)) return
      names.push(before.at(-1)!)
    }
    this.renames.push({ path, former: names })
  }

  drop(text: string): void {
    const key = `${this.#key}.drop`
    const path = this.#path(text, key)
    if (path === undefined || !this.#isUndeclared(path, key) || !this.#isFree(path, key)) return
    for (const role of ['id', 'time'] as const) {
      if (path.length > 1 || this.#words[role] !== path[0]) continue
      this.mistakes.push(mistake(key, `${quoted(text)} is the ${role} of the stream, which every event must have`))
      return
    }
    if (path.length === 1 && this.#words.sort === path[0]) {
      this.mistakes.push(mistake(key, `${quoted(text)} is what rows are sorted by; leave it, or sort by another field`))
      return
    }
    this.drops.push(path)
  }

  #path(text: string, key: string): string[] | undefined {
    const path = parseFieldPath(text)
    if (path === undefined) {
      const reason = `${quoted(text)} is no path of a field; write names joined by dots, such as address.zip or legs[].price, and a name that has a dot in double quotes`
      this.mistakes.push(mistake(key, reason))
      return undefined
    }
    if (path.at(-1) === '[]' || path.at(-1) === '*') {
      this.mistakes.push(mistake(key, `${quoted(text)} is what a list or a map is made of, which has no name`))
      return undefined
    }
    if (path[0]!.startsWith('_')) {
      this.mistakes.push(mistake(key, `${quoted(text)} is reserved: names that begin with "_" belong to Freshet`))
      return undefined
    }
    return path
  }

  /** A former path: in the same place, under another name. */
  #formerPath(text: string, path: FieldPath, key: string): string[] | undefined {
    const before = this.#path(text, key)
    if (before === undefined) return undefined
    const parent = path.slice(0, -1)
    const name = before.at(-1)!
    if (!samePath(before.slice(0, -1), parent)) {
      const reason = `${quoted(text)} is elsewhere than ${quoted(formatFieldPath(path))}, and a field that is renamed stays where it is`
      this.mistakes.push(mistake(key, reason, before.length === 1 ? formatFieldPath([...parent, name]) : undefined))
      return undefined
    }
    if (name.toLowerCase() === path.at(-1)!.toLowerCase()) {
      const reason = `${quoted(text)} differs only by upper and lower case, which SQL does not tell apart`
      this.mistakes.push(mistake(key, reason))
      return undefined
    }
    return before
  }

  /** A field that has another name now has to be in the schema under that name. */
  #isDeclared(path: FieldPath, key: string): boolean {
    if (this.#columns === null) return true
    const found = findType(this.#columns, path)
    if (found.type !== undefined) return true
    // In a stream that is open, a column may be inferred.
    const text = formatFieldPath(path)
    const near = nearest(path.at(-1)!, found.names)
    const suggestion = near === undefined ? undefined : formatFieldPath([...path.slice(0, -1), near])
    this.mistakes.push(mistake(key, `the schema has no field ${quoted(text)}${found.why}`, suggestion))
    return false
  }

  /** A name that a field had before, or one that is to go, must be no field's now. */
  #isUndeclared(path: FieldPath, key: string): boolean {
    const found = this.#columns === null ? undefined : findType(this.#columns, path)
    const twin = found?.names.find((name) => name.toLowerCase() === path.at(-1)!.toLowerCase())
    if (twin === undefined) return true
    this.mistakes.push(mistake(key, `${quoted(formatFieldPath(path))} is still a field of the schema; remove it there`))
    return false
  }

  #isFree(path: FieldPath, key: string): boolean {
    const lower = path.map((name) => name.toLowerCase())
    const other = this.#taken.find((one) => samePath(one.path, lower))
    if (other !== undefined) {
      const reason = `${quoted(formatFieldPath(path))} is spoken of twice${other.key === key ? '' : `, here and in ${other.key}`}`
      this.mistakes.push(mistake(key, reason))
      return false
    }
    this.#taken.push({ path: lower, key })
    return true
  }
}

/** The type of a field; the names beside it where there is no such field, and why there is none. */
function findType(
  columns: readonly Column[],
  path: FieldPath,
): { type: ColumnType | undefined; names: readonly string[]; why: string } {
  let type: ColumnType | undefined = { kind: 'struct', fields: [...columns] }
  let names: string[] = []
  let why = ''
  for (const [depth, name] of path.entries()) {
    names = type?.kind === 'struct' ? type.fields.map((field) => field.name) : []
    if (type?.kind === 'json')
      why = `: ${quoted(formatFieldPath(path.slice(0, depth)))} is kept as JSON text, which has no fields`
    if (type?.kind === 'struct') type = type.fields.find((field) => field.name === name)?.type
    else if (type?.kind === 'list') type = name === '[]' ? type.element : undefined
    else if (type?.kind === 'map') type = name === '*' ? type.value : undefined
    else type = undefined
  }
  return { type, names, why }
}
