/** Every route there is, for the answers to requests that match none. */
export interface RouteEntry {
  method: 'GET' | 'POST'
  path: string
}

export const routeTable: readonly RouteEntry[] = [
  { method: 'POST', path: '/v1/streams/{stream}/events' },
  { method: 'GET', path: '/v1/streams' },
  { method: 'POST', path: '/v1/sql' },
  { method: 'GET', path: '/v1/status' },
  { method: 'GET', path: '/healthz' },
  { method: 'GET', path: '/readyz' },
  { method: 'GET', path: '/metrics' },
  { method: 'GET', path: '/openapi.json' },
  { method: 'GET', path: '/docs' },
  { method: 'GET', path: '/' },
]
