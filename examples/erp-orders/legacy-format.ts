/**
 * The format of the system that the website replaces: records of fixed width in capital ASCII letters, in batches that begin with a
 * header, which numbers it, and end with a trailer, which has the number of its records: so one that is missing or cut short is noticed.
 *
 *     2 code of the entity, 1 action (A added, C changed, D deleted), 14 time of the change in UTC, then the entity's fields
 */
import type { EventOf, StreamName } from './entities.ts'

const entityCodes: Readonly<Record<StreamName, string>> = {
  customers: 'CU',
  orders: 'OR',
  order_lines: 'OL',
  invoices: 'IN',
  invoice_lines: 'IL',
  shipments: 'SH',
  shipping_addresses: 'SA',
  virtual_requests: 'VR',
  estimates: 'ES',
}
const actions = { created: 'A', updated: 'C', deleted: 'D' } as const
const lineEnd = '\r\n'

type Place = Pick<EventOf<'customers'>, 'address' | 'city' | 'region' | 'postal_code' | 'country'>

/** The record of each stream's events. */
export const legacyRecord: { [Name in StreamName]: (event: EventOf<Name>) => string } = {
  customers: (event) =>
    head('customers', event) +
    text(event.customer_id, 5) +
    text(event.company, 40) +
    text(event.contact, 30) +
    text(event.title, 30) +
    place(event) +
    text(event.phone, 24),
  orders: (event) =>
    head('orders', event) +
    digits(event.order_id, 8) +
    text(event.customer_id, 5) +
    text(event.status, 9) +
    day(event.ordered_on) +
    day(event.required_on) +
    day(event.shipped_on) +
    text(event.address_id, 10) +
    cents(event.freight),
  order_lines: (event) =>
    head('order_lines', event) +
    digits(event.order_id, 8) +
    digits(event.line_no, 3) +
    digits(event.product_id, 6) +
    text(event.product, 40) +
    digits(event.quantity, 6) +
    cents(event.unit_price) +
    digits(event.discount_percent, 3) +
    cents(event.amount),
  invoices: (event) =>
    head('invoices', event) +
    text(event.invoice_id, 10) +
    digits(event.order_id, 8) +
    text(event.customer_id, 5) +
    day(event.invoiced_on) +
    day(event.paid_on) +
    cents(event.goods) +
    cents(event.freight) +
    cents(event.total),
  invoice_lines: (event) =>
    head('invoice_lines', event) +
    text(event.invoice_id, 10) +
    digits(event.line_no, 3) +
    digits(event.product_id, 6) +
    digits(event.quantity, 6) +
    cents(event.amount),
  shipments: (event) =>
    head('shipments', event) +
    text(event.shipment_id, 10) +
    digits(event.order_id, 8) +
    text(event.carrier, 20) +
    text(event.status, 7) +
    day(event.shipped_on) +
    text(event.tracking, 12),
  shipping_addresses: (event) =>
    head('shipping_addresses', event) +
    text(event.address_id, 10) +
    text(event.customer_id, 5) +
    text(event.name, 60) +
    place(event),
  virtual_requests: (event) =>
    head('virtual_requests', event) +
    text(event.request_id, 10) +
    text(event.customer_id, 5) +
    digits(event.product_id, 6) +
    text(event.status, 9),
  estimates: (event) =>
    head('estimates', event) +
    digits(event.order_id, 8) +
    text(event.quote_number, 10) +
    digits(event.quote_version, 3) +
    cents(event.amount),
}

/** A batch as the text of its file. @param sequence batches of a stream are numbered from 1, without a gap */
export function legacyBatch(stream: StreamName, sequence: number, records: readonly string[]): string {
  const code = entityCodes[stream]
  const header = `HD${code}${text(stream, 20)}${digits(sequence, 8)}`
  return [header, ...records, `TR${code}${digits(records.length, 8)}`, ''].join(lineEnd)
}

/** What is in a batch. @throws Error when it is not whole */
export function readBatch(batch: string): { sequence: number; records: string[] } {
  const lines = batch.split(lineEnd)
  const [header = '', trailer = '', rest] = [lines[0], lines.at(-2), lines.at(-1)]
  const records = lines.slice(1, -2)
  const sequence = /^HD[A-Z]{2}.{20}(\d{8})$/.exec(header)?.[1]
  if (sequence === undefined || rest !== '' || trailer !== `TR${header.slice(2, 4)}${digits(records.length, 8)}`) {
    throw new Error(`a batch is not whole: it begins with "${header}" and ends with "${trailer}"`)
  }
  return { sequence: Number(sequence), records }
}

function head(stream: StreamName, { change, changed_at }: EventOf<StreamName>): string {
  return `${entityCodes[stream]}${actions[change]}${changed_at.replaceAll(/\D/g, '').slice(0, 14)}`
}

function place({ address, city, region, postal_code, country }: Place): string {
  return text(address, 60) + text(city, 15) + text(region, 15) + text(postal_code, 10) + text(country, 15)
}

/** Letters that are no letter with an accent. */
const spelled: Readonly<Record<string, string>> = { Ø: 'O', Æ: 'AE', Œ: 'OE', Ł: 'L', Đ: 'D', Þ: 'TH' }

/** Capital letters without accents; what is no ASCII even so becomes a question mark, and what is too long is cut. */
function text(value: string | null, width: number): string {
  return (value ?? '')
    .toUpperCase()
    .normalize('NFD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^\x20-\x7e]/gu, (letter) => spelled[letter] ?? '?')
    .slice(0, width)
    .padEnd(width)
}

/** A whole number with leading zeros. @throws Error when it has more digits than fit */
function digits(value: number, width: number): string {
  const padded = String(value).padStart(width, '0')
  if (padded.length > width) throw new Error(`${value} has more than ${width} digits`)
  return padded
}

/** An amount as twelve digits of cents. Transforms are given decimals without zeros at their end: 9.8 for 9.80. */
function cents(amount: string): string {
  const [whole = '', part = ''] = amount.split('.')
  return digits(Number(`${whole}${part.padEnd(2, '0')}`), 12)
}

function day(date: string | null): string {
  return date === null ? '00000000' : date.replaceAll('-', '')
}
