-- The website's database. Freshet keeps its rows up; the website reads them, and owns the tables.
-- Streams are independent of each other, so a row may come before the one that it refers to: there are no foreign keys, and an order that
-- only its quote is known of has nothing but its number and that quote.

CREATE TABLE customers (
  customer_id text PRIMARY KEY,
  company text NOT NULL,
  contact text NOT NULL,
  title text NOT NULL,
  address text NOT NULL,
  city text NOT NULL,
  region text,
  postal_code text,
  country text NOT NULL,
  phone text NOT NULL,
  changed_at timestamptz NOT NULL
);

CREATE TABLE orders (
  order_id bigint PRIMARY KEY,
  customer_id text,
  status text,
  ordered_on date,
  required_on date,
  shipped_on date,
  address_id text,
  freight numeric(12, 2),
  changed_at timestamptz,
  quote_number text,
  quote_version bigint
);

CREATE TABLE order_lines (
  order_id bigint,
  line_no bigint,
  product_id bigint NOT NULL,
  product text NOT NULL,
  quantity bigint NOT NULL,
  unit_price numeric(12, 2) NOT NULL,
  discount_percent bigint NOT NULL,
  amount numeric(12, 2) NOT NULL,
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (order_id, line_no)
);

CREATE TABLE invoices (
  invoice_id text PRIMARY KEY,
  order_id bigint NOT NULL,
  customer_id text NOT NULL,
  invoiced_on date NOT NULL,
  paid_on date,
  goods numeric(12, 2) NOT NULL,
  freight numeric(12, 2) NOT NULL,
  total numeric(12, 2) NOT NULL,
  changed_at timestamptz NOT NULL
);

CREATE TABLE invoice_lines (
  invoice_id text,
  line_no bigint,
  product_id bigint NOT NULL,
  quantity bigint NOT NULL,
  amount numeric(12, 2) NOT NULL,
  changed_at timestamptz NOT NULL,
  PRIMARY KEY (invoice_id, line_no)
);

CREATE TABLE shipments (
  shipment_id text PRIMARY KEY,
  order_id bigint NOT NULL,
  carrier text NOT NULL,
  status text NOT NULL,
  shipped_on date,
  tracking text,
  changed_at timestamptz NOT NULL
);

CREATE TABLE shipping_addresses (
  address_id text PRIMARY KEY,
  customer_id text NOT NULL,
  name text NOT NULL,
  address text NOT NULL,
  city text NOT NULL,
  region text,
  postal_code text,
  country text NOT NULL,
  changed_at timestamptz NOT NULL
);

CREATE TABLE virtual_requests (
  request_id text PRIMARY KEY,
  customer_id text NOT NULL,
  product_id bigint NOT NULL,
  status text NOT NULL,
  changed_at timestamptz NOT NULL
);
