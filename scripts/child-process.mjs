/** Running one step of a task as a child process, with its exit code and signals passed on. */
import { spawn } from 'node:child_process'

const forwarded = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])

/**
 * @typedef {object} Outcome
 * @property {number | null} code exit code; null when a signal ended it
 * @property {NodeJS.Signals | null} signal
 * @property {string} output what it printed, when captured
 */

/**
 * Runs a command to its end. Signals that reach this process are handed to it; it decides when to end.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, capture?: boolean }} [options] `capture` keeps the output instead of showing it
 * @returns {Promise<Outcome>}
 */
export function run(command, args, options = {}) {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env,
    stdio: options.capture === true ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    // A `.cmd` file (npm on Windows) only starts through the shell.
    shell: process.platform === 'win32' && !command.endsWith('.exe'),
  })
  let output = ''
  const keep = (/** @type {Buffer} */ chunk) => {
    output += chunk.toString()
  }
  child.stdout?.on('data', keep)
  child.stderr?.on('data', keep)

  const forward = (/** @type {NodeJS.Signals} */ signal) => child.kill(signal)
  for (const signal of forwarded) process.on(signal, forward)
  const done = () => {
    for (const signal of forwarded) process.off(signal, forward)
  }
  return new Promise((resolve, reject) => {
    child.once('error', (error) => {
      done()
      reject(error)
    })
    child.once('close', (code, signal) => {
      done()
      resolve({ code, signal, output })
    })
  })
}

/**
 * Ends this process the way a child ended: same exit code, or by the same signal.
 * @param {Outcome} outcome
 * @returns {never}
 */
export function exitAs(outcome) {
  if (outcome.signal !== null) process.kill(process.pid, outcome.signal)
  process.exit(outcome.code ?? 1)
}
