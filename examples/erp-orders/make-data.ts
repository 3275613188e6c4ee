/**
 * Makes `data/northwind.json.gz` from the Northwind database as SQL for PostgreSQL:
 *
 *     node examples/erp-orders/make-data.ts PATH/TO/northwind.sql
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { sampleFile, type Northwind } from './northwind.ts'
import { parseInserts, type SqlValue } from './sql-inserts.ts'

const [source] = process.argv.slice(2)
if (source === undefined) throw new Error('usage: node make-data.ts PATH/TO/northwind.sql')

const tables = parseInserts(readFileSync(source, 'utf8'))

function rowsOf(table: string): SqlValue[][] {
  const rows = tables.get(table)
  if (rows === undefined) throw new Error(`${source} has no rows of ${table}`)
  return rows
}

function text(value: SqlValue | undefined): string {
  if (typeof value !== 'string') throw new Error(`${JSON.stringify(value)} is not a text`)
  return value
}

function textOrNull(value: SqlValue | undefined): string | null {
  return value === null ? null : text(value)
}

function number(value: SqlValue | undefined): number {
  if (typeof value !== 'number') throw new Error(`${JSON.stringify(value)} is not a number`)
  return value
}

/** Amounts and discounts are 32-bit floats in the source: 9.80000019 means 9.80. */
function hundredths(value: SqlValue | undefined): number {
  return Math.round(number(value) * 100)
}

const linesOf = Map.groupBy(rowsOf('order_details'), (row) => number(row[0]))

const northwind: Northwind = {
  customers: rowsOf('customers').map((row) => ({
    id: text(row[0]),
    company: text(row[1]),
    contact: text(row[2]),
    title: text(row[3]),
    address: text(row[4]),
    city: text(row[5]),
    region: textOrNull(row[6]),
    postalCode: textOrNull(row[7]),
    country: text(row[8]),
    phone: text(row[9]),
  })),
  products: rowsOf('products').map((row) => ({ id: number(row[0]), name: text(row[1]) })),
  shippers: Object.fromEntries(rowsOf('shippers').map((row) => [String(number(row[0])), text(row[1])])),
  orders: rowsOf('orders')
    .map((row) => ({
      id: number(row[0]),
      customer: text(row[1]),
      ordered: text(row[3]),
      required: text(row[4]),
      shipped: textOrNull(row[5]),
      shipper: number(row[6]),
      freightCents: hundredths(row[7]),
      shipTo: {
        name: text(row[8]),
        address: text(row[9]),
        city: text(row[10]),
        region: textOrNull(row[11]),
        postalCode: textOrNull(row[12]),
        country: text(row[13]),
      },
      lines: (linesOf.get(number(row[0])) ?? []).map((line) => ({
        product: number(line[1]),
        priceCents: hundredths(line[2]),
        quantity: number(line[3]),
        discountPercent: hundredths(line[4]),
      })),
    }))
    .toSorted((left, right) => left.id - right.id),
}

writeFileSync(sampleFile, gzipSync(JSON.stringify(northwind), { level: 9 }))
const lines = northwind.orders.reduce((sum, order) => sum + order.lines.length, 0)
console.log(
  `${sampleFile}: ${northwind.customers.length} customers, ${northwind.orders.length} orders with ${lines} lines`,
)
