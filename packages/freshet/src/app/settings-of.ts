/** Settings that name an environment variable, with its value put in place of the name. */
import { isPlainObject } from '../config/mistakes.ts'
import { FreshetError } from '../runtime/errors.ts'

type Environment = Readonly<Record<string, string | undefined>>

/**
 * @param owner whose settings they are, for the error: `sinks.site_db`
 * @throws FreshetError `config_invalid` for a variable that is not set
 */
export function withEnvironment<T>(settings: T, owner: string, environment: Environment): T {
  return resolved(settings, owner, environment) as T
}

function resolved(value: unknown, key: string, environment: Environment): unknown {
  if (Array.isArray(value)) return value.map((one, index) => resolved(one, `${key}[${index}]`, environment))
  if (!isPlainObject(value)) return value
  const names = Object.keys(value)
  if (names.length === 1 && names[0] === 'env' && typeof value['env'] === 'string') {
    return valueOf(value['env'], key, environment)
  }
  return Object.fromEntries(names.map((name) => [name, resolved(value[name], `${key}.${name}`, environment)]))
}

function valueOf(name: string, key: string, environment: Environment): string {
  const found = environment[name]
  if (found !== undefined && found !== '') return found
  throw new FreshetError('config_invalid', `The environment variable ${name} is not set: ${key} is taken from it.`, {
    hint: 'Set it for the server, and start it again.',
  })
}
