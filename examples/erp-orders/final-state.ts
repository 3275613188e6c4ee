/**
 * What the website's database has to hold in the end, worked out from the ERP's changes alone: without the order in which webhooks
 * arrived, their repeats, and anything that Freshet did with them.
 */
import { entityOf, tableNames, type Change, type TableName } from './entities.ts'

export type Row = Record<string, unknown>

/** Rows of each table by their key. */
export type SiteState = Record<TableName, Map<string, Row>>

/** Fields of a webhook that are about the change, not about the entity. */
const ofTheChange = new Set(['change_id', 'change'])

export function finalState(changes: readonly Change[]): SiteState {
  const newest = new Map<string, Change>()
  for (const change of changes) {
    const entity = entityOf(change)
    const known = newest.get(entity)
    if (known === undefined || known.event.changed_at < change.event.changed_at) newest.set(entity, change)
  }
  const state = Object.fromEntries(tableNames.map((name) => [name, new Map<string, Row>()])) as SiteState
  for (const [entity, change] of newest) {
    if (change.stream === 'estimates' || change.event.change === 'deleted') continue
    const fields = Object.entries(change.event).filter(([field]) => !ofTheChange.has(field))
    const quote = change.stream === 'orders' ? { quote_number: null, quote_version: null } : {}
    state[change.stream].set(entity, { ...Object.fromEntries(fields), ...quote })
  }
  addQuotes(state, changes)
  return state
}

/** Gives each order the number and version of its newest quote. */
function addQuotes({ orders }: SiteState, changes: readonly Change[]): void {
  for (const { stream, event } of changes) {
    if (stream !== 'estimates') continue
    const row = orders.get(`orders ${event.order_id}`)
    if (row === undefined) continue
    const version = row['quote_version']
    if (typeof version === 'number' && version >= event.quote_version) continue
    row['quote_number'] = event.quote_number
    row['quote_version'] = event.quote_version
  }
}
