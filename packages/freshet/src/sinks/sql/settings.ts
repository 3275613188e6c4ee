/** What is to be said of a SQL database as a target, whichever it is. */
import type { SecretConfig } from '../../config/define.ts'
import { isPlainObject, kindOf, mistake, quoted, type Mistake } from '../../config/mistakes.ts'
import type { Setting } from '../../config/plan.ts'
import type { Duration, Reading } from '../../config/quantities.ts'
import { choice, duration, flag, names, secret, section, setting, text } from '../../config/readers.ts'

/** A field, the column that takes it, and the column's type where the user says it. */
export interface ColumnChoice {
  field: string
  column: string
  type?: string
}

/** A field that makes an event the removal of its row, and the value that it then has. */
export interface Tombstone {
  field: string
  value: string | number | boolean
}

/** How the connection is encrypted; false: not at all. Left out: as the address asks for. */
type TlsChoice = boolean | { ca?: string; serverName?: string; verify?: boolean }

/** A name of a table, with or without the schema in front. */
export interface TableName {
  schema?: string
  name: string
}

/** Words of a type, so that nothing but a type can stand there: `numeric(12, 2)`, `timestamp(6) with time zone`, `shop.status`. */
const typeWords = /^[a-z_][\w ]*(\.[a-z_]\w*)?( ?\(\d+(, ?\d+)?\))?( [a-z ]+)?(\[\])?$/i

/** The longest name that both databases take. @returns what is wrong with a name, or undefined */
function nameFault(name: unknown, bytesMax: number): string | undefined {
  if (typeof name !== 'string' || name.trim() === '' || name.includes('\0'))
    return `must be a name, not ${kindOf(name)}`
  if (Buffer.byteLength(name) > bytesMax) return `has the name ${quoted(name)}, which is longer than ${bytesMax} bytes`
  return undefined
}

function table(bytesMax: number) {
  return setting((words): Reading<TableName> => {
    if (typeof words !== 'string')
      return { reason: `must be the name of a table, such as 'shop.orders', not ${kindOf(words)}` }
    const parts = words.split('.')
    const fault = parts.map((part) => nameFault(part, bytesMax)).find((one) => one !== undefined)
    if (fault !== undefined) return { reason: fault }
    if (parts.length > 2) return { reason: `must be a table, or a schema and a table, not ${quoted(words)}` }
    return { value: parts.length === 1 ? { name: words } : { schema: parts[0]!, name: parts[1]! } }
  })
}

function readColumn(field: string, words: unknown, bytesMax: number): ColumnChoice | string {
  const said = typeof words === 'string' ? { column: words } : words
  if (!isPlainObject(said))
    return `has ${quoted(field)}, which must be a column, or { column, type }, not ${kindOf(words)}`
  const odd = Object.keys(said).find((key) => key !== 'column' && key !== 'type')
  if (odd !== undefined) return `has ${quoted(field)} with the unknown key ${quoted(odd)}`
  const { column = field.replaceAll('.', '_'), type } = said
  const fault = nameFault(column, bytesMax)
  if (fault !== undefined) return `has ${quoted(field)}, which ${fault}`
  if (type !== undefined && (typeof type !== 'string' || !typeWords.test(type)))
    return `has ${quoted(field)} with ${kindOf(type)}, which is no type of a column`
  return { field, column: column as string, ...(type !== undefined && { type }) }
}

/** Fields by themselves, or by field the column that takes it. */
function columns(bytesMax: number) {
  return setting((words): Reading<ColumnChoice[]> => {
    const form = "must be a list of fields, or an object such as { 'customer.name': 'customer' }"
    let entries: [unknown, unknown][]
    if (Array.isArray(words)) entries = words.map((field) => [field, {}])
    else if (isPlainObject(words)) entries = Object.entries(words)
    else return { reason: `${form}, not ${kindOf(words)}` }
    if (entries.length === 0) return { reason: `${form}, and have at least one` }
    const value: ColumnChoice[] = []
    for (const [field, said] of entries) {
      if (typeof field !== 'string' || field.trim() === '') return { reason: `${form}; ${kindOf(field)} is no field` }
      const read = readColumn(field, said, bytesMax)
      if (typeof read === 'string') return { reason: read }
      const other = value.find(({ column }) => column === read.column)
      if (other !== undefined)
        return { reason: `gives the column ${quoted(read.column)} both ${quoted(other.field)} and ${quoted(field)}` }
      value.push(read)
    }
    return { value }
  })
}

const tombstone = setting((words): Reading<Tombstone> => {
  if (typeof words === 'string' && words.trim() !== '') return { value: { field: words, value: true } }
  if (isPlainObject(words) && Object.keys(words).every((key) => key === 'field' || key === 'value')) {
    const { field, value } = words
    if (typeof field === 'string' && field.trim() !== '' && ['string', 'number', 'boolean'].includes(typeof value))
      return { value: { field, value: value as string } }
  }
  return { reason: `must be the name of a field, or { field, value }, not ${kindOf(words)}` }
})

const tls = setting((words): Reading<TlsChoice> => {
  if (typeof words === 'boolean') return { value: words }
  const form = 'must be true, false or { ca, serverName, verify }'
  if (!isPlainObject(words)) return { reason: `${form}, not ${kindOf(words)}` }
  const odd = Object.keys(words).find((key) => !['ca', 'serverName', 'verify'].includes(key))
  if (odd !== undefined) return { reason: `${form}; it has the unknown key ${quoted(odd)}` }
  const { ca, serverName, verify } = words
  if (ca !== undefined && typeof ca !== 'string') return { reason: `${form}; ca is the path of a file in PEM form` }
  if (serverName !== undefined && typeof serverName !== 'string') return { reason: `${form}; serverName is a name` }
  if (verify !== undefined && typeof verify !== 'boolean') return { reason: `${form}; verify is true or false` }
  return { value: words as TlsChoice }
})

/** An address with one of these protocols, or the environment variable that has it. What was written is not repeated: it has a password. */
function address(protocols: readonly string[], example: string) {
  return setting((words): Reading<Setting> => {
    const read = secret(`an address such as '${example}'`).safeParse(words)
    if (!read.success) return { reason: read.error.issues[0]!.message }
    if (typeof read.data !== 'string') return { value: read.data }
    const known = URL.canParse(read.data) && protocols.includes(new URL(read.data).protocol)
    return known ? { value: read.data } : { reason: `must be an address such as '${example}'` }
  })
}

/**
 * The settings of one database.
 * @param nameBytesMax the longest name of a table or column that it takes
 */
export function sqlSettings(kind: { protocols: readonly string[]; example: string; nameBytesMax: number }) {
  return section({
    url: address(kind.protocols, kind.example),
    table: table(kind.nameBytesMax),
    key: names('the name of a field, or a list of names').optional(),
    columns: columns(kind.nameBytesMax).optional(),
    update: names('the name of a field, or a list of names').optional(),
    missing: choice(['insert', 'skip', 'refuse']).prefault('insert'),
    newest: text('the name of a field').optional(),
    delete: tombstone.optional(),
    alter: flag().prefault(false),
    tls: tls.optional(),
    timeout: duration({ min: 100, max: 3_600_000 }).prefault('30 s'),
  })
}

/** The settings as an opened sink has them. */
export interface SqlOptions {
  url: string
  table: TableName
  key?: string[]
  columns?: ColumnChoice[]
  update?: string[]
  missing: 'insert' | 'skip' | 'refuse'
  newest?: string
  delete?: Tombstone
  alter: boolean
  tls?: TlsChoice
  timeout: number
}

/** What is wrong with settings that are right one by one. */
export function sqlMistakes(settings: Record<string, unknown>): Mistake[] {
  const { key, columns: chosen, update, newest, missing } = settings as unknown as SqlOptions
  const found: Mistake[] = []
  if (key === undefined) {
    const why = 'needs `key`, the fields by which rows are found'
    for (const name of ['update', 'newest', 'delete']) if (settings[name] !== undefined) found.push(mistake(name, why))
  }
  if (missing !== 'insert' && update === undefined)
    found.push(mistake('missing', 'says what becomes of an update without a row, and needs `update`'))
  const both = update?.find((field) => key?.includes(field) === true)
  if (both !== undefined) found.push(mistake('update', `has ${quoted(both)}, which is of the key and never changes`))
  if (chosen === undefined) return found
  const mapped = new Set(chosen.map(({ field }) => field))
  const named = Object.entries({ key, update, newest: newest === undefined ? [] : [newest] })
  for (const [name, fields] of named) {
    const lost = fields?.find((field) => !mapped.has(field))
    if (lost !== undefined) found.push(mistake(name, `has ${quoted(lost)}, which \`columns\` has no column for`))
  }
  return found
}

/** `sink.postgres(...)` and `sink.mysql(...)`, as a user writes them. */
export interface SqlConfig {
  /** Where the database is; `env('NAME')` keeps its password out of the file. */
  url: SecretConfig
  /** `'orders'` or `'shop.orders'`. It is made when it is not there. */
  table: string
  /** Fields whose values tell rows apart: an event replaces the row of its key. Left out: each event is a row. */
  key?: string | readonly string[]
  /** The fields that are written, or the column for each. Paths lead into nested fields. Left out: all fields that the stream declares. */
  columns?: readonly string[] | Readonly<Record<string, string | { column?: string; type?: string }>>
  /** Only these fields of a row are changed. */
  update?: string | readonly string[]
  /** With `update`, what becomes of an event whose row is not there. Default `'insert'`. */
  missing?: 'insert' | 'skip' | 'refuse'
  /** Field by which an older event never changes a newer row. */
  newest?: string
  /** Field that makes an event the removal of its row: when it is true, or has a given value. */
  delete?: string | { field: string; value: string | number | boolean }
  /** Whether columns that the table lacks are added. Default false. */
  alter?: boolean
  /** Default: on, with the certificate verified, except to this machine. */
  tls?: boolean | { ca?: string; serverName?: string; verify?: boolean }
  /** How long connecting, and each statement, may take. Default `'30 s'`. */
  timeout?: Duration
}
