/**
 * Which dead letters an erasure of their stream means. A dead letter is the text of an event that could not be loaded, so the condition may
 * not be decidable: its columns are read from the text as far as they have the columns' types. Where that leaves the condition
 * open (null), a letter is meant if all the texts in the condition stand in it: what may be somebody's data is not kept because it is
 * broken.
 */
import type { Column } from '../../config/plan.ts'
import { systemColumns } from '../../config/plan.ts'
import { storedType } from '../columns.ts'
import { identifier, literal } from '../sql-text.ts'
import type { ErasureRecord } from './record.ts'

/** SQL over the columns of `dead_letters`, in brackets. @param columns those of the stream */
export function letterCondition({ stream, where, literals = [] }: ErasureRecord, columns: readonly Column[]): string {
  const own = columns.length > 0 ? columns : systemColumns
  const values = own.map(({ name, type }) => {
    const path = literal(`$."${name.replaceAll('"', '\\"')}"`)
    const isText = type.kind === 'string' || type.kind === 'json'
    const isNested = type.kind === 'list' || type.kind === 'map' || type.kind === 'struct'
    const value = isNested ? `json_extract(j, ${path})` : `json_extract_string(j, ${path})`
    return `${isText ? value : `TRY_CAST(${value} AS ${storedType(type)})`} AS ${identifier(name)}`
  })
  const parsed = `SELECT TRY_CAST(l AS JSON) AS j`
  const decided = `(SELECT (\n${where}\n) FROM (SELECT ${values.join(', ')} FROM (${parsed})) AS ${identifier(stream)})`
  const texts = literals.filter(({ kind }) => kind === 'string')
  const searched = texts.length > 0 ? texts : literals
  const contains = searched.map(({ text }) => `contains(l, ${literal(JSON.stringify(text).slice(1, -1))})`)
  const open = contains.length === 0 ? 'false' : contains.join(' AND ')
  // The letter's text under another name: the stream may have a column `event` of its own.
  return `(stream = ${literal(stream)} AND (SELECT coalesce(${decided}, ${open}) FROM (SELECT event AS l)))`
}
