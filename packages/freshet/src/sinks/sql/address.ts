/** Addresses of databases, and how connections to them are encrypted. */
import { isAbsolute, join } from 'node:path'
import { messageOf } from '../../runtime/errors.ts'
import type { SinkDeps } from '../sink.ts'
import { targetFault } from './fault.ts'
import type { SqlOptions } from './settings.ts'

export interface SqlAddress {
  /** A host's name or address, or the path of a socket's folder or file. */
  host: string
  port: number
  user: string
  password: string | undefined
  database: string | undefined
}

export interface TlsOptions {
  ca?: string
  servername?: string
  rejectUnauthorized: boolean
}

/** Reads `scheme://user:password@host:port/database`; `?host=/folder` is a socket. @throws FreshetError for another form */
export function readAddress(url: string, portDefault: number): SqlAddress {
  // The address itself is kept out of messages: it has a password.
  if (!URL.canParse(url)) throw targetFault('The `url` of the sink is no address.')
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  const odd = [...searchParams.keys()].find((key) => key !== 'host')
  if (odd !== undefined)
    throw targetFault(
      `The \`url\` of the sink has the unknown parameter "${odd}".`,
      'TLS has a setting of its own: `tls`.',
    )
  const host = searchParams.get('host') ?? decodeURIComponent(hostname).replace(/^\[|\]$/g, '')
  const database = decodeURIComponent(pathname.slice(1))
  return {
    host: host === '' ? 'localhost' : host,
    port: port === '' ? portDefault : Number(port),
    user: decodeURIComponent(username),
    password: password === '' ? undefined : decodeURIComponent(password),
    database: database === '' ? undefined : database,
  }
}

/** Where the target is, for messages: without user and password. */
export function placeOf({ host, port, database }: SqlAddress): string {
  const at = host.startsWith('/') ? host : `${host}:${port}`
  return database === undefined ? at : `${at}/${database}`
}

const isLocal = (host: string): boolean => host.startsWith('/') || /^(localhost|127(\.\d+){3}|::1)$/.test(host)

/** How to encrypt; false for not at all. Unless told otherwise, all but connections within this machine are, and verified. */
export async function readTls(
  { tls }: Pick<SqlOptions, 'tls'>,
  host: string,
  { baseDir, fileSystem }: Pick<SinkDeps, 'baseDir' | 'fileSystem'>,
): Promise<TlsOptions | false> {
  if (tls === undefined || typeof tls === 'boolean')
    return (tls ?? !isLocal(host)) ? { rejectUnauthorized: true } : false
  const options: TlsOptions = { rejectUnauthorized: tls.verify ?? true }
  if (tls.serverName !== undefined) options.servername = tls.serverName
  if (tls.ca === undefined) return options
  const path = isAbsolute(tls.ca) ? tls.ca : join(baseDir, tls.ca)
  try {
    options.ca = Buffer.from(await fileSystem.readFile(path)).toString()
  } catch (error) {
    throw targetFault(`The certificates ${path} cannot be read: ${messageOf(error)}`, undefined, error)
  }
  return options
}
