/** What `from` means: a stream or rollup by its name, or as the object that the configuration has under that name. */
import { isPlainObject, kindOf, mistake, quoted, type Mistake } from './mistakes.ts'
import { nearest } from './spelling.ts'

export class Sources {
  readonly #byKind: Record<'streams' | 'rollups', Record<string, unknown>>

  /** @param words the whole configuration, as the user wrote it */
  constructor(words: Record<string, unknown>) {
    const part = (name: string): Record<string, unknown> => (isPlainObject(words[name]) ? words[name] : {})
    this.#byKind = { streams: part('streams'), rollups: part('rollups') }
  }

  isRollup(name: string): boolean {
    return Object.hasOwn(this.#byKind.rollups, name)
  }

  /** The name that `from` means, or what is wrong with it. */
  find(from: unknown, key: string, kinds: readonly ('streams' | 'rollups')[] = ['streams']): string | Mistake {
    const what = kinds.length === 1 ? 'a stream' : 'a stream or rollup'
    if (typeof from === 'string') {
      if (kinds.some((kind) => Object.hasOwn(this.#byKind[kind], from))) return from
      const names = kinds.flatMap((kind) => Object.keys(this.#byKind[kind]))
      const list = names.length === 0 ? 'none is declared' : `there are: ${names.slice(0, 12).join(', ')}`
      return mistake(key, `there is no ${what.slice(2)} ${quoted(from)} (${list})`, nearest(from, names))
    }
    if (!isPlainObject(from)) return mistake(key, `must be ${what}, by its name or as it is, not ${kindOf(from)}`)
    for (const kind of kinds) {
      const found = Object.entries(this.#byKind[kind]).find(([, words]) => words === from)
      if (found !== undefined) return found[0]
    }
    return mistake(
      key,
      `is ${what} that the configuration does not have: put it under \`${kinds.join('` or `')}\` as well`,
    )
  }
}

/** Each circle that `from` makes, as a mistake of one of its members. */
export function circleMistakes(sources: ReadonlyMap<string, string>, keyOf: (name: string) => string): Mistake[] {
  const mistakes: Mistake[] = []
  const judged = new Set<string>()
  for (const start of sources.keys()) {
    const trail: string[] = []
    for (let name: string | undefined = start; name !== undefined && !judged.has(name); name = sources.get(name)) {
      const at = trail.indexOf(name)
      if (at >= 0) {
        const circle = [...trail.slice(at), name].join(' from ')
        mistakes.push(mistake(keyOf(name), `goes round in a circle: ${circle}`))
        break
      }
      trail.push(name)
    }
    for (const name of trail) judged.add(name)
  }
  return mistakes
}
