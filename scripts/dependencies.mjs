/** Dependencies: installed exactly as locked, and only when something is missing. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { npm } from './node-runtime.mjs'

/**
 * @typedef {object} LockEntry
 * @property {string} [version]
 * @property {boolean} [optional]
 * @property {boolean} [devOptional]
 * @property {boolean} [link]
 */

/**
 * Whether what npm last installed (its own record in `node_modules/.package-lock.json`, written when an install has finished)
 * holds everything the lock file asks for. Optional packages may be missing: they are the ones for other platforms.
 * @param {string} root folder of `package-lock.json`
 */
export function dependenciesAreCurrent(root) {
  const installed = readPackages(join(root, 'node_modules', '.package-lock.json'))
  const locked = readPackages(join(root, 'package-lock.json'))
  if (installed === undefined || locked === undefined) return false
  return Object.entries(locked).every(([path, entry]) => {
    if (!path.startsWith('node_modules/') && !path.includes('/node_modules/')) return true
    const found = installed[path]
    if (found === undefined) return entry.optional === true || entry.devOptional === true
    return found.version === entry.version && existsSync(join(root, path))
  })
}

/**
 * @param {string} file
 * @returns {Record<string, LockEntry> | undefined}
 */
function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch {
    return undefined
  }
}

/**
 * @param {string} root
 * @param {string} node the Node 24 to install under: under an older one npm picks older versions of some packages
 * @param {(line: string) => void} say
 */
export async function ensureDependencies(root, node, say) {
  if (dependenciesAreCurrent(root)) return
  say('installing dependencies ...')
  // Not `npm ci`: it refuses a lock file that lacks optional packages for other platforms, and registries that mirror only some
  // platforms make npm write such lock files. This installs what is locked, too, and leaves the lock file as it is.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']
  const installed = await npm(node, args, { cwd: root, capture: true })
  if (installed.code !== 0) throw new Error(`the dependencies could not be installed:\n${installed.output.trim()}`)
}
