/** The build of packages/freshet: TypeScript to `dist`, only when a source changed, with nothing left of deleted sources. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './child-process.mjs'

/** Beside what was built: a fingerprint of what it was built from. */
const stampName = '.sources'

/**
 * Files below a folder, as paths relative to it with `/`, sorted; empty when there is no such folder.
 * @param {string} folder
 * @returns {string[]}
 */
export function filesBelow(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length + 1)
        .replaceAll('\\', '/'),
    )
    .toSorted()
}

/** @param {string} path relative to `src` */
function isSource(path) {
  return path.endsWith('.ts') && !path.endsWith('.test.ts')
}

/**
 * Changes whenever a source or a setting of the build does: a hash over names, sizes and modification times.
 * @param {string} packageDir
 */
export function fingerprint(packageDir) {
  const hash = createHash('sha256')
  const settings = ['package.json', 'tsconfig.json', 'tsconfig.build.json']
  const sources = filesBelow(join(packageDir, 'src')).filter(isSource)
  for (const path of [...settings, ...sources.map((name) => `src/${name}`)]) {
    const { size, mtimeMs } = statSync(join(packageDir, path))
    hash.update(`${path} ${size} ${mtimeMs}\n`)
  }
  return hash.digest('hex')
}

/**
 * Removes from `dist` what no source stands behind any more, so that a deleted module cannot be imported by mistake.
 * @param {string} packageDir
 * @returns {string[]} the paths removed, relative to `dist`
 */
export function removeStale(packageDir) {
  const expected = new Set(
    filesBelow(join(packageDir, 'src'))
      .filter(isSource)
      .flatMap((path) => [path.replace(/\.ts$/, '.js'), path.replace(/\.ts$/, '.d.ts')]),
  )
  const stale = filesBelow(join(packageDir, 'dist')).filter((path) => /\.(js|d\.ts)$/.test(path) && !expected.has(path))
  for (const path of stale) rmSync(join(packageDir, 'dist', path))
  return stale
}

/**
 * @param {string} root the repository
 * @param {string} node
 * @param {(line: string) => void} say
 */
export async function ensureBuilt(root, node, say) {
  const packageDir = join(root, 'packages', 'freshet')
  const stamp = join(packageDir, 'dist', stampName)
  const wanted = fingerprint(packageDir)
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  say('building ...')
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const built = await run(node, [tsc, '-p', join(packageDir, 'tsconfig.build.json')], { capture: true })
  removeStale(packageDir)
  if (built.code !== 0) throw new Error(`the build failed:\n${built.output.trim()}`)
  writeFileSync(stamp, wanted)
}
