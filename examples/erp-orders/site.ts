/** The website's database, as the website sees it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { keys, tableNames, type TableName } from './entities.ts'
import type { Row, SiteState } from './final-state.ts'

/** Numbers of types in PostgreSQL (catalog pg_type). */
const int8 = 20
const timestamptz = 1184

/** Reads values as the ERP's webhooks write them: days and amounts as text, times in ISO 8601. */
const types = {
  getTypeParser(type: number): (text: string) => unknown {
    if (type === int8) return Number
    if (type === timestamptz) return (text) => new Date(text).toISOString()
    return (text) => text
  },
}

/** Makes the website's tables, empty, in a schema of their own; what an earlier run left there goes. */
export async function createTables(url: string): Promise<void> {
  const tables = readFileSync(join(import.meta.dirname, 'site-schema.sql'), 'utf8')
  await withClient(url, async (client) => {
    await client.query('DROP SCHEMA IF EXISTS erp_site CASCADE; CREATE SCHEMA erp_site; SET search_path TO erp_site')
    await client.query(tables)
  })
}

/** All rows, by the names that `finalState` gives them. */
export async function readSite(url: string): Promise<SiteState> {
  return withClient(url, async (client) => {
    const tables: [TableName, Map<string, Row>][] = []
    for (const name of tableNames) {
      const { rows } = await client.query<Row>({ text: `SELECT * FROM erp_site.${name}`, types })
      tables.push([name, new Map(rows.map((row) => [[name, ...keys[name].map((key) => row[key])].join(' '), row]))])
    }
    return Object.fromEntries(tables) as SiteState
  })
}

async function withClient<Result>(url: string, use: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client({ connectionString: url })
  // A connection that breaks while nothing is asked fails the next question instead of this process.
  client.on('error', () => undefined)
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}
