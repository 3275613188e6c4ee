import { defineConfig, env, sink, stream, type SinkConfig, type StreamConfig } from 'freshet'
import { z } from 'zod'
import * as erp from './entities.ts'
import { legacyBatch, legacyRecord } from './legacy-format.ts'

/** What every webhook has: the change's own id, by which a repeat is recognised, and the time at which it was made. */
const change = { id: 'change_id', time: 'changed_at', partition: { by: 'received_at' } } as const
const money = 'decimal(12, 2)'

const entities = {
  customers: stream({ ...change, schema: erp.customer }),
  orders: stream({ ...change, schema: erp.order, types: { freight: money } }),
  order_lines: stream({ ...change, schema: erp.orderLine, types: { unit_price: money, amount: money } }),
  invoices: stream({ ...change, schema: erp.invoice, types: { goods: money, freight: money, total: money } }),
  invoice_lines: stream({ ...change, schema: erp.invoiceLine, types: { amount: money } }),
  shipments: stream({ ...change, schema: erp.shipment }),
  shipping_addresses: stream({ ...change, schema: erp.shippingAddress }),
  virtual_requests: stream({ ...change, schema: erp.virtualRequest }),
  estimates: stream({ ...change, schema: erp.estimate, types: { amount: money } }),
}

const legacyEvent = z.object({ change_id: z.string(), changed_at: z.iso.datetime(), record: z.string() })

/** The stream of records that the legacy system is given of another stream's events. */
function recordsOf<Event extends { change_id: string; changed_at: string }>(
  from: StreamConfig<Event>,
  record: (event: Event) => string,
): StreamConfig<z.infer<typeof legacyEvent>> {
  return stream({
    ...change,
    from,
    schema: legacyEvent,
    each: (event) => ({ change_id: event.change_id, changed_at: event.changed_at, record: record(event) }),
  })
}

const records = {
  customers: recordsOf(entities.customers, legacyRecord.customers),
  orders: recordsOf(entities.orders, legacyRecord.orders),
  order_lines: recordsOf(entities.order_lines, legacyRecord.order_lines),
  invoices: recordsOf(entities.invoices, legacyRecord.invoices),
  invoice_lines: recordsOf(entities.invoice_lines, legacyRecord.invoice_lines),
  shipments: recordsOf(entities.shipments, legacyRecord.shipments),
  shipping_addresses: recordsOf(entities.shipping_addresses, legacyRecord.shipping_addresses),
  virtual_requests: recordsOf(entities.virtual_requests, legacyRecord.virtual_requests),
  estimates: recordsOf(entities.estimates, legacyRecord.estimates),
}

/** Batch files of a stream's records, each with a done-marker beside it. */
function batchesOf(name: erp.StreamName): SinkConfig {
  return sink.files({
    from: records[name],
    folder: process.env['LEGACY_DIR'] ?? '.freshet/legacy',
    name: `${name}/{sequence}.{ext}`,
    // Short, so that batches appear while you watch.
    every: '2 s',
    done: true,
    encoding: 'latin1',
    template: (events, { sequence }) =>
      legacyBatch(
        name,
        sequence,
        events.map(({ record }) => record),
      ),
  })
}

/** Fields that are about the change, not about the entity: the website has no columns for them. */
const ofTheChange = ['change_id', 'change']

/** A table of the website's that follows a stream. What comes out of order never overwrites what is newer. */
function tableOf(name: erp.TableName): SinkConfig {
  return sink.postgres({
    from: entities[name],
    url: env('SITE_DB'),
    table: `erp_site.${name}`,
    key: erp.keys[name],
    columns: Object.keys(erp.schemas[name].shape).filter((field) => !ofTheChange.includes(field)),
    newest: 'changed_at',
    delete: { field: 'change', value: 'deleted' },
  })
}

/** An estimate changes two columns of its order, or makes the row that the order fills later. */
const quotes = sink.postgres({
  from: entities.estimates,
  url: env('SITE_DB'),
  table: 'erp_site.orders',
  key: 'order_id',
  columns: ['order_id', 'quote_number', 'quote_version'],
  update: ['quote_number', 'quote_version'],
  missing: 'insert',
  newest: 'quote_version',
})

/** The same for several streams, under names with a prefix. */
function each<Name extends string, Value>(
  prefix: string,
  names: readonly Name[],
  make: (name: Name) => Value,
): Record<string, Value> {
  return Object.fromEntries(names.map((name) => [`${prefix}_${name}`, make(name)]))
}

const site = { ...each('site', erp.tableNames, tableOf), site_quotes: quotes }

export default defineConfig({
  streams: { ...entities, ...each('legacy', erp.streamNames, (name) => records[name]) },
  sinks: {
    ...each('batches', erp.streamNames, batchesOf),
    // Without a website's database there are only the batch files.
    ...(process.env['SITE_DB'] !== undefined && site),
  },
})
