/** What is to be said of a Slack-compatible webhook. */
import type { SystemFields } from '../../config/define.ts'
import { kindOf } from '../../config/mistakes.ts'
import type { Duration, Reading } from '../../config/quantities.ts'
import { duration, section, setting, whole } from '../../config/readers.ts'
import type { BreakerSettings } from '../http/circuit-breaker.ts'
import { address, breaker, timeout, type HttpConfig } from '../http/http-settings.ts'
import { readTemplate } from '../text-template.ts'

/** A text with places for values, or a function of an event. */
const message = setting((words): Reading<string> => {
  if (typeof words === 'function') return { value: 'function' }
  if (typeof words !== 'string' || words.trim() === '')
    return { reason: `must be a text such as 'Order {order_id} shipped', or a function, not ${kindOf(words)}` }
  const parts = readTemplate(words)
  return 'reason' in parts ? { reason: parts.reason } : { value: words }
})

export const slackSettings = section({
  url: address(),
  text: message,
  pace: duration({ min: 0, max: 3_600_000 }).prefault('1 s'),
  fold: whole({ min: 1, max: 200 }).prefault(20),
  timeout,
  breaker,
})

/** The settings as an opened sink has them. */
export interface SlackOptions {
  url: string
  /** Left out where it is a function. */
  text?: string
  pace: number
  fold: number
  timeout: number
  breaker: BreakerSettings
}

/** `sink.slack(...)`, as a user writes it. */
export interface SlackConfig<Source> extends HttpConfig {
  /** The line for an event: a text such as `'Order {order_id} shipped'`, or a function; null or '' for none. */
  text: string | ((event: Source & SystemFields) => string | null | undefined | Promise<string | null | undefined>)
  /** Time from one message to the next at least. Default `'1 s'`. */
  pace?: Duration
  /** Events in one message at most, when several wait. Default 20. */
  fold?: number
}
