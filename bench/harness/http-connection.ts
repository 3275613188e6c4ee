/**
 * One kept-alive HTTP/1.1 connection with one request at a time, written straight to the socket: a generator that shares two
 * cores with the server has to be much cheaper than the server. It understands what the server under test and the limit servers
 * send: a status line, `content-length`, a body.
 */
import { createConnection, type Socket } from 'node:net'

export interface Answer {
  status: number
  body: string
}

interface Waiting {
  resolve: (answer: Answer) => void
  reject: (error: Error) => void
}

export class HttpConnection {
  readonly #socket: Socket
  #waiting: Waiting | undefined
  #received: Buffer | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.#onData(chunk))
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('the server closed the connection')))
  }

  static connect(port: number): Promise<HttpConnection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ host: '127.0.0.1', port })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new HttpConnection(socket))
      })
    })
  }

  /**
   * Sends a whole request, head and body in one, and resolves with its answer. The bytes may be used again after that.
   * @throws Error when the connection breaks before the answer is whole
   */
  request(bytes: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#waiting !== undefined) throw new Error('a connection has one request at a time')
      this.#waiting = { resolve, reject }
      this.#socket.write(bytes)
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #onData(chunk: Buffer): void {
    const received = this.#received === undefined ? chunk : Buffer.concat([this.#received, chunk])
    let answer: Answer | undefined
    try {
      answer = parseAnswer(received)
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)))
      return
    }
    this.#received = answer === undefined ? received : undefined
    if (answer === undefined) return
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.resolve(answer)
  }

  #fail(error: Error): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    this.#socket.destroy()
    waiting?.reject(error)
  }
}

/** The answer in `received`; undefined while it is not whole. @throws Error for an answer without content-length */
function parseAnswer(received: Buffer): Answer | undefined {
  const text = received.toString('latin1')
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd === -1) return undefined
  const found = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, headEnd))
  if (found === null) throw new Error(`an answer without content-length: ${text.slice(0, headEnd)}`)
  const bodyStart = headEnd + 4
  const bodyEnd = bodyStart + Number(found[1])
  if (bodyEnd > text.length) return undefined
  return { status: Number(text.slice(9, 12)), body: received.toString('utf8', bodyStart, bodyEnd) }
}
