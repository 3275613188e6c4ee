/** What errors of MySQL and MariaDB mean, by their numbers. */
import type { SqlFault } from '../sql/sql-target.ts'

/** The number of an error that the server sent. */
export function numberOf(error: unknown): number | undefined {
  const number = (error as { errno?: unknown; sqlState?: unknown } | null)?.errno
  const sent = (error as { sqlState?: unknown } | null)?.sqlState
  return typeof number === 'number' && typeof sent === 'string' && sent !== '' ? number : undefined
}

const data: ReadonlySet<number> = new Set([
  1048, // a column cannot be null
  1062, // duplicate of another unique key
  1216,
  1217,
  1451,
  1452, // foreign keys
  1263,
  1264,
  1265,
  1292,
  1366,
  1367,
  1406,
  1411,
  1416,
  1690, // values that do not fit
  3140,
  3141,
  3156,
  3157,
  3158,
  3819,
  4025, // JSON, and constraints that are checked
])

const gone: ReadonlySet<number> = new Set([
  1040, 1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1927, 3169, 4031,
])

/** MySQL, "Server Error Message Reference". */
export function faultOf(error: unknown): SqlFault {
  const number = numberOf(error)
  if (number === undefined || gone.has(number)) return 'connection'
  const state = (error as { sqlState?: string }).sqlState ?? ''
  return data.has(number) || state.startsWith('22') ? 'events' : 'target'
}

const grants =
  'Grant the user of the sink SELECT, INSERT, UPDATE and DELETE on its table and on `freshet_checkpoints`; CREATE where they are to be made.'

const hints: Record<number, string> = {
  1044: grants,
  1045: 'Check user and password in the `url` of the sink.',
  1049: 'Create the database, or correct its name in the `url` of the sink.',
  1046: 'Name the database: in the `url` of the sink, or before its table.',
  1142: grants,
  1143: grants,
  1146: 'The table is gone; it is made anew when the sink connects again.',
  1153: 'Raise `max_allowed_packet` at the server: an event is larger.',
  1054: 'The table was changed; it is checked anew when the sink connects again.',
}

export function hintFor(error: unknown): string | undefined {
  const number = numberOf(error)
  if (number !== undefined) return hints[number]
  const message = error instanceof Error ? error.message : ''
  if (/does not support (secure|ssl)/i.test(message))
    return 'Turn TLS on at the server, or say `tls: false` where the network between is safe.'
  return /certificate/i.test(message) ? 'Say `tls: { ca: "path" }` for a certificate of your own authority.' : undefined
}
