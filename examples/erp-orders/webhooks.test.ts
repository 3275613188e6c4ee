import { expect, test } from 'vitest'
import { entityOf } from './entities.ts'
import { changesOf } from './erp.ts'
import { readNorthwind } from './northwind.ts'
import { planDeliveries } from './webhooks.ts'

const changes = changesOf(readNorthwind())
const deliveries = planDeliveries(changes)
const idOf = ({ change }: (typeof deliveries)[number]): string => change.event.change_id

test('every change goes out once, apart from the repeats', () => {
  const first = deliveries.filter(({ repeat }) => !repeat).map(idOf)
  expect(first.toSorted()).toEqual(changes.map(({ event }) => event.change_id).toSorted())
})

test('a repeat is of something that went out before', () => {
  const seen = new Set<string>()
  for (const delivery of deliveries) {
    if (delivery.repeat) expect(seen).toContain(idOf(delivery))
    seen.add(idOf(delivery))
  }
  expect(deliveries.length - changes.length).toBeGreaterThan(1500)
})

test('some changes are overtaken by the next of their entity, and some repeats are of what has changed since', () => {
  const newest = new Map<string, string>()
  const old = { first: 0, repeat: 0 }
  for (const { change, repeat } of deliveries) {
    const known = newest.get(entityOf(change)) ?? ''
    if (known > change.event.changed_at) old[repeat ? 'repeat' : 'first']++
    else newest.set(entityOf(change), change.event.changed_at)
  }
  expect(old.first).toBeGreaterThan(200)
  expect(old.repeat).toBeGreaterThan(200)
})

test('something that was deleted is told of once more, as it was before', () => {
  const deleted = new Set<string>()
  let told = 0
  for (const { change } of deliveries) {
    if (change.event.change === 'deleted') deleted.add(entityOf(change))
    else if (deleted.has(entityOf(change))) told++
  }
  expect(told).toBeGreaterThan(10)
})
