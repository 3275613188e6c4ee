/** What is to be said of files. */
import type { z } from 'zod'
import type { SecretConfig, SystemFields } from '../../config/define.ts'
import { isPlainObject, kindOf, mistake, type Mistake } from '../../config/mistakes.ts'
import type { Duration, Reading, Size } from '../../config/quantities.ts'
import { choice, code, duration, flag, GiB, secret, section, setting, size, text, whole } from '../../config/readers.ts'
import type { BucketSettings } from '../../storage/object-store.ts'
import { address } from '../http/http-settings.ts'
import { nameMistake } from './file-name.ts'

/** One column of a CSV or fixed-width file, as it is checked. */
export interface FileColumn {
  /** Path of its value; left out for a constant. */
  field?: string
  /** In the header of a CSV file. */
  name: string
  /** A constant in place of a field. */
  value?: string
  /** Characters, in a fixed-width file. */
  width?: number
  align?: 'left' | 'right'
  /** One character. */
  pad?: string
  /** Whether a value that does not fit is cut; otherwise its event is refused. */
  cut?: boolean
}

const columnKeys = ['field', 'name', 'value', 'width', 'align', 'pad', 'cut']

function readColumn(words: unknown): FileColumn | string {
  if (typeof words === 'string' && words.trim() !== '') return { field: words, name: words }
  if (!isPlainObject(words)) return `must be the name of a field, or an object, not ${kindOf(words)}`
  const unknown = Object.keys(words).find((key) => !columnKeys.includes(key))
  if (unknown !== undefined) return `has the unknown key "${unknown}" (known: ${columnKeys.join(', ')})`
  const { field, name, value, width, align, pad, cut } = words
  if ((field === undefined) === (value === undefined)) return 'must have either `field` or `value`'
  if (field !== undefined && (typeof field !== 'string' || field.trim() === '')) return 'has a `field` that is no name'
  if (name !== undefined && typeof name !== 'string') return 'has a `name` that is no text'
  if (value !== undefined && typeof value !== 'string') return 'has a `value` that is no text'
  if (width !== undefined && (!Number.isInteger(width) || (width as number) < 1 || (width as number) > 10_000))
    return 'has a `width` that is no whole number from 1 to 10000'
  if (align !== undefined && align !== 'left' && align !== 'right')
    return "has an `align` that is not 'left' or 'right'"
  if (pad !== undefined && (typeof pad !== 'string' || Array.from(pad).length !== 1))
    return 'has a `pad` that is no character'
  if (cut !== undefined && typeof cut !== 'boolean') return 'has a `cut` that is not true or false'
  return { ...(words as Partial<FileColumn>), name: name ?? field ?? '' }
}

const columns = setting((words): Reading<FileColumn[]> => {
  if (!Array.isArray(words) || words.length === 0) return { reason: `must be a list of columns, not ${kindOf(words)}` }
  const value: FileColumn[] = []
  for (const [index, one] of words.entries()) {
    const column = readColumn(one)
    if (typeof column === 'string') return { reason: `column ${index + 1} ${column}` }
    value.push(column)
  }
  return { value }
})

const fileName = setting((words): Reading<string> => {
  const wrong =
    typeof words === 'string' && words.trim() !== ''
      ? nameMistake(words)
      : `must be the name of a file, not ${kindOf(words)}`
  return wrong === undefined ? { value: words as string } : { reason: wrong }
})

const marker = setting((words): Reading<string> => {
  if (words === true) return { value: '.done' }
  if (words === false) return { value: '' }
  if (typeof words === 'string' && /^\.[\w.-]{1,32}$/.test(words)) return { value: words }
  return { reason: `must be true, false, or what follows the file's name, such as '.done', not ${kindOf(words)}` }
})

const delimiter = setting((words): Reading<string> => {
  if (typeof words === 'string' && words.length === 1 && !/["\r\n]/.test(words)) return { value: words }
  return { reason: `must be one character, such as ';', and no quote or line end, not ${kindOf(words)}` }
})

const bucketName = text("the name of a bucket, such as 'my-events'").refine(
  (words) => /^[A-Za-z0-9][\w.-]{1,61}[A-Za-z0-9]$/.test(words),
  { error: "must be the name of a bucket, such as 'my-events': 3 to 63 letters, digits, dots and dashes" },
)

const keyPrefix = setting((words): Reading<string> => {
  if (typeof words !== 'string')
    return { reason: `must be what keys begin with, such as 'exports/orders', not ${kindOf(words)}` }
  const prefix = words.replace(/\/$/, '')
  if (prefix === '' || Buffer.byteLength(prefix) > 200) return { reason: 'must have 1 to 200 bytes' }
  // oxlint-disable-next-line no-control-regex -- these are what must not be in it
  if (/[\0-\x1f\x7f\\{}]/.test(prefix))
    return { reason: 'must not have backslashes, braces or control characters: places are for `name`' }
  if (prefix.split('/').some((part) => part === '' || part === '.' || part === '..'))
    return { reason: 'must be a path without empty parts, and without a slash in front' }
  return { value: prefix }
})

const s3 = section({
  bucket: bucketName,
  prefix: keyPrefix.optional(),
  region: text("the name of a region, such as 'eu-central-1'").optional(),
  endpoint: address('https://s3.example.com').optional(),
  accessKeyId: secret('the id of an access key').optional(),
  secretAccessKey: secret('a secret access key').optional(),
  pathStyle: flag().optional(),
})

export const filesSettings = section({
  folder: text('the path of a folder').optional(),
  s3: s3.optional(),
  format: choice(['ndjson', 'csv', 'fixed', 'parquet']).optional(),
  template: code().optional(),
  name: fileName.prefault('{stream}-{sequence}.{ext}'),
  extension: text('what file names end in')
    .refine((words) => /^[\w.-]{1,32}$/.test(words), { error: "must be letters and digits, such as 'dat'" })
    .optional(),
  time: choice(['event_time', 'received_at']).prefault('event_time'),
  every: duration({ min: 100, max: 366 * 86_400_000 }).prefault('1 h'),
  events: whole({ min: 1, max: 100_000_000 }).prefault(1_000_000),
  size: size({ min: 1024, max: GiB }).prefault('64 MiB'),
  compress: choice(['gzip', 'zstd']).optional(),
  done: marker.prefault(false),
  columns: columns.optional(),
  delimiter: delimiter.optional(),
  header: flag().optional(),
  newline: choice(['\n', '\r\n']).optional(),
  encoding: choice(['utf8', 'latin1']).prefault('utf8'),
})

/** The settings as an opened sink has them. */
export interface FilesOptions {
  /** Either this or `s3`. */
  folder?: string
  s3?: BucketSettings
  format?: 'ndjson' | 'csv' | 'fixed' | 'parquet'
  name: string
  extension?: string
  time: 'event_time' | 'received_at'
  every: number
  events: number
  size: number
  compress?: 'gzip' | 'zstd'
  /** What the name of a done-marker ends in; empty for none. */
  done: string
  columns?: FileColumn[]
  delimiter?: string
  header?: boolean
  newline?: '\n' | '\r\n'
  encoding: 'utf8' | 'latin1'
}

/** Which formats a setting is for. */
const belongsTo: Readonly<Record<string, readonly string[]>> = {
  columns: ['csv', 'fixed'],
  delimiter: ['csv'],
  header: ['csv'],
  newline: ['csv', 'fixed', 'ndjson'],
  compress: ['csv', 'fixed', 'ndjson', 'template'],
}

/** What is wrong with settings that are right one by one. */
export function filesMistakes(settings: Record<string, unknown>): Mistake[] {
  const { format, template } = settings
  const misplaced = placeMistakes(settings)
  if (misplaced.length > 0) return misplaced
  if (template !== undefined && format !== undefined)
    return [mistake('format', 'is what `template` makes: leave one of the two out')]
  const kind = template === undefined ? ((format as string | undefined) ?? 'ndjson') : 'template'
  const found = Object.entries(belongsTo)
    .filter(([key, kinds]) => settings[key] !== undefined && !kinds.includes(kind))
    .map(([key, kinds]) =>
      mistake(
        key,
        `is for ${kinds.join(' and ')} only, and these files are ${kind === 'template' ? 'made by `template`' : kind}`,
      ),
    )
  const list = settings['columns'] as readonly FileColumn[] | undefined
  if (kind === 'fixed' && list === undefined)
    found.push(mistake('columns', "is missing: fixed-width files need them, such as { field: 'sku', width: 12 }"))
  const unfit = list?.findIndex(({ width }) => (width === undefined) === (kind === 'fixed')) ?? -1
  if (unfit >= 0 && kind === 'fixed') found.push(mistake('columns', `column ${unfit + 1} has no \`width\``))
  if (unfit >= 0 && kind === 'csv')
    found.push(mistake('columns', `column ${unfit + 1} has a \`width\`, which is for fixed-width files`))
  if (settings['encoding'] === 'latin1' && (kind === 'ndjson' || kind === 'parquet'))
    found.push(mistake('encoding', `of ${kind} is always utf8`))
  return found
}

/** What is wrong with where the files are to go. */
function placeMistakes({ folder, s3: bucket }: Record<string, unknown>): Mistake[] {
  if (folder === undefined && bucket === undefined)
    return [mistake('folder', 'is missing: say where the files go, by `folder` or by `s3`')]
  if (bucket === undefined) return []
  if (folder !== undefined) return [mistake('s3', 'is one place for the files, and `folder` another: leave one out')]
  const { accessKeyId, secretAccessKey, endpoint } = bucket as z.output<typeof s3>
  if (accessKeyId !== undefined && secretAccessKey === undefined)
    return [mistake('s3.secretAccessKey', 'is missing beside `accessKeyId`')]
  if (secretAccessKey !== undefined && accessKeyId === undefined)
    return [mistake('s3.accessKeyId', 'is missing beside `secretAccessKey`')]
  if (typeof endpoint === 'string' && new URL(endpoint).username !== '')
    return [
      mistake('s3.endpoint', 'has a name in it: the place for credentials is `accessKeyId` and `secretAccessKey`'),
    ]
  return []
}

/** One column, as a user writes it: the name of a field, a field with how it is written, or a constant. */
type FileColumnConfig =
  | string
  | ({
      /** Name in the header of a CSV file. Default: the field. */
      name?: string
      /** Characters, in a fixed-width file. */
      width?: number
      /** Default `'left'`. */
      align?: 'left' | 'right'
      /** What a value is filled up with: one character. Default a space. */
      pad?: string
      /** Whether a value that does not fit is cut; otherwise its event is refused. Default false. */
      cut?: boolean
    } & ({ field: string; value?: never } | { value: string; field?: never }))

/** `sink.files(...)`, as a user writes it. */
export type FilesConfig<Source> = FilesPlace & FileShape<Source>

/** Where the files go: a folder, relative to the configuration, or a bucket. */
type FilesPlace = { folder: string; s3?: never } | { s3: S3Config; folder?: never }

/** A bucket of S3, or of a server that talks like it. */
interface S3Config {
  bucket: string
  /** What all keys begin with: `'exports/orders'`. */
  prefix?: string
  /** Default: with an endpoint `'us-east-1'`, without what the environment says (`AWS_REGION`). */
  region?: string
  /** Address of a server that is not Amazon's. */
  endpoint?: SecretConfig
  /** With `secretAccessKey`. Default: what the environment has (`AWS_ACCESS_KEY_ID`, a profile, the role of the machine). */
  accessKeyId?: SecretConfig
  secretAccessKey?: SecretConfig
  /** Whether the bucket is named in the path of addresses, not in their host. Default: true with an endpoint. */
  pathStyle?: boolean
}

interface FileShape<Source> {
  /** Default `'ndjson'`. */
  format?: 'ndjson' | 'csv' | 'fixed' | 'parquet'
  /** In place of `format`: makes the text or bytes of a file of its events. */
  template?: (
    events: readonly (Source & SystemFields)[],
    about: { name: string; sequence: number },
  ) => string | Uint8Array | Promise<string | Uint8Array>
  /** Name of a file, with places such as `{stream}`, `{date}` and `{fields.customer}`. Default `'{stream}-{sequence}.{ext}'`. */
  name?: string
  /** What `{ext}` is, without the ending of `compress`. Default: that of the format. */
  extension?: string
  /** The time by which files are named. Default `'event_time'`. */
  time?: 'event_time' | 'received_at'
  /** A file is ended by the clock: every full hour for `'1 h'`, at midnight UTC for `'1 day'`. Default `'1 h'`. */
  every?: Duration
  /** ... or when it has so many events. Default 1,000,000. */
  events?: number
  /** ... or when its events have so many bytes, before compression. Default `'64 MiB'`. */
  size?: Size
  compress?: 'gzip' | 'zstd'
  /** Whether a marker is put beside each file when it is complete, or what its name ends in. Default false; true is `'.done'`. */
  done?: boolean | string
  /** Columns of CSV and fixed-width files. Default for CSV: the stream's own. */
  columns?: readonly FileColumnConfig[]
  /** Of CSV. Default `','`. */
  delimiter?: string
  /** Of CSV: whether its first line has the names of columns. Default true. */
  header?: boolean
  /** Default `'\n'`, for CSV `'\r\n'`. */
  newline?: '\n' | '\r\n'
  /** Default `'utf8'`. */
  encoding?: 'utf8' | 'latin1'
}
