/**
 * Paths of fields as text: names joined by dots, `[]` for what is in a list and `*` for what is in a map: `address.zip`,
 * `legs[].price`, `rates.*.bid`. A name that has a dot, a bracket or a quote in it stands in double quotes: `"unit.price"`.
 */
import type { FieldPath } from './plan.ts'

const segment = /(?:"((?:[^"\\]|\\.)*)"|([^."[\]]+))((?:\[\])*)(\.|$)/y

/** The names of a path; undefined for text that is none. */
export function parseFieldPath(text: string): string[] | undefined {
  const path: string[] = []
  segment.lastIndex = 0
  for (;;) {
    const match = segment.exec(text)
    if (match === null) return undefined
    const [, quotedName, plainName, lists, end] = match
    path.push(quotedName === undefined ? plainName! : quotedName.replaceAll(/\\(.)/g, '$1'))
    for (let depth = 0; depth < lists!.length; depth += 2) path.push('[]')
    if (end === '') return path
  }
}

/** The text of a path. */
export function formatFieldPath(path: FieldPath): string {
  let text = ''
  for (const name of path) {
    if (name === '[]') text += name
    else
      text += `${text === '' ? '' : '.'}${/^[^."[\]]+$/.test(name) ? name : `"${name.replaceAll(/["\\]/g, String.raw`\$&`)}"`}`
  }
  return text
}

export function samePath(a: FieldPath, b: FieldPath): boolean {
  return a.length === b.length && a.every((name, index) => name === b[index])
}
