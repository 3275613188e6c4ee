/** Every route there is, for the answers to requests that match none. */
export interface RouteEntry {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: string
}

export const routeTable: readonly RouteEntry[] = [
  { method: 'POST', path: '/v1/streams/{stream}/events' },
  { method: 'POST', path: '/v1/streams/{stream}/heartbeats' },
  { method: 'POST', path: '/v1/streams/{stream}/erasures' },
  { method: 'GET', path: '/v1/streams' },
  { method: 'GET', path: '/v1/receipts/{receipt}' },
  { method: 'GET', path: '/v1/sites' },
  { method: 'PUT', path: '/v1/sites/{site}' },
  { method: 'DELETE', path: '/v1/sites/{site}' },
  { method: 'POST', path: '/v1/sql' },
  { method: 'POST', path: '/v1/maintenance' },
  { method: 'GET', path: '/v1/maintenance/{run}' },
  { method: 'GET', path: '/v1/erasures' },
  { method: 'GET', path: '/v1/erasures/{id}' },
  { method: 'GET', path: '/v1/tables/{table}/tags' },
  { method: 'POST', path: '/v1/tables/{table}/tags' },
  { method: 'DELETE', path: '/v1/tables/{table}/tags/{tag}' },
  { method: 'POST', path: '/v1/tables/{table}/rollback' },
  { method: 'GET', path: '/v1/objects' },
  { method: 'GET', path: '/v1/objects/{bucket}' },
  { method: 'POST', path: '/v1/objects/{bucket}' },
  { method: 'GET', path: '/v1/objects/{bucket}/{key}' },
  { method: 'PUT', path: '/v1/objects/{bucket}/{key}' },
  { method: 'POST', path: '/v1/objects/{bucket}/{key}' },
  { method: 'DELETE', path: '/v1/objects/{bucket}/{key}' },
  { method: 'GET', path: '/v1/status' },
  { method: 'GET', path: '/healthz' },
  { method: 'GET', path: '/readyz' },
  { method: 'GET', path: '/metrics' },
  { method: 'GET', path: '/openapi.json' },
  { method: 'GET', path: '/docs' },
  { method: 'GET', path: '/' },
]
