/**
 * Damerau-Levenshtein distance (optimal string alignment): how many characters must be inserted, deleted, replaced or
 * swapped with their neighbour to turn `a` into `b`.
 */
export function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, beforePrevious[j - 2]! + 1)
      }
      current.push(cost)
    }
    beforePrevious = previous
    previous = current
  }
  return previous[b.length]!
}

/**
 * The candidate that was most likely meant by `word`: the closest one, if it is close enough for the word's length; upper and
 * lower case, `_` and `-` do not count as differences. Failing that, the only candidate that the word begins with, or that begins with it.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const wanted = simplified(word)
  const farthest = Math.max(1, Math.floor(wanted.length * 0.4))
  let best: string | undefined
  let bestDistance = farthest + 1
  const prefixed: string[] = []
  for (const candidate of candidates) {
    const known = simplified(candidate)
    if (Math.min(known.length, wanted.length) >= 3 && (known.startsWith(wanted) || wanted.startsWith(known))) {
      prefixed.push(candidate)
    }
    if (Math.abs(known.length - wanted.length) >= bestDistance) continue
    const distance = editDistance(wanted, known)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best ?? (prefixed.length === 1 ? prefixed[0] : undefined)
}

function simplified(word: string): string {
  return word.toLowerCase().replaceAll(/[_-]/g, '')
}
