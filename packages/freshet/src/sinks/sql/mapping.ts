/** Which field goes to which column. */
import { systemColumns, type Column, type ColumnType } from '../../config/plan.ts'
import { targetFault } from './fault.ts'
import type { ColumnChoice, SqlOptions } from './settings.ts'
import type { ValueForm, WantedColumn } from './sql-target.ts'

/** The type of the field at a path, where the columns say it. */
function declaredAt(columns: readonly Column[], path: string): ColumnType | undefined {
  const whole = columns.find(({ name }) => name === path)
  if (whole !== undefined) return whole.type
  let fields = columns
  let type: ColumnType | undefined
  for (const name of path.split('.')) {
    type = fields.find((field) => field.name === name)?.type
    if (type === undefined) return undefined
    fields = type.kind === 'struct' ? type.fields : []
  }
  return type
}

/** The columns to write, those of the key among them. @throws FreshetError where nothing says which they are */
export function wantedColumns(
  { columns, key = [], update = [], newest }: SqlOptions,
  stream: readonly Column[] | null,
): WantedColumn[] {
  const known = [...systemColumns, ...(stream ?? [])]
  const named: ColumnChoice[] = columns ?? (stream ?? []).map(({ name }) => ({ field: name, column: name }))
  if (named.length === 0)
    throw targetFault(
      'The stream declares no columns, and the sink none either.',
      'List the fields that are to be written in the setting `columns`, or give the stream a schema.',
    )
  const own = new Set(named.map(({ field }) => field))
  // What the settings lean on is written, though it be a system column or a nested field.
  const more = columns === undefined ? [...new Set([...key, ...(newest === undefined ? [] : [newest]), ...update])] : []
  const added: ColumnChoice[] = more
    .filter((field) => !own.has(field))
    .map((field) => ({ field, column: field.replaceAll('.', '_') }))
  return [...added, ...named].map((choice) => ({
    field: choice.field,
    name: choice.column,
    declared: declaredAt(known, choice.field),
    type: choice.type,
    key: key.includes(choice.field),
  }))
}

/** Whether an event changes this column of a row that is there. */
export function changes({ field, key }: WantedColumn, { update, newest }: SqlOptions): boolean {
  return !key && (update === undefined || update.includes(field) || field === newest)
}

/** How values of a declared type are written in a column of text. */
export function formInText(declared: ColumnType | undefined): ValueForm {
  const kind = declared?.kind
  if (kind === 'json' || kind === 'struct' || kind === 'list' || kind === 'map') return 'json'
  return kind === 'uuid' ? 'uuid' : 'text'
}
