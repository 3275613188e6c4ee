/**
 * Events that still use former names of fields (`renames`): they are judged as if they had the present ones. Where an event has a
 * field under several names, the first of them that is not null counts, the present name before the newest former one; each of the
 * values must be valid all the same, since the engine reads all of them. The event's own bytes stay as they are.
 */
import type { Rename } from '../config/plan.ts'
import { pointer, type EventFault } from './refusal.ts'

type Json = Record<string, unknown>
type Check = (event: Json) => EventFault | undefined

/** The names of a top-level field: the present one, then the former ones. */
export function namesOf(field: string, renames: readonly Rename[] = []): string[] {
  const former = renames.find(({ path }) => path.length === 1 && path[0] === field)?.former ?? []
  return [field, ...former]
}

/** The name that an event has the field under; the present one where it has none. */
export function nameIn(event: Json, names: readonly string[]): string {
  const [present] = names
  if (names.length === 1 || (event[present!] ?? null) !== null) return present!
  return (
    names.find((name) => (event[name] ?? null) !== null) ?? names.find((name) => Object.hasOwn(event, name)) ?? present!
  )
}

/** `check` for events whose fields may have former names; it is given events with the present ones. */
export function underPresentNames(renames: readonly Rename[] | undefined, check: Check): Check {
  if (renames === undefined || renames.length === 0) return check
  // Fields inside others are found by the present names of those.
  const inOrder = renames.toSorted((a, b) => a.path.length - b.path.length)
  return (event) => {
    const first = new PresentView(0)
    const fault = check(first.of(event, inOrder))
    if (fault !== undefined) return first.formerPath(fault)
    for (let choice = 1; choice < first.valuesMax; choice++) {
      const view = new PresentView(choice)
      const other = check(view.of(event, inOrder))
      if (other !== undefined) return view.formerPath(other)
    }
    return undefined
  }
}

/** An event with present names, with the value of each field that comes `choice`-th among those it has. */
class PresentView {
  /** The most values that a field has. */
  valuesMax = 1
  readonly #choice: number
  /** Where values were moved to, and from where. */
  readonly #moved = new Map<string, string>()

  constructor(choice: number) {
    this.#choice = choice
  }

  /** The event itself when it has no former names. */
  of(event: Json, renames: readonly Rename[]): Json {
    let view = event
    for (const { path, former } of renames) {
      const edit = (object: Json, at: string): Json => this.#renamed(object, path.at(-1)!, former, at)
      view = edited(view, path.slice(0, -1), edit, '') as Json
    }
    return view
  }

  /** A fault with its path as the event has it. */
  formerPath(fault: EventFault): EventFault {
    let { path } = fault
    // What was moved last was inside what had been moved before.
    for (const [to, from] of [...this.#moved].toReversed()) {
      if (path === to || path.startsWith(`${to}/`)) path = from + path.slice(to.length)
    }
    return { ...fault, path }
  }

  #renamed(object: Json, name: string, former: readonly string[], at: string): Json {
    const found = [name, ...former].filter((one) => Object.hasOwn(object, one))
    if (found.length === 0 || (found.length === 1 && found[0] === name)) return object
    const filled = found.filter((one) => object[one] !== null)
    this.valuesMax = Math.max(this.valuesMax, filled.length)
    const source = filled[Math.min(this.#choice, filled.length - 1)] ?? found[0]!
    if (source !== name) this.#moved.set(pointer(at, name), pointer(at, source))
    const others = Object.entries(object).filter(([one]) => one !== name && !former.includes(one))
    return Object.fromEntries([...others, [name, object[source]]])
  }
}

/** The value with what is at `path` edited; itself when nothing changes. */
function edited(
  value: unknown,
  path: readonly string[],
  edit: (object: Json, at: string) => Json,
  at: string,
): unknown {
  if (typeof value !== 'object' || value === null) return value
  const [step, ...rest] = path
  if (Array.isArray(value)) {
    if (step !== '[]') return value
    const next = value.map((one, index) => edited(one, rest, edit, pointer(at, index)))
    return next.every((one, index) => one === value[index]) ? value : next
  }
  const object = value as Json
  if (step === undefined) return edit(object, at)
  const names = step === '*' ? Object.keys(object) : Object.hasOwn(object, step) ? [step] : []
  const changed = names.flatMap((name): [string, unknown][] => {
    const next = edited(object[name], rest, edit, pointer(at, name))
    return next === object[name] ? [] : [[name, next]]
  })
  return changed.length === 0 ? value : { ...object, ...Object.fromEntries(changed) }
}
