import { chmod, rm } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'

/** An HTTP server on a unix socket that only this user can open. What a process that died has left there is removed. */
export async function listenOnSocket(path: string, listener: RequestListener): Promise<Server> {
  const server = createServer(listener)
  await rm(path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  await chmod(path, 0o600)
  return server
}

/** Takes no more requests; resolves when those under way are answered. */
export function drained(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeIdleConnections()
  })
}
