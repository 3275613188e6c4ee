/** What errors of PostgreSQL mean, by their SQLSTATE. */
import type { SqlFault } from '../sql/sql-target.ts'

/** The SQLSTATE of an error that the server sent. */
export function stateOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}

/** PostgreSQL, "Error Codes": 22 is bad data, 23 a violated constraint, 08 and 57P a connection that ends. */
export function faultOf(error: unknown): SqlFault {
  const state = stateOf(error)
  if (state === undefined || /^(08|57P|25P03)/.test(state)) return 'connection'
  return /^(22|23|44)/.test(state) ? 'events' : 'target'
}

const hints: Record<string, string> = {
  '28P01': 'Check user and password in the `url` of the sink.',
  '28000': 'Check the user in the `url` of the sink, and what pg_hba.conf asks of connections.',
  '3D000': 'Create the database, or correct its name in the `url` of the sink.',
  '3F000': 'Create the schema: a sink makes its table, but no schemas.',
  '42501':
    'Grant the user of the sink SELECT, INSERT, UPDATE and DELETE on its table and on `freshet_checkpoints`; CREATE on the schema where they are to be made.',
  '42P01': 'The table is gone; it is made anew when the sink connects again.',
  '42703': 'The table was changed; it is checked anew when the sink connects again.',
  '57014': 'A statement took longer than the `timeout` of the sink allows, or somebody cancelled it.',
}

export function hintFor(error: unknown): string | undefined {
  const state = stateOf(error)
  if (state !== undefined) return hints[state]
  const message = error instanceof Error ? error.message : ''
  if (message.includes('does not support SSL'))
    return 'Turn TLS on at the server, or say `tls: false` where the network between is safe.'
  return /certificate/i.test(message) ? 'Say `tls: { ca: "path" }` for a certificate of your own authority.' : undefined
}
