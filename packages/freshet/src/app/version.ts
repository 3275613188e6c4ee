import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The version of the installed package. `src/app` and `dist/app` are equally deep below its package.json. */
export const version: string = (
  JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8')) as { version: string }
).version
