import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

const linesMax = 1000

/** What was typed at the prompt, kept in a file from one session to the next. Trouble with the file is no reason to stop. */
export class History {
  /** Oldest first. */
  lines: string[] = []
  readonly #path: string | null
  #last: string | null = null

  private constructor(path: string | null) {
    this.#path = path
  }

  /** Reads the file, and shortens it when it has grown long. */
  static async load(path: string | null): Promise<History> {
    const history = new History(path)
    if (path === null) return history
    try {
      const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
      history.lines = lines.slice(-linesMax)
      if (lines.length > 2 * linesMax) await writeFile(path, `${history.lines.join('\n')}\n`, { mode: 0o600 })
    } catch {
      // No history yet, or none that can be read.
    }
    return history
  }

  async add(line: string): Promise<void> {
    if (line.trim() === '' || line === this.#last) return
    this.#last = line
    this.lines.push(line)
    if (this.#path === null) return
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
      await appendFile(this.#path, `${line}\n`, { mode: 0o600 })
    } catch {
      // The session goes on without.
    }
  }
}

/** Where the history is kept (XDG Base Directory Specification); null when there is no home folder. */
export function historyPath(env: Readonly<Record<string, string | undefined>>): string | null {
  const state = env['XDG_STATE_HOME']
  if (state !== undefined && state.startsWith('/')) return join(state, 'freshet', 'sql_history')
  const home = env['HOME'] ?? env['USERPROFILE']
  return home === undefined || home === '' ? null : join(home, '.local', 'state', 'freshet', 'sql_history')
}
