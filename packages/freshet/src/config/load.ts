import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { registerHooks } from 'node:module'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { FreshetError, systemCodeOf } from '../runtime/errors.ts'
import { checkConfig, type Overrides } from './check.ts'
import { explainLoadFailure } from './load-failure.ts'
import { isPlainObject, kindOf } from './mistakes.ts'
import type { Plan } from './plan.ts'
import type { SinkKinds } from './sinks.ts'

/** Names that a configuration file may have, in the order they are looked for. */
export const configFileNames = [
  'freshet.config.ts',
  'freshet.config.mts',
  'freshet.config.js',
  'freshet.config.mjs',
] as const

export interface LoadOptions {
  /** Folder in which a configuration file is looked for, and that a relative `path` and data folder option start from. */
  cwd: string
  /** The configuration file, when it is named. */
  path?: string
  /** In `dev` there need be no file: the plan is then all defaults, with the data folder in `cwd`. */
  mode: Plan['mode']
  overrides?: Overrides
  /** The kinds of sinks that there are. */
  sinkKinds?: SinkKinds
}

/**
 * Finds, runs and checks the configuration file. It is run anew at every call, and once.
 * @throws FreshetError `config_not_found`; `config_invalid` for a file that cannot be run, exports no configuration, or has
 * mistakes.
 */
export async function loadConfig(options: LoadOptions): Promise<Plan> {
  const { cwd, mode } = options
  const overrides = { overrides: options.overrides ?? {}, cwd }
  const file = await findConfig(options)
  if (file === undefined) return checkConfig({}, { baseDir: resolve(cwd), mode, ...overrides })
  const { words, codeHash } = await readConfig(file)
  return checkConfig(words, {
    baseDir: dirname(file),
    mode,
    subject: basename(file),
    file: { path: file, codeHash },
    ...(options.sinkKinds && { sinkKinds: options.sinkKinds }),
    ...overrides,
  })
}

/** Absolute path of the configuration file; undefined when there is none and none is needed. */
async function findConfig({ cwd, path, mode }: LoadOptions): Promise<string | undefined> {
  if (path !== undefined) {
    const file = resolve(cwd, path)
    if (await isFile(file)) return file
    throw new FreshetError('config_not_found', `There is no configuration file ${file}.`, {
      hint: 'Check the path given, or write a new file with `freshet init`.',
    })
  }
  for (const name of configFileNames) {
    const file = join(resolve(cwd), name)
    if (await isFile(file)) return file
  }
  if (mode === 'dev') return undefined
  throw new FreshetError('config_not_found', `There is no configuration file in ${resolve(cwd)}.`, {
    hint: `Write one with \`freshet init\`, or name one with --config. Looked for: ${configFileNames.join(', ')}.`,
  })
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw error
  }
}

/** A configuration as its file has it, functions included. */
export interface ConfigWords {
  words: Record<string, unknown>
  /** Hash of the other files that it is made of: those that it imports, except packages. */
  codeHash: string
}

/**
 * Runs a configuration file.
 * @throws FreshetError `config_invalid` when it cannot be run, or exports no configuration
 */
export async function readConfig(file: string): Promise<ConfigWords> {
  const { exports, imported } = await runModule(file)
  const words = exports['default']
  if (isPlainObject(words)) return { words, codeHash: await hashOf(imported, dirname(file)) }
  const invalid = (message: string, hint: string) =>
    new FreshetError('config_invalid', `${basename(file)} ${message}`, { hint })
  if (words === undefined) {
    const others = Object.keys(exports).filter((name) => name !== 'module.exports')
    const found = others.length === 0 ? 'exports nothing' : `has no default export, only ${others.join(', ')}`
    throw invalid(`${found}.`, 'Write `export default defineConfig({ ... })`.')
  }
  if (words instanceof Promise) {
    words.catch(() => undefined)
    throw invalid('exports a promise.', 'Write `export default await ...`.')
  }
  if (typeof words === 'function') {
    throw invalid('exports a function.', 'Export what the function returns: `export default defineConfig({ ... })`.')
  }
  throw invalid(`exports ${kindOf(words)}, not a configuration.`, 'Write `export default defineConfig({ ... })`.')
}

let runs = 0

/** The query that marks the modules of one run, so that neither they nor what they import come from an earlier run. */
const runMark = 'freshet-config-run'

async function hashOf(files: readonly string[], folder: string): Promise<string> {
  if (files.length === 0) return ''
  const hash = createHash('sha256')
  for (const file of files.toSorted())
    hash
      .update(relative(folder, file))
      .update('\0')
      .update(await readFile(file))
  return hash.digest('hex')
}

/** Runs a module by Node's own type stripping; its exports, and the files that it imports beside packages. */
async function runModule(file: string): Promise<{ exports: Record<string, unknown>; imported: string[] }> {
  const mark = `${runMark}=${++runs}`
  const entry = pathToFileURL(file)
  entry.search = mark
  const imported = new Set<string>()
  const hooks = registerHooks({
    resolve(specifier, context, nextResolve) {
      // Only imports that this run makes are ours to touch.
      const ours = specifier === entry.href || context.parentURL?.endsWith(`?${mark}`) === true
      if (!ours) return nextResolve(specifier, context)
      const found = resolveOrOwn(specifier, () => nextResolve(specifier, context))
      if (!found.url.startsWith('file:') || found.url.includes('/node_modules/') || isOwn(found.url)) return found
      if (specifier !== entry.href) imported.add(fileURLToPath(found.url.split('?')[0]!))
      const url = found.url.includes('?') ? found.url : `${found.url}?${mark}`
      // Without "type" in a package.json Node would first try CommonJS, and print a warning.
      return /\.ts\?/.test(url) ? { ...found, url, format: 'module-typescript' } : { ...found, url }
    },
  })
  try {
    const exports = (await import(entry.href)) as Record<string, unknown>
    return { exports, imported: [...imported] }
  } catch (error) {
    throw explainLoadFailure(error, file)
  } finally {
    hooks.deregister()
  }
}

/** Our own modules have the ending that this one has: `.ts` in the sources, `.js` when built. */
const ownIndex = new URL(import.meta.url.endsWith('.ts') ? '../index.ts' : '../index.js', import.meta.url).href
const ownFolder = new URL('../', import.meta.url).href

function isOwn(url: string): boolean {
  return url.startsWith(ownFolder)
}

/** `freshet` and `zod` are at hand for a folder in which they are not installed. */
function resolveOrOwn<T extends { url: string }>(
  specifier: string,
  next: () => T,
): T | { url: string; shortCircuit: true } {
  const isZod = specifier === 'zod' || specifier.startsWith('zod/')
  if (specifier !== 'freshet' && !isZod) return next()
  try {
    return next()
  } catch (error) {
    if (systemCodeOf(error) !== 'ERR_MODULE_NOT_FOUND') throw error
    return { url: isZod ? import.meta.resolve(specifier) : ownIndex, shortCircuit: true }
  }
}
