/**
 * Which dead letters an erasure of their stream means. A dead letter is the text of an event that could not be loaded, so the condition may
 * not be decidable: its columns are read from the text, under their former names too, as far as they have the columns' types. Where that leaves the condition
 * open (null), a letter is meant if all the texts in the condition stand in it: what may be somebody's data is not kept because it is
 * broken.
 */
import type { Column } from '../../config/plan.ts'
import { systemColumns } from '../../config/plan.ts'
import { foundNames, namedType, type Naming } from '../../config/field-names.ts'
import { storedType } from '../columns.ts'
import { presentValue } from '../present-value.ts'
import { identifier, literal } from '../sql-text.ts'
import type { ErasureRecord } from './record.ts'

/**
 * SQL over the columns of the stream's dead letters, in brackets.
 * @param columns those of the stream
 * @param naming how its events name them
 */
export function letterCondition(
  { stream, where, literals = [] }: ErasureRecord,
  columns: readonly Column[],
  naming?: Naming,
): string {
  const own = columns.length > 0 ? columns : systemColumns
  const values = own.map(({ name, type }) => {
    const fields = naming?.fields?.get(name)
    const found = foundNames(own, name, fields).map((one) => valueOf(one, type, fields?.inside))
    // What the client sent at the door has no id of Freshet's.
    if (name === systemColumns[0].name) found.push('li')
    const value = found.length === 0 ? 'NULL' : `coalesce(${found.join(', ')})`
    return `${value} AS ${identifier(name)}`
  })
  const parsed = `SELECT TRY_CAST(l AS JSON) AS j, li`
  const decided = `(SELECT (\n${where}\n) FROM (SELECT ${values.join(', ')} FROM (${parsed})) AS ${identifier(stream)})`
  const texts = literals.filter(({ kind }) => kind === 'string')
  const searched = texts.length > 0 ? texts : literals
  const contains = searched.map(({ text }) => `contains(l, ${literal(JSON.stringify(text).slice(1, -1))})`)
  const open = contains.length === 0 ? 'false' : contains.join(' AND ')
  // The letter's text under another name: the stream may have a column `event` of its own.
  return `(SELECT coalesce(${decided}, ${open}) FROM (SELECT event AS l, event_id AS li))`
}

/** What the letter `j` has under a name, in the column's type; null when it is of no such type. */
function valueOf(name: string, type: Column['type'], inside: Naming | undefined): string {
  const path = literal(`$."${name.replaceAll('"', '\\"')}"`)
  if (type.kind === 'string' || type.kind === 'json') return `json_extract_string(j, ${path})`
  const isNested = type.kind === 'list' || type.kind === 'map' || type.kind === 'struct'
  const value = isNested ? `json_extract(j, ${path})` : `json_extract_string(j, ${path})`
  return presentValue(`TRY_CAST(${value} AS ${storedType(namedType(type, inside))})`, type, inside)
}
