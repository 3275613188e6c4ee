import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { pathToFileURL } from 'node:url'
import { FreshetError, messageOf, systemCodeOf } from '../runtime/errors.ts'

/** A `config_invalid` that says where in the user's files running the configuration failed, and why. */
export function explainLoadFailure(error: unknown, file: string): FreshetError {
  const at = placeOf(error, file)
  const { line, column } = at
  const where = `${at.file}${line === undefined ? '' : `:${line}`}${column === undefined ? '' : `:${column}`}`
  const { what, hint } = describe(error)
  return new FreshetError('config_invalid', `${basename(file)} cannot be loaded: ${what}\n  at ${where}`, {
    hint,
    cause: error,
    extra: { file: at.file, ...(line === undefined ? {} : { line }), ...(column === undefined ? {} : { column }) },
  })
}

function describe(error: unknown): { what: string; hint: string } {
  const message = firstLine(messageOf(error)).replaceAll(/\?freshet-config-run=\d+/g, '')
  switch (systemCodeOf(error)) {
    case 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX':
      return {
        what: message,
        hint: 'Node runs the file by removing its types, so what makes code of its own (enum, namespace, parameter properties) cannot be used.',
      }
    case 'ERR_INVALID_TYPESCRIPT_SYNTAX':
      return { what: `syntax error: ${message}`, hint: 'Mend the syntax at the place named.' }
    case 'ERR_MODULE_NOT_FOUND':
      return {
        what: message,
        hint: 'Install the package, or write the whole file name with its ending: `./schemas.ts`, not `./schemas`.',
      }
    case 'ERR_UNKNOWN_FILE_EXTENSION':
      return { what: message, hint: 'A configuration is a .ts, .mts, .js or .mjs file.' }
    default:
      if (error instanceof SyntaxError)
        return { what: `syntax error: ${message}`, hint: 'Mend the syntax at the place named.' }
      if (error instanceof Error) {
        return {
          what: `it threw ${error.name}: ${message}`,
          hint: 'The code of the configuration file failed; mend it at the place named.',
        }
      }
      return {
        what: `it threw ${message}`,
        hint: 'Throw an Error rather than another value, so that its place is known.',
      }
  }
}

function firstLine(text: string): string {
  return (
    text
      .split('\n')
      .find((line) => line.trim() !== '')
      ?.trim() ?? 'no message'
  )
}

interface Place {
  file: string
  line?: number
  column?: number
}

/**
 * The first place in the stack that lies in the configuration file, or else in any file of the user's; the file itself when the
 * stack names none. Stripping types keeps every line and column. Node puts the place of a syntax error on the first line.
 */
function placeOf(error: unknown, file: string): Place {
  const stack = error instanceof Error ? String(error.stack) : ''
  const places = [...stack.matchAll(/(file:\/\/[^\s?()]+)(?:\?[^\s:()]*)?:(\d+)(?::(\d+))?/g)].map(
    ([, url, line, column]) => ({
      url: url!,
      line: Number(line),
      ...(column === undefined ? {} : { column: Number(column) }),
    }),
  )
  const own = pathToFileURL(file).href
  const place = places.find(({ url }) => url === own) ?? places.find(({ url }) => isTheirs(url))
  if (place === undefined) return placeInSource(error, file)
  const { url, ...position } = place
  return { file: url === own ? file : decodeURIComponent(new URL(url).pathname), ...position }
}

function isTheirs(url: string): boolean {
  return !url.includes('/node_modules/') && !url.startsWith(new URL('../', import.meta.url).href)
}

/** For what carries no place: Node keeps that of a syntax error in JavaScript to itself, and an import that fails has none. */
function placeInSource(error: unknown, file: string): Place {
  if (error instanceof SyntaxError) {
    // Parses without running anything.
    const { stderr } = spawnSync(process.execPath, ['--check', file], { encoding: 'utf8', timeout: 10_000 })
    const line = /^(?:file:\/\/)?\S+?:(\d+)\n/.exec(stderr ?? '')?.[1]
    return line === undefined ? { file } : { file, line: Number(line) }
  }
  const missing = /Cannot find (?:module|package) '([^']+)' imported from (.+)/.exec(messageOf(error))
  if (missing === null) return { file }
  const [, name, importer] = missing
  const from = importer!.replace(/\?.*$/, '')
  const index = linesOf(from).findIndex((line) => /\b(?:import|from)\b/.test(line) && line.includes(basename(name!)))
  return index === -1 ? { file: from } : { file: from, line: index + 1 }
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n')
  } catch {
    return []
  }
}
