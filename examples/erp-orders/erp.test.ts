import { expect, test } from 'vitest'
import { entityOf, schemas, streamNames, type Change, type EventOf, type StreamName } from './entities.ts'
import { changesOf } from './erp.ts'
import { readNorthwind } from './northwind.ts'

const changes = changesOf(readNorthwind())
const of = <Name extends StreamName>(name: Name): EventOf<Name>[] =>
  changes.filter(({ stream }) => stream === name).map(({ event }) => event as EventOf<Name>)
const byEntity = Map.groupBy(changes, entityOf)

test('every change fits the schema of its stream, and each has an id of its own', () => {
  for (const { stream, event } of changes) expect(() => schemas[stream].parse(event)).not.toThrow()
  expect(new Set(changes.map(({ event }) => event.change_id)).size).toBe(changes.length)
})

test('all nine streams have changes, in the order of their times', () => {
  expect(new Set(changes.map(({ stream }) => stream))).toEqual(new Set(streamNames))
  const times = changes.map(({ event }) => event.changed_at)
  expect(times).toEqual(times.toSorted())
})

test('an entity is created first, deleted last, and its changes have different times', () => {
  for (const [entity, own] of byEntity) {
    const kinds = own.map(({ event }) => event.change)
    expect(kinds[0], entity).toBe('created')
    expect(kinds.slice(1), entity).not.toContain('created')
    expect(kinds.slice(0, -1), entity).not.toContain('deleted')
    expect(new Set(own.map(({ event }) => event.changed_at)).size, entity).toBe(own.length)
  }
})

test('there is something of everything: updates, deletions, quotes that come before their order', () => {
  const count = (isSo: (change: Change) => boolean): number => changes.filter(isSo).length
  expect(count(({ event }) => event.change === 'updated')).toBeGreaterThan(3000)
  expect(count(({ event }) => event.change === 'deleted')).toBeGreaterThan(100)
  const entered = of('orders').filter(({ status }) => status === 'entered')
  const enteredAt = new Map(entered.map(({ order_id, changed_at }) => [order_id, changed_at] as const))
  const early = of('estimates').filter(({ order_id, changed_at }) => changed_at < enteredAt.get(order_id)!)
  expect(early.length).toBeGreaterThan(200)
})

test('an invoice is the sum of its lines and the freight, to the cent', () => {
  const cents = (amount: string): number => Number(amount.replace('.', ''))
  const goods = new Map<string, number>()
  for (const { invoice_id, amount } of of('invoice_lines')) {
    goods.set(invoice_id, (goods.get(invoice_id) ?? 0) + cents(amount))
  }
  expect(of('invoices')).toHaveLength(1543)
  for (const { invoice_id, goods: sum, freight, total } of of('invoices')) {
    expect(cents(sum), invoice_id).toBe(goods.get(invoice_id))
    expect(cents(total), invoice_id).toBe(cents(sum) + cents(freight))
  }
})

test('the same orders give the same changes', () => {
  expect(changesOf(readNorthwind())).toEqual(changes)
  expect(changesOf(readNorthwind(20)).length).toBeLessThan(400)
})
