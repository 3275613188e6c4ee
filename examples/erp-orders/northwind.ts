/** Reads the sample: customers, products, shippers and orders of Northwind Traders (see data/README.md). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

export const sampleFile = join(import.meta.dirname, 'data', 'northwind.json.gz')

export interface NorthwindCustomer {
  id: string
  company: string
  contact: string
  title: string
  address: string
  city: string
  region: string | null
  postalCode: string | null
  country: string
  phone: string
}

export interface NorthwindProduct {
  id: number
  name: string
}

export interface NorthwindLine {
  product: number
  quantity: number
  /** Price of one, in cents. */
  priceCents: number
  discountPercent: number
}

export interface NorthwindOrder {
  id: number
  customer: string
  /** Days, as `1996-07-04`. */
  ordered: string
  required: string
  /** null for an order that has not been shipped. */
  shipped: string | null
  shipper: number
  freightCents: number
  shipTo: {
    name: string
    address: string
    city: string
    region: string | null
    postalCode: string | null
    country: string
  }
  lines: NorthwindLine[]
}

export interface Northwind {
  customers: NorthwindCustomer[]
  products: NorthwindProduct[]
  /** Names by number. */
  shippers: Record<string, string>
  /** In the order of their numbers. */
  orders: NorthwindOrder[]
}

/** @param ordersMax the first so many orders; all 830 of them unless said */
export function readNorthwind(ordersMax = Number.POSITIVE_INFINITY): Northwind {
  const all = JSON.parse(gunzipSync(readFileSync(sampleFile)).toString('utf8')) as Northwind
  return { ...all, orders: all.orders.slice(0, ordersMax) }
}
