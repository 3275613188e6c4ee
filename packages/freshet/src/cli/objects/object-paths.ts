/** Addresses of objects. */

export function bucketPath(bucket: string, query: Record<string, string> = {}): string {
  return `/v1/objects/${encodeURIComponent(bucket)}${queryText(query)}`
}

/** The slashes of a key stay: they are parts of the path. */
export function objectPath(bucket: string, key: string, query: Record<string, string> = {}): string {
  const parts = key.split('/').map((part) => encodeURIComponent(part))
  return `/v1/objects/${encodeURIComponent(bucket)}/${parts.join('/')}${queryText(query)}`
}

function queryText(query: Record<string, string>): string {
  const text = new URLSearchParams(query).toString()
  return text === '' ? '' : `?${text}`
}
