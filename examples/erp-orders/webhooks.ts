/** In which order webhooks go out, with what happens to them on the way: repeats, and some that overtake each other. */
import { entityOf, type Change } from './entities.ts'

/** Every so-many-th change is overtaken by the next one of the same entity. */
const overtakenEvery = 13
/** Every so-many-th webhook goes out twice: its answer got lost, as it were. */
const repeatedEvery = 11
/** How many webhooks later every second of these repeats comes; the others come at once. */
const lateBy = 150

export interface Delivery {
  change: Change
  /** It has gone out before. */
  repeat: boolean
}

/** All deliveries, in order. Each change is in at least one of them. */
export function planDeliveries(changes: readonly Change[]): Delivery[] {
  const deliveries: Delivery[] = []
  const late: { dueAt: number; change: Change }[] = []
  for (const change of withOvertaking(changes)) {
    deliveries.push({ change, repeat: false })
    if (deliveries.length % repeatedEvery === 0) deliveries.push({ change, repeat: true })
    else if (deliveries.length % repeatedEvery === 5) late.push({ dueAt: deliveries.length + lateBy, change })
    while (late[0] !== undefined && late[0].dueAt <= deliveries.length) {
      deliveries.push({ change: late.shift()!.change, repeat: true })
    }
  }
  return [...deliveries, ...late.map(({ change }) => ({ change, repeat: true }))]
}

/**
 * The changes in the order of their times, but for some that come after the next change of the same entity. A deletion overtakes nothing:
 * of a row that is gone nobody knows any more how new it was.
 */
function withOvertaking(changes: readonly Change[]): Change[] {
  const last = new Map(changes.map((change, index) => [entityOf(change), index]))
  const deleted = new Set(changes.filter(({ event }) => event.change === 'deleted').map(entityOf))
  const held = new Map<string, Change>()
  const ordered: Change[] = []
  changes.forEach((change, index) => {
    const entity = entityOf(change)
    const earlier = held.get(entity)
    if (earlier === undefined && index % overtakenEvery === 0 && last.get(entity) !== index && !deleted.has(entity)) {
      held.set(entity, change)
      return
    }
    ordered.push(change)
    if (earlier === undefined) return
    ordered.push(earlier)
    held.delete(entity)
  })
  return ordered
}
