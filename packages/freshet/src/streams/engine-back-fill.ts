/** Asks the engine for what tables have, over its socket. */
import { Pool } from 'undici'
import { FreshetError, messageOf, type Problem } from '../runtime/errors.ts'
import type { BackFill, BackFillRows } from './back-fill.ts'

export interface EngineBackFill extends BackFill {
  close(): Promise<void>
}

/** Reading a page may sort what does not fit into memory. */
const silenceMsMax = 300_000
const lineFeed = 0x0a

/** @param socket path of the engine's unix socket */
export function openBackFill(socket: string): EngineBackFill {
  const pool = new Pool('http://engine', {
    socketPath: socket,
    connections: 2,
    headersTimeout: silenceMsMax,
    bodyTimeout: silenceMsMax,
  })
  return {
    begin: async (stream, consumer) => {
      const answer = await ask(pool, 'begin', { stream, consumer })
      const { snapshot, position } = JSON.parse(answer.toString()) as { snapshot: string | null; position: string }
      return snapshot === null ? undefined : { snapshot, position: BigInt(position) }
    },
    read: async (stream, { snapshot, after }, bytesMax) => {
      const answer = await ask(pool, 'read', { stream, snapshot, ...(after && { after }), bytesMax })
      const end = answer.indexOf(lineFeed)
      const head = JSON.parse(answer.toString('utf8', 0, end)) as Pick<BackFillRows, 'count' | 'batches' | 'last'>
      return { count: head.count, batches: head.batches, last: head.last, bytes: answer.subarray(end + 1) }
    },
    end: async (stream, consumer) => {
      await ask(pool, 'end', { stream, consumer })
    },
    close: () => pool.destroy(),
  }
}

/** @throws FreshetError `engine_unavailable`, or what the engine refuses with */
async function ask(pool: Pool, action: string, body: object): Promise<Buffer> {
  const { status, bytes } = await send(pool, `/v1/back-fill/${action}`, JSON.stringify(body))
  if (status < 300) return bytes
  const { code, detail, hint } = JSON.parse(bytes.toString()) as Problem
  throw new FreshetError(code, detail, hint === undefined ? {} : { hint })
}

async function send(pool: Pool, path: string, body: string): Promise<{ status: number; bytes: Buffer }> {
  try {
    const headers = { 'content-type': 'application/json' }
    const answer = await pool.request({ method: 'POST', path, headers, body })
    return { status: answer.statusCode, bytes: Buffer.from(await answer.body.arrayBuffer()) }
  } catch (error) {
    throw new FreshetError('engine_unavailable', `The engine does not answer (${messageOf(error)}).`, {
      hint: 'It is started again by itself; what a table has is read from it.',
      cause: error,
    })
  }
}
