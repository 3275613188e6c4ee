import { execFile } from 'node:child_process'
import { join } from 'node:path'

const outputBytesMax = 64 * 1024 * 1024

/** Path of a Python interpreter that has pyiceberg; installs it the first time. */
export async function pythonWithPyiceberg(): Promise<string> {
  return (await runFile(join(import.meta.dirname, 'setup.sh'), [], '')).trim()
}

/** Runs a script of this folder with a JSON request on its standard input, and returns the JSON it prints. */
export async function runPython<T>(python: string, script: string, request: unknown): Promise<T> {
  const output = await runFile(python, [join(import.meta.dirname, script)], JSON.stringify(request))
  const answer: T = JSON.parse(output)
  return answer
}

/** What a program prints, given a text on its standard input. @throws Error with what it said of its failure */
export function runFile(file: string, args: string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(file, args, { maxBuffer: outputBytesMax }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${error.message}\n${stderr}`))
    })
    // One that ends without reading it has said what is wrong, or does not need it.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}
