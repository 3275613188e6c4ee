/**
 * The ERP: two years of a trading company as the changes that its webhooks tell of. Customers, products, orders and their lines are
 * Northwind's. What Northwind does not have is made of them, without chance: the same orders always give the same changes.
 */
import { entityOf, type Change, type EventOf, type StreamName } from './entities.ts'
import type { Northwind, NorthwindCustomer, NorthwindLine, NorthwindOrder } from './northwind.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs

/** An event without what the journal adds to it. */
type Facts<Name extends StreamName> = Omit<EventOf<Name>, 'change_id' | 'changed_at' | 'change'>

/** The changes so far. */
class Journal {
  readonly #changes: Change[] = []
  /** How often each entity has changed. */
  readonly #counts = new Map<string, number>()

  /** Notes the state of an entity after a change; the first one of an entity creates it. */
  note<Name extends StreamName>(stream: Name, atMs: number, facts: Facts<Name>, deleted = false): void {
    // What each stream's facts are is checked above; that facts and the three fields make an event is beyond the compiler.
    const change = { stream, event: facts } as unknown as Change
    const entity = entityOf(change)
    const count = (this.#counts.get(entity) ?? 0) + 1
    this.#counts.set(entity, count)
    const own = {
      change_id: `${entity.replaceAll(' ', ':')}:${count}`,
      changed_at: new Date(atMs).toISOString(),
      change: deleted ? 'deleted' : count === 1 ? 'created' : 'updated',
    }
    this.#changes.push({ stream, event: { ...own, ...facts } } as unknown as Change)
  }

  /** All changes in the order of their times. */
  ordered(): Change[] {
    return this.#changes.toSorted((left, right) => compare(left.event.changed_at, right.event.changed_at))
  }
}

/** Everything that changed in the ERP, in the order in which it did. */
export function changesOf(northwind: Northwind): Change[] {
  const journal = new Journal()
  const products = new Map(northwind.products.map((product) => [product.id, product.name]))
  const customers = new Map(northwind.customers.map((customer) => [customer.id, customer]))
  const addresses = new AddressBook()
  const ordersOf = new Map<string, number>()
  for (const order of northwind.orders) {
    const customer = customers.get(order.customer)
    if (customer === undefined) throw new Error(`order ${order.id} has no customer`)
    const count = (ordersOf.get(customer.id) ?? 0) + 1
    ordersOf.set(customer.id, count)
    // Orders of one day come one after the other.
    const startMs = Date.parse(order.ordered) + 8 * hourMs + (order.id % 97) * 5 * minuteMs
    noteCustomer(journal, customer, count, startMs - dayMs)
    const addressId = noteAddress(journal, addresses, order, startMs - minuteMs)
    noteRequest(journal, order, startMs)
    noteEstimates(journal, order, startMs)
    noteOrder(journal, { order, addressId, products, carrier: northwind.shippers[order.shipper] ?? '' }, startMs)
  }
  return journal.ordered()
}

/** A customer enters the books with the first order, and changes the phone number with the fourth. */
function noteCustomer(journal: Journal, customer: NorthwindCustomer, orders: number, atMs: number): void {
  if (orders !== 1 && orders !== 4) return
  const { id, company, contact, title, address, city, region, postalCode, country, phone } = customer
  journal.note('customers', atMs, {
    customer_id: id,
    company,
    contact,
    title,
    address,
    city,
    region,
    postal_code: postalCode,
    country,
    phone: orders === 1 ? 'to follow' : phone,
  })
}

/** Numbers the places that each customer has goods sent to. */
class AddressBook {
  readonly #ids = new Map<string, string>()
  readonly #counts = new Map<string, number>()
  readonly #uses = new Map<string, number>()

  /** The id of an order's address, and how often it has been used, this time included. */
  use({ customer, shipTo }: NorthwindOrder): { id: string; uses: number } {
    const place = JSON.stringify([customer, shipTo])
    let id = this.#ids.get(place)
    if (id === undefined) {
      const number = (this.#counts.get(customer) ?? 0) + 1
      this.#counts.set(customer, number)
      id = `${customer}-${number}`
      this.#ids.set(place, id)
    }
    const uses = (this.#uses.get(id) ?? 0) + 1
    this.#uses.set(id, uses)
    return { id, uses }
  }
}

/** An address comes with its first order; at the third somebody completes the name of the addressee. */
function noteAddress(journal: Journal, addresses: AddressBook, order: NorthwindOrder, atMs: number): string {
  const { id, uses } = addresses.use(order)
  if (uses === 1 || uses === 3) {
    const { name, address, city, region, postalCode, country } = order.shipTo
    journal.note('shipping_addresses', atMs, {
      address_id: id,
      customer_id: order.customer,
      name: uses === 1 ? name : `${name}, goods inward`,
      address,
      city,
      region,
      postal_code: postalCode,
      country,
    })
  }
  return id
}

/** Before every eighth order the customer asks for a sample of its first product, and every third of these is withdrawn. */
function noteRequest(journal: Journal, order: NorthwindOrder, startMs: number): void {
  const [line] = order.lines
  if (order.id % 8 !== 0 || line === undefined) return
  const facts = { request_id: `R-${order.id}`, customer_id: order.customer, product_id: line.product }
  journal.note('virtual_requests', startMs - 5 * dayMs, { ...facts, status: 'asked' })
  if (order.id % 24 === 0)
    journal.note('virtual_requests', startMs - 4 * dayMs, { ...facts, status: 'withdrawn' }, true)
  else journal.note('virtual_requests', startMs - 3 * dayMs, { ...facts, status: 'sent' })
}

/** For every third order there is a quote of one to four versions. The first comes before the order, the last after it. */
function noteEstimates(journal: Journal, order: NorthwindOrder, startMs: number): void {
  if (order.id % 3 !== 0) return
  const versions = 1 + (Math.floor(order.id / 3) % 4)
  for (let version = 1; version <= versions; version++) {
    const atMs = startMs + (version === 1 ? -hourMs : version * 3 * hourMs)
    journal.note('estimates', atMs, {
      order_id: order.id,
      quote_number: `Q-${order.id}`,
      quote_version: version,
      // A quote begins five per cent a version too high and comes down to the price.
      amount: money(Math.round((goodsCents(order.lines) * (100 + 5 * (versions - version))) / 100)),
    })
  }
}

interface OrderCase {
  order: NorthwindOrder
  addressId: string
  products: ReadonlyMap<number, string>
  carrier: string
}

/** An order is entered with its lines, corrected, confirmed, and then shipped and invoiced; some that wait for long are cancelled. */
function noteOrder(journal: Journal, { order, addressId, products, carrier }: OrderCase, startMs: number): void {
  const facts = {
    order_id: order.id,
    customer_id: order.customer,
    ordered_on: order.ordered,
    required_on: order.required,
    shipped_on: null,
    address_id: addressId,
    freight: '0.00',
  }
  journal.note('orders', startMs, { ...facts, status: 'entered' })
  const lines = order.lines.map((line, index) => lineFacts(order, index + 1, line, products))
  lines.forEach((line, index) => {
    const atMs = startMs + (1 + index) * 1000
    // Every ninth line is entered as one piece, and corrected ten minutes later.
    if ((order.id + index) % 9 !== 0) return journal.note('order_lines', atMs, line)
    const { discountPercent } = order.lines[index]!
    const wrong = { ...order.lines[index]!, quantity: 1, discountPercent }
    journal.note('order_lines', atMs, lineFacts(order, index + 1, wrong, products))
    journal.note('order_lines', atMs + 10 * minuteMs, line)
  })
  noteSpareLine(journal, order, products, startMs)
  const freight = money(order.freightCents)
  journal.note('orders', startMs + 2 * hourMs, { ...facts, status: 'confirmed', freight })
  if (order.shipped !== null) {
    const shippedMs = Date.parse(order.shipped) + 20 * hourMs
    noteShipment(journal, order, carrier, shippedMs)
    journal.note('orders', shippedMs, { ...facts, status: 'shipped', shipped_on: order.shipped, freight })
    noteInvoice(journal, order, shippedMs + hourMs)
  } else if (order.id % 3 === 0) {
    const cancelledMs = startMs + 60 * dayMs
    journal.note('orders', cancelledMs, { ...facts, status: 'cancelled', freight })
    for (const line of lines) journal.note('order_lines', cancelledMs + line.line_no * 1000, line, true)
  }
}

/** Every seventh order has a line too many at first, which is cancelled within the hour. */
function noteSpareLine(
  journal: Journal,
  order: NorthwindOrder,
  products: ReadonlyMap<number, string>,
  startMs: number,
): void {
  if (order.id % 7 !== 0) return
  const spare = { product: 1 + (order.id % 77), quantity: 10, priceCents: 1000, discountPercent: 0 }
  const line = lineFacts(order, order.lines.length + 1, spare, products)
  journal.note('order_lines', startMs + 5 * minuteMs, line)
  journal.note('order_lines', startMs + 40 * minuteMs, { ...line, quantity: 0, amount: '0.00' }, true)
}

function lineFacts(
  order: NorthwindOrder,
  lineNo: number,
  line: NorthwindLine,
  products: ReadonlyMap<number, string>,
): Facts<'order_lines'> {
  return {
    order_id: order.id,
    line_no: lineNo,
    product_id: line.product,
    product: products.get(line.product) ?? '',
    quantity: line.quantity,
    unit_price: money(line.priceCents),
    discount_percent: line.discountPercent,
    amount: money(amountCents(line)),
  }
}

function noteShipment(journal: Journal, order: NorthwindOrder, carrier: string, shippedMs: number): void {
  const facts = { shipment_id: `S-${order.id}`, order_id: order.id, carrier }
  journal.note('shipments', shippedMs - 4 * hourMs, { ...facts, status: 'packed', shipped_on: null, tracking: null })
  const tracking = `FR${String(order.id * 7919).padStart(10, '0')}`
  journal.note('shipments', shippedMs, { ...facts, status: 'shipped', shipped_on: order.shipped, tracking })
}

/** An invoice goes out with the goods, and is paid after ten to forty days. */
function noteInvoice(journal: Journal, order: NorthwindOrder, atMs: number): void {
  const goods = goodsCents(order.lines)
  const facts = {
    invoice_id: `I-${order.id}`,
    order_id: order.id,
    customer_id: order.customer,
    invoiced_on: dayOf(atMs),
    goods: money(goods),
    freight: money(order.freightCents),
    total: money(goods + order.freightCents),
  }
  journal.note('invoices', atMs, { ...facts, paid_on: null })
  order.lines.forEach((line, index) =>
    journal.note('invoice_lines', atMs + (1 + index) * 1000, {
      invoice_id: facts.invoice_id,
      line_no: index + 1,
      product_id: line.product,
      quantity: line.quantity,
      amount: money(amountCents(line)),
    }),
  )
  // Every eleventh customer is still to be reminded.
  if (order.id % 11 === 0) return
  const paidMs = atMs + (10 + (order.id % 31)) * dayMs
  journal.note('invoices', paidMs, { ...facts, paid_on: dayOf(paidMs) })
}

function amountCents({ quantity, priceCents, discountPercent }: NorthwindLine): number {
  return Math.round((quantity * priceCents * (100 - discountPercent)) / 100)
}

function goodsCents(lines: readonly NorthwindLine[]): number {
  return lines.reduce((sum, line) => sum + amountCents(line), 0)
}

/** Cents as text with two decimals. */
function money(cents: number): string {
  return `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}`
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
