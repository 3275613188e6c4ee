/** A Freshet server as a child process: started, waited for, stopped. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const command = join(import.meta.dirname, '..', '..', 'packages', 'freshet', 'bin', 'freshet.js')

const pollIntervalMs = 20
const readyWithinMs = 60_000
/** A server that has not finished what is in flight after this long is ended by force. */
const stopWithinMs = 30_000
const logTailCharacters = 2000

export interface ServerOptions {
  /** Path of the config file. */
  config: string
  dataDir: string
  port: number
  /** Where the server's own output goes; it is appended to. */
  logFile: string
  /** One role alone; otherwise the whole server. */
  role?: 'gateway' | 'engine' | 'worker'
}

export interface ServerProcess {
  url: string
  pid: number
  /** Resolves when the process has ended, with a sentence that says how and the end of its output. */
  ended: Promise<string>
  /** Lets it finish what is in flight, and waits until it is gone. */
  stop(): Promise<void>
}

/**
 * Starts `freshet start` and returns at once; `waitUntilReady` waits for it. It runs in a process group of its own, so that
 * Ctrl-C in a terminal reaches only the process that calls this, which then stops it once.
 */
export function spawnServer(options: ServerOptions): ServerProcess {
  const { config, dataDir, port, role } = options
  const args = ['start', '--config', config, '--data-dir', dataDir, '--port', String(port)]
  if (role !== undefined) args.push('--role', role)
  const log = openSync(options.logFile, 'a')
  const child = spawn(process.execPath, [command, ...args], { stdio: ['ignore', log, log], detached: true })
  closeSync(log)
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`could not be started: ${error.message}`))
    child.once('exit', (code, signal) => resolve(`ended with ${signal ?? `code ${code}`}:\n${tailOf(options.logFile)}`))
  })
  // Should this process end without having stopped the server, it goes too.
  const endToo = (): void => void child.kill('SIGTERM')
  process.once('exit', endToo)
  void ended.then(() => process.off('exit', endToo))
  return { url: `http://127.0.0.1:${port}`, pid: child.pid ?? 0, ended, stop: () => stop(child, ended) }
}

/** Waits until the server answers `/readyz` with 200. @throws Error when it ends instead, or takes a minute */
export async function waitUntilReady(server: ServerProcess): Promise<void> {
  let over: string | undefined
  void server.ended.then((how) => (over = how))
  await waitFor('the server to be ready', readyWithinMs, async () => {
    if (over !== undefined) throw new Error(`the server ${over}`)
    const response = await fetch(`${server.url}/readyz`).catch(() => undefined)
    await response?.arrayBuffer().catch(() => undefined)
    return response?.status === 200
  })
}

async function stop(child: ChildProcess, ended: Promise<string>): Promise<void> {
  child.kill('SIGTERM')
  const force = setTimeout(() => child.kill('SIGKILL'), stopWithinMs)
  await ended
  clearTimeout(force)
}

/**
 * Asks again and again until the answer is yes.
 * @param everyMs pause between two questions
 * @throws Error when it is not within the time
 */
export async function waitFor(
  what: string,
  withinMs: number,
  isSo: () => Promise<boolean>,
  everyMs: number = pollIntervalMs,
): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited ${withinMs / 1000} s in vain for ${what}`)
    await sleep(everyMs)
  }
}

/** `preferred` if nothing listens there, else a port that the system picks. */
export async function freePort(preferred: number): Promise<number> {
  for (const port of [preferred, 0]) {
    const free = await new Promise<number | undefined>((resolve) => {
      const probe = createServer()
      probe.once('error', () => resolve(undefined))
      probe.listen(port, '127.0.0.1', () => {
        const address = probe.address()
        probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined))
      })
    })
    if (free !== undefined) return free
  }
  throw new Error('no port is free on 127.0.0.1')
}

/** The end of a server's output; its folder may be gone already when everything is being stopped at once. */
function tailOf(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8').slice(-logTailCharacters).trim() : ''
}
