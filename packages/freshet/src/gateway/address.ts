/** Which addresses the gateway listens on: there is no authentication yet, so loopback only. */
import { FreshetError, messageOf, systemCodeOf } from '../runtime/errors.ts'

const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|::1|\[::1\])$/i

/** @throws FreshetError `unsafe_address` */
export function checkListenHost(host: string): void {
  if (loopback.test(host)) return
  throw new FreshetError(
    'unsafe_address',
    `Refusing to listen on "${host}": anyone who can reach it could read and write everything.`,
    {
      hint: 'There is no authentication yet, so only 127.0.0.1, ::1 and localhost are allowed. For access from elsewhere use an SSH tunnel.',
    },
  )
}

/** The error for a failed listen. */
export function listenError(error: unknown, host: string, port: number): unknown {
  switch (systemCodeOf(error)) {
    case 'EADDRINUSE':
      return new FreshetError('port_in_use', `Port ${port} on ${host} is in use.`, {
        hint: `Another server may be running: \`freshet status\` tells. Otherwise choose another port, for example --port ${port + 1}.`,
        cause: error,
      })
    case 'EACCES':
      return new FreshetError('port_in_use', `Port ${port} on ${host} may not be used by this user.`, {
        hint: 'Choose a port above 1023.',
        cause: error,
      })
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new FreshetError('unsafe_address', `This machine has no address "${host}" (${messageOf(error)}).`, {
        hint: 'Use 127.0.0.1.',
        cause: error,
      })
    default:
      return error
  }
}

/** Base URL for a host and port. */
export function urlOf(host: string, port: number): string {
  const name = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
  return `http://${name}:${port}`
}
