import { expect, test } from 'vitest'
import type { Change } from './entities.ts'
import { changesOf } from './erp.ts'
import { finalState } from './final-state.ts'
import { readNorthwind } from './northwind.ts'

const changes = changesOf(readNorthwind())

test('a row is the newest change of its entity, without what is about the change', () => {
  const { customers } = finalState(changes)
  expect(customers.get('customers ALFKI')).toEqual({
    changed_at: '1998-01-14T13:40:00.000Z',
    customer_id: 'ALFKI',
    company: 'Alfreds Futterkiste',
    contact: 'Maria Anders',
    title: 'Sales Representative',
    address: 'Obere Str. 57',
    city: 'Berlin',
    region: null,
    postal_code: '12209',
    country: 'Germany',
    phone: '030-0074321',
  })
})

test('the order of the changes does not matter', () => {
  expect(finalState(changes.toReversed())).toEqual(finalState(changes))
})

test('what was deleted has no row', () => {
  const { orders, order_lines, virtual_requests } = finalState(changes)
  const cancelled = [...orders.values()].filter((row) => row['status'] === 'cancelled')
  expect(cancelled.length).toBeGreaterThan(3)
  for (const { order_id } of cancelled) expect(order_lines.has(`order_lines ${String(order_id)} 1`)).toBe(false)
  expect(virtual_requests.has('virtual_requests R-10272')).toBe(false)
  expect(virtual_requests.has('virtual_requests R-10280')).toBe(true)
})

test('an order has the number and version of its newest quote, and none without a quote', () => {
  const { orders } = finalState(changes)
  const quotes = changes.filter(({ stream }) => stream === 'estimates').map(({ event }) => event as Estimate)
  for (const [, row] of orders) {
    const own = quotes.filter(({ order_id }) => order_id === row['order_id'])
    expect(row['quote_version']).toBe(own.length === 0 ? null : own.length)
    expect(row['quote_number']).toBe(own.length === 0 ? null : `Q-${String(row['order_id'])}`)
  }
})

type Estimate = Extract<Change, { stream: 'estimates' }>['event']
