/** Ranges of whole numbers, ends included, in order and never adjoining. */
export type Ranges = [first: number, last: number][]

export function contains(ranges: Ranges, value: number): boolean {
  const range = ranges[search(ranges, value)]
  return range !== undefined && range[0] <= value
}

/** Whether a value that is not in the ranges could be added without a further range. */
export function adjoins(ranges: Ranges, value: number): boolean {
  return contains(ranges, value - 1) || contains(ranges, value + 1)
}

/** Adds a value in place; one that is there already changes nothing. */
export function insert(ranges: Ranges, value: number): void {
  const index = search(ranges, value)
  const after = ranges[index]
  if (after !== undefined && after[0] <= value) return
  const before = ranges[index - 1]
  const joinsBefore = before !== undefined && before[1] === value - 1
  const joinsAfter = after !== undefined && after[0] === value + 1
  if (joinsBefore && joinsAfter) {
    before[1] = after[1]
    ranges.splice(index, 1)
  } else if (joinsBefore) before[1] = value
  else if (joinsAfter) after[0] = value
  else ranges.splice(index, 0, [value, value])
}

/** Index of the first range whose end is not below `value`. */
function search(ranges: Ranges, value: number): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (ranges[middle]![1] < value) low = middle + 1
    else high = middle
  }
  return low
}
