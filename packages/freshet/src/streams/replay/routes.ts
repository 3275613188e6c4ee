/** What the worker answers to the engine when it replays a stream: it runs the stream's transform over events, and lets it rest. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Worker } from '../worker.ts'
import type { Reruns } from './reruns.ts'

export interface TransformRoutes {
  worker: Worker
  reruns: Reruns
  /** Aborted when the worker stops: nothing rests any longer. */
  stopping: AbortSignal
  readBody: (request: IncomingMessage) => Promise<Buffer>
}

/**
 * `POST /v1/transforms/{stream}/run`: events as lines of the log; the answer's first line is JSON, `count` and `letters`, and the others are the
 * lines that came of them.
 *
 * `POST /v1/transforms/{stream}/pause`: the answer is the transform's place. It does not end: the transform rests for as long as it is read.
 * @returns whether it was one of them
 */
export async function answerTransform(
  { worker, reruns, stopping, readBody }: TransformRoutes,
  [stream = '', action = '']: readonly string[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  if (request.method !== 'POST') return false
  if (action === 'run') {
    const count = Number(request.headers['freshet-count'])
    const { lines, ...head } = await reruns.run(stream, await readBody(request), count)
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.write(`${JSON.stringify(head)}\n`)
    response.end(lines)
    return true
  }
  if (action !== 'pause') return false
  const { place, goOn } = await worker.rest(stream)
  const end = (): void => void response.end()
  response.once('close', goOn)
  stopping.addEventListener('abort', end, { once: true })
  response.once('close', () => stopping.removeEventListener('abort', end))
  if (response.destroyed || response.closed) goOn()
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  response.write(`${JSON.stringify({ log: String(place.log), skip: place.skip })}\n`)
  if (stopping.aborted) end()
  return true
}
