import safeRegex from 'safe-regex2'

/**
 * Why events must not be matched with `pattern`: it is no regular expression, or a hostile event could keep it busy for ages
 * (ReDoS). Undefined when it may be used. safe-regex2 finds repetition within repetition; a repeated choice whose branches can
 * begin alike, which it does not look at, is looked for here. Neither proves a pattern fast: `\d+\d+$` passes, and takes time
 * that grows with the square of the text's length.
 */
export function patternProblem(pattern: string): string | undefined {
  try {
    RegExp(pattern, 'u')
  } catch (error) {
    return `is not a valid regular expression: ${(error as Error).message}`
  }
  if (safeRegex(withoutFixedRepeats(pattern)) && !repeatsAmbiguousChoice(pattern)) return undefined
  return (
    `the regular expression ${pattern.length > 80 ? 'in it' : pattern} could take very long on a hostile event: ` +
    'it repeats what repeats already, or repeats a choice whose branches can begin alike; write it without'
  )
}

/** Drops `{3}` behind single characters and classes: a fixed count adds no way to match. */
function withoutFixedRepeats(pattern: string): string {
  return pattern.replaceAll(/(\\.|\[(?:\\.|[^\]\\])*\]|[^\\()[\]{}|*+?])\{\d+\}/gsu, '$1')
}

/** `(a|ab)*` and the like, as far as the branches hold no groups. */
function repeatsAmbiguousChoice(pattern: string): boolean {
  for (const [, choice] of pattern.matchAll(/\((?:\?:|\?<\w+>)?([^()]*\|[^()]*)\)(?:[*+]|\{\d+,\d*\})/g)) {
    const starts = choice!.split('|').map(startingCharacters)
    for (const [index, start] of starts.entries()) {
      if (start === undefined) return true
      if (starts.slice(0, index).some((other) => other === undefined || overlap(other, start))) return true
    }
  }
  return false
}

function overlap(a: ReadonlySet<number>, b: ReadonlySet<number>): boolean {
  for (const code of a) if (b.has(code)) return true
  return false
}

/** The characters below U+0180 that a branch can begin with; undefined when that is not plain to see. */
function startingCharacters(branch: string): Set<number> | undefined {
  const first = /^(\\[^ux]|\\u[\da-f]{4}|\\x[\da-f]{2}|\[(?:\\.|[^\]\\])*\]|[^\\()[\]{}|*+?^$])(?![*?]|\{0?,)/is.exec(
    branch,
  )?.[1]
  if (first === undefined || /^\\[bBkpP\d]/.test(first)) return undefined
  const matcher = new RegExp(`^${first}$`, 'us')
  const characters = new Set<number>()
  for (let code = 0; code < 0x180; code++) if (matcher.test(String.fromCodePoint(code))) characters.add(code)
  return characters
}
