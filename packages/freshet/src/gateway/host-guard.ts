/**
 * Only requests that name this machine are served: a web page that points its own domain at 127.0.0.1 (DNS rebinding) sends that
 * domain in Host, and a page of another site sends its Origin.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { FreshetError } from '../runtime/errors.ts'

const loopbackHost = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i
const loopbackOrigin = /^https?:\/\/(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i

/** The error for a request that does not come from this machine's own, or undefined. */
export function foreignHost(headers: IncomingHttpHeaders): FreshetError | undefined {
  const { host, origin } = headers
  if (host === undefined || !loopbackHost.test(host)) {
    return new FreshetError('forbidden_host', `Host ${JSON.stringify(host ?? '')} is not a name of this machine.`, {
      hint: 'Use localhost, 127.0.0.1 or [::1].',
    })
  }
  if (origin !== undefined && !loopbackOrigin.test(origin)) {
    return new FreshetError('forbidden_host', `Requests from pages of ${JSON.stringify(origin)} are not accepted.`, {
      hint: 'Send events from a program on this machine, or from a page served by it.',
    })
  }
  return undefined
}
