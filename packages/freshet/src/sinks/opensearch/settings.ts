/** What is to be said of OpenSearch or Elasticsearch. */
import type { SecretConfig } from '../../config/define.ts'
import { isPlainObject, kindOf, mistake, type Mistake } from '../../config/mistakes.ts'
import type { Reading, Size } from '../../config/quantities.ts'
import { flag, MiB, secret, section, setting, size, text } from '../../config/readers.ts'
import type { BreakerSettings } from '../http/circuit-breaker.ts'
import { address, breaker, headers, timeout, type HttpConfig } from '../http/http-settings.ts'
import { indexMistake, readIndexTemplate } from './index-name.ts'

/** A field that marks an event as a removal, and the value it then has; true for a field alone. */
interface Tombstone {
  field: string
  value: string | number | boolean
}

const index = setting((words): Reading<string> => {
  if (typeof words !== 'string')
    return { reason: `must be the name of an index, such as 'orders', not ${kindOf(words)}` }
  const parts = readIndexTemplate(words)
  if ('reason' in parts) return parts
  const wrong = indexMistake(parts.map((part) => ('words' in part ? part.words : 'x')).join(''))
  return wrong === undefined ? { value: words } : { reason: wrong }
})

const tombstone = setting((words): Reading<Tombstone> => {
  if (typeof words === 'string' && words.trim() !== '') return { value: { field: words, value: true } }
  if (isPlainObject(words) && Object.keys(words).every((key) => key === 'field' || key === 'value')) {
    const { field, value } = words
    if (typeof field === 'string' && field.trim() !== '' && ['string', 'number', 'boolean'].includes(typeof value))
      return { value: { field, value: value as string } }
  }
  return { reason: `must be the name of a field, or { field, value }, not ${kindOf(words)}` }
})

export const openSearchSettings = section({
  url: address(),
  index,
  id: text('the name of a field').optional(),
  version: text('the name of a field').optional(),
  delete: tombstone.optional(),
  user: text('a name').optional(),
  password: secret('a password').optional(),
  apiKey: secret('an API key').optional(),
  headers: headers().optional(),
  gzip: flag().prefault(true),
  bulk: size({ min: 1024, max: 256 * MiB }).prefault('5 MiB'),
  timeout,
  breaker,
})

/** What is wrong with settings that are right one by one. */
export function openSearchMistakes(settings: Record<string, unknown>): Mistake[] {
  const { user, password, apiKey } = settings
  const found: Mistake[] = []
  if (apiKey !== undefined && (user !== undefined || password !== undefined))
    found.push(mistake('apiKey', 'is one way to sign in, and `user` with `password` the other: leave one out'))
  else if (user !== undefined && password === undefined) found.push(mistake('password', 'is missing beside `user`'))
  else if (password !== undefined && user === undefined) found.push(mistake('user', 'is missing beside `password`'))
  if (settings['delete'] !== undefined && settings['id'] === undefined)
    found.push(
      mistake('id', 'is missing: without it each event is a document of its own, and `delete` would find none'),
    )
  return found
}

/** The settings as an opened sink has them. */
export interface OpenSearchOptions {
  url: string
  index: string
  id?: string
  version?: string
  delete?: Tombstone
  user?: string
  password?: string
  apiKey?: string
  headers?: Record<string, string>
  gzip: boolean
  bulk: number
  timeout: number
  breaker: BreakerSettings
}

/** `sink.opensearch(...)` and `sink.elasticsearch(...)`, as a user writes them. */
export interface OpenSearchConfig extends HttpConfig {
  /** Name of the index, with places for the event's time and values: `'orders-{month}'`, `'shop-{country}'`. */
  index: string
  /** Field that is the document's id. Left out: the event's id. */
  id?: string
  /** Field by which an older event never replaces a newer one: a whole number from 0, or a date and time. */
  version?: string
  /** Field that marks an event as the removal of its document: when it is true, or has a given value. */
  delete?: string | { field: string; value: string | number | boolean }
  user?: string
  password?: SecretConfig
  /** In place of `user` and `password`. */
  apiKey?: SecretConfig
  headers?: Readonly<Record<string, SecretConfig>>
  /** Whether requests are compressed. Default true. */
  gzip?: boolean
  /** Largest request, before compression. Default `'5 MiB'`. */
  bulk?: Size
}
