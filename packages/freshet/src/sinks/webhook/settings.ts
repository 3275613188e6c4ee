/** What is to be said of a webhook. */
import type { SecretConfig, SystemFields } from '../../config/define.ts'
import { kindOf } from '../../config/mistakes.ts'
import type { Setting } from '../../config/plan.ts'
import type { Reading } from '../../config/quantities.ts'
import { choice, code, secret, section, setting, whole } from '../../config/readers.ts'
import { address, breaker, headers, timeout, type HttpConfig } from '../http/http-settings.ts'
import type { BreakerSettings } from '../http/circuit-breaker.ts'
import { isSecret } from './signature.ts'

const secretWords = "a secret such as 'whsec_' and 32 bytes in base64"

/** One secret or several: a request is signed with each. */
const secrets = setting((words): Reading<Setting[]> => {
  const list = Array.isArray(words) ? (words as unknown[]) : [words]
  if (list.length === 0) return { reason: `must be ${secretWords}, not an empty list` }
  const value: Setting[] = []
  for (const one of list) {
    const read = secret(secretWords).safeParse(one)
    // What was written is not repeated: it may be most of a secret.
    if (!read.success) return { reason: `must be ${secretWords}, or env('NAME'), or a list of them` }
    if (typeof read.data === 'string' && !isSecret(read.data))
      return { reason: `must be ${secretWords}: 24 to 64 bytes, "whsec_" in front` }
    value.push(read.data)
  }
  return { value }
})

const statuses = setting((words): Reading<number[]> => {
  const faulty = Array.isArray(words)
    ? words.find((one) => !Number.isInteger(one) || (one as number) < 400 || (one as number) > 499)
    : words
  if (!Array.isArray(words) || faulty !== undefined)
    return { reason: `must be a list of statuses from 400 to 499, not ${kindOf(faulty)}` }
  return { value: words as number[] }
})

export const webhookSettings = section({
  url: address(),
  secret: secrets.optional(),
  headers: headers().optional(),
  body: code().optional(),
  batch: whole({ min: 1, max: 10_000 }).prefault(1),
  format: choice(['json', 'ndjson']).prefault('json'),
  refuse: statuses.optional(),
  timeout,
  breaker,
})

/** The settings as an opened sink has them: what stood in environment variables is in its place. */
export interface WebhookOptions {
  url: string
  secret?: string[]
  headers?: Record<string, string>
  batch: number
  format: 'json' | 'ndjson'
  refuse?: number[]
  timeout: number
  breaker: BreakerSettings
}

/** `sink.webhook(...)`, as a user writes it. */
export interface WebhookConfig<Source> extends HttpConfig {
  /** Secrets of Standard Webhooks, `whsec_...`: requests are signed with each of them. Left out: not signed. */
  secret?: SecretConfig | readonly SecretConfig[]
  /** Headers that each request has. */
  headers?: Readonly<Record<string, SecretConfig>>
  /** What is sent of an event; null or undefined for nothing. Left out: the event with its system columns. */
  body?: (event: Source & SystemFields) => unknown
  /** Events in one request at most. Default 1. */
  batch?: number
  /** `json`: an event, or with `batch` a list of them; `ndjson`: one a line. Default `'json'`. */
  format?: 'json' | 'ndjson'
  /**
   * Statuses from 400 to 499 by which the target says that it will never take an event. Left out: all but those that tell of
   * the target rather than of the event (401 to 405, 407 to 410, 421, 423, 425, 429).
   */
  refuse?: readonly number[]
}
