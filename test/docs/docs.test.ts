import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { codeBlocks, type CodeBlock } from './code-blocks.ts'
import { ExampleServer } from './example-server.ts'

/** What the documentation tells its readers to type does what the documentation says. */
const root = join(import.meta.dirname, '../..')
const documents = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)]
  .filter((path) => path.endsWith('.md'))
  .map((path) => ({ path, blocks: codeBlocks(readFileSync(join(root, path), 'utf8')) }))
  .filter(({ blocks }) => blocks.length > 0)

/** What was accepted is in SQL a moment later: a block is run again until its output is the one shown, for so long. */
const patience = { timeout: 30_000, interval: 200 }

let example: ExampleServer | undefined

afterEach(async () => {
  await example?.remove()
  example = undefined
})

describe('code blocks', () => {
  test.each(documents)('$path', async ({ path, blocks }) => {
    example = await ExampleServer.create()
    for (const [index, block] of blocks.entries()) {
      const next = blocks[index + 1]
      try {
        await runBlock(example, block, next)
      } catch (error) {
        throw new Error(`${path}, line ${block.line}: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        })
      }
    }
  })
})

async function runBlock(server: ExampleServer, block: CodeBlock, next: CodeBlock | undefined): Promise<void> {
  if (block.kind === 'file') {
    await server.writeChecked(block.name, block.text)
    if (block.restart) await server.restart()
    return
  }
  if (block.kind !== 'sh') return
  await server.start()
  if (next?.kind === 'json output') {
    const expected: unknown = JSON.parse(next.text)
    await vi.waitFor(async () => {
      const printed: unknown = JSON.parse(await server.run(block.text))
      // Wrapped, because toMatchObject wants an object and an example may print an array.
      expect({ printed }).toMatchObject({ printed: expected })
    }, patience)
  } else if (next?.kind === 'text output') {
    const expected = next.text.split('\n').map((line) => line.trim())
    await vi.waitFor(async () => {
      const printed = (await server.run(block.text)).split('\n').map((line) => line.trim())
      expect(printed).toEqual(expect.arrayContaining(expected))
    }, patience)
  } else {
    await server.run(block.text)
  }
}
