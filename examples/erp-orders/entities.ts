/**
 * What the ERP's webhooks send, one schema a stream. Each webhook has the whole entity as it is after the change, the change's own id
 * (which a repeat of the webhook has as well) and the time at which it was made.
 */
import { z } from 'zod'

/** Money is text with two decimals: no digit passes through a floating-point number on its way. */
const money = z.string().regex(/^-?\d{1,10}\.\d{2}$/)
const quantity = z.int().min(0)

const change = {
  change_id: z.string(),
  changed_at: z.iso.datetime(),
  change: z.enum(['created', 'updated', 'deleted']),
}

const place = {
  address: z.string(),
  city: z.string(),
  region: z.string().nullable(),
  postal_code: z.string().nullable(),
  country: z.string(),
}

export const customer = z.object({
  ...change,
  customer_id: z.string(),
  company: z.string(),
  contact: z.string(),
  title: z.string(),
  ...place,
  phone: z.string(),
})

export const order = z.object({
  ...change,
  order_id: z.int(),
  customer_id: z.string(),
  status: z.enum(['entered', 'confirmed', 'shipped', 'cancelled']),
  ordered_on: z.iso.date(),
  required_on: z.iso.date(),
  shipped_on: z.iso.date().nullable(),
  address_id: z.string(),
  freight: money,
})

export const orderLine = z.object({
  ...change,
  order_id: z.int(),
  line_no: z.int(),
  product_id: z.int(),
  product: z.string(),
  quantity,
  unit_price: money,
  discount_percent: z.int(),
  amount: money,
})

export const invoice = z.object({
  ...change,
  invoice_id: z.string(),
  order_id: z.int(),
  customer_id: z.string(),
  invoiced_on: z.iso.date(),
  paid_on: z.iso.date().nullable(),
  goods: money,
  freight: money,
  total: money,
})

export const invoiceLine = z.object({
  ...change,
  invoice_id: z.string(),
  line_no: z.int(),
  product_id: z.int(),
  quantity,
  amount: money,
})

export const shipment = z.object({
  ...change,
  shipment_id: z.string(),
  order_id: z.int(),
  carrier: z.string(),
  status: z.enum(['packed', 'shipped']),
  shipped_on: z.iso.date().nullable(),
  tracking: z.string().nullable(),
})

export const shippingAddress = z.object({
  ...change,
  address_id: z.string(),
  customer_id: z.string(),
  name: z.string(),
  ...place,
})

/** A customer asks for a sample of a product. */
export const virtualRequest = z.object({
  ...change,
  request_id: z.string(),
  customer_id: z.string(),
  product_id: z.int(),
  status: z.enum(['asked', 'sent', 'withdrawn']),
})

/** A quote for an order. Each version replaces the one before; the website shows the newest beside the order. */
export const estimate = z.object({
  ...change,
  order_id: z.int(),
  quote_number: z.string(),
  quote_version: z.int(),
  amount: money,
})

export const schemas = {
  customers: customer,
  orders: order,
  order_lines: orderLine,
  invoices: invoice,
  invoice_lines: invoiceLine,
  shipments: shipment,
  shipping_addresses: shippingAddress,
  virtual_requests: virtualRequest,
  estimates: estimate,
}

export type StreamName = keyof typeof schemas
export type EventOf<Name extends StreamName> = z.infer<(typeof schemas)[Name]>

export const streamNames = Object.keys(schemas) as StreamName[]

export type TableName = Exclude<StreamName, 'estimates'>

/** The website's tables: one for each stream but the estimates, which are columns of the orders. */
export const tableNames = streamNames.filter((name): name is TableName => name !== 'estimates')

/** Fields that tell one entity of a stream from another. */
export const keys = {
  customers: ['customer_id'],
  orders: ['order_id'],
  order_lines: ['order_id', 'line_no'],
  invoices: ['invoice_id'],
  invoice_lines: ['invoice_id', 'line_no'],
  shipments: ['shipment_id'],
  shipping_addresses: ['address_id'],
  virtual_requests: ['request_id'],
  estimates: ['order_id', 'quote_number', 'quote_version'],
} as const satisfies { [Name in StreamName]: readonly (keyof EventOf<Name>)[] }

/** One change of one entity: what one webhook tells. */
export type Change = { [Name in StreamName]: { stream: Name; event: EventOf<Name> } }[StreamName]

/** Names the entity that a change is about, among all streams. */
export function entityOf({ stream, event }: Change): string {
  const fields = event as Record<string, unknown>
  return [stream, ...keys[stream].map((field) => fields[field])].join(' ')
}
