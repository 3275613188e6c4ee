import { Command, InvalidArgumentError } from 'commander'
import type { CliContext } from './context.ts'

/** What a command gets to work with. */
export interface CommandEnvironment {
  context: CliContext
  version: string
  /** Sets what the process ends with. */
  exit(code: number): void
}

/** A subcommand with the options that all have. */
export function subcommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('--debug', 'show where an error comes from')
    .showHelpAfterError('(see --help for what there is)')
}

/** An option value that is a whole number from `min` to `max`. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`)
    return value
  }
}

/** Collects an option that may come several times. */
export function collect(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text]
}

/** `name=value` cut in two; null without an equals sign or a name. */
export function splitPair(text: string): [name: string, value: string] | null {
  const at = text.indexOf('=')
  return at < 1 ? null : [text.slice(0, at), text.slice(at + 1)]
}
