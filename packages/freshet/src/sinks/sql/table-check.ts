/** Whether a table that is there takes what a sink writes; if not, what differs, and how to mend it. */
import type { ColumnType } from '../../config/plan.ts'
import { targetFault } from './fault.ts'
import { changes } from './mapping.ts'
import type { SqlOptions } from './settings.ts'
import type { SqlColumn, SqlTable, ValueForm, WantedColumn } from './sql-target.ts'

interface FoundColumn {
  name: string
  /** As the database says it. */
  type: string
  /** Whether the database gives it its value itself. */
  computed: boolean
  /** Whether each row needs a value for it, and it has no default. */
  needed: boolean
  /** Whether texts are equal in it only when they are the same. */
  exact: boolean
}

export interface FoundTable {
  columns: readonly FoundColumn[]
  /** Columns of each key that rows are unique by. */
  uniqueKeys: readonly (readonly string[])[]
}

interface Check {
  /** Quoted, for messages. */
  name: string
  options: SqlOptions
  wanted: readonly WantedColumn[]
  typeFor: (type: ColumnType, key: boolean) => string
  takes: (found: string, type: ColumnType) => boolean
  formFor: (found: string, declared: ColumnType | undefined) => ValueForm
}

export const sameNames = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((name) => other.includes(name))

/** @throws FreshetError that names everything that differs */
export function checkTable(found: FoundTable, { name, options, wanted, typeFor, takes, formFor }: Check): SqlTable {
  const differs: string[] = []
  const columns: SqlColumn[] = []
  for (const column of wanted) {
    const there = found.columns.find((other) => other.name === column.name)
    const { declared, type, field, key } = column
    if (there === undefined) differs.push(`it has no column "${column.name}" (add it, or say \`alter: true\`)`)
    else if (there.computed)
      differs.push(`the database computes its column "${column.name}" (leave it out of \`columns\`)`)
    else if (type === undefined && declared !== undefined && !takes(there.type, declared))
      differs.push(
        `its column "${column.name}" is ${there.type}, and the field "${field}" would need ${typeFor(declared, key)} ` +
          `(change the column, or say { type: '${there.type}' } if values that do not fit may be refused)`,
      )
    else
      columns.push({
        field,
        name: column.name,
        type: there.type,
        form: formFor(there.type, declared),
        key,
        changes: changes(column, options),
      })
  }
  const key = wanted.filter((column) => column.key).map((column) => column.name)
  if (key.length > 0 && !found.uniqueKeys.some((names) => sameNames(names, key)))
    differs.push(`its rows are not unique by ${key.join(', ')} (make these its primary key, or a unique index)`)
  const inserts = options.update === undefined || options.missing === 'insert'
  const unfilled = found.columns.filter((other) => other.needed && !wanted.some((column) => column.name === other.name))
  if (inserts && unfilled.length > 0)
    differs.push(
      `its columns ${unfilled.map((other) => `"${other.name}"`).join(', ')} need a value (give them a default)`,
    )
  if (differs.length > 0)
    throw targetFault(`The table ${name} does not fit: ${differs.join('; ')}.`, 'Delivery goes on once it does.')
  const newest = options.newest === undefined ? -1 : columns.findIndex(({ field }) => field === options.newest)
  const exact = found.columns.filter((other) => key.includes(other.name)).every((other) => other.exact)
  return {
    name: options.table,
    columns,
    newest: newest < 0 ? undefined : newest,
    mode:
      key.length === 0 ? 'append' : options.update !== undefined && options.missing !== 'insert' ? 'update' : 'upsert',
    exactKeys: exact,
  }
}
