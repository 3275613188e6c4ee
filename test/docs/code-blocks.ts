/**
 * Code blocks of a Markdown file that tests run. Their info strings:
 *
 *     sh test               run by the shell; must exit with 0
 *     json output           what the block before printed, as JSON; members that are left out here may be there
 *     text output           lines that the block before printed, in any order
 *     ts test file=NAME     a TypeScript file of the example, type-checked; with `restart` behind it the server is started again by it
 */
export interface CodeBlock {
  kind: 'sh' | 'json output' | 'text output' | 'file'
  /** Of a `file`. */
  name: string
  /** Of a `file`: the server is started again. */
  restart?: true
  text: string
  /** Line of the opening fence, from 1. */
  line: number
}

const fence = /^```(.*)$/

export function codeBlocks(markdown: string): CodeBlock[] {
  const blocks: CodeBlock[] = []
  let open: { info: string; line: number; text: string[] } | undefined
  for (const [index, line] of markdown.split('\n').entries()) {
    const info = fence.exec(line)?.[1]
    if (open === undefined) {
      if (info !== undefined) open = { info, line: index + 1, text: [] }
    } else if (info === '') {
      const block = blockOf(open.info, open.text.join('\n'), open.line)
      if (block !== undefined) blocks.push(block)
      open = undefined
    } else {
      open.text.push(line)
    }
  }
  return blocks
}

function blockOf(info: string, text: string, line: number): CodeBlock | undefined {
  if (info === 'sh test') return { kind: 'sh', name: '', text, line }
  if (info === 'json output' || info === 'text output') return { kind: info, name: '', text, line }
  const [, name, restart] = /^ts test file=(\S+)( restart)?$/.exec(info) ?? []
  if (name !== undefined) return { kind: 'file', name, text, line, ...(restart !== undefined && { restart: true }) }
  if (/\b(test|output)\b/.test(info)) throw new Error(`line ${line}: unknown kind of tested block: ${info}`)
  return undefined
}
