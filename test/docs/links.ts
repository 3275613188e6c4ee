/** What a Markdown file refers to: other files, headings in them, and source files by name. */

export interface Link {
  /** The file it leads to, as written; empty for a heading of the same page. */
  path: string
  /** The heading's anchor; empty for none. */
  anchor: string
  /** From 1. */
  line: number
}

/** Links to other places of the repository; addresses of the web are left out. */
export function linksOf(markdown: string): Link[] {
  return proseLines(markdown).flatMap(({ text, line }) =>
    [...text.matchAll(/\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(([, path = '', anchor = '']) => ({
      path,
      anchor,
      line,
    })),
  )
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>()
  for (const { text } of proseLines(markdown)) {
    const heading = /^#{1,6} (.*)$/.exec(text)?.[1]
    if (heading === undefined) continue
    const anchor = heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
    // A second heading of the same words gets a number.
    let own = anchor
    for (let count = 1; anchors.has(own); count++) own = `${anchor}-${count}`
    anchors.add(own)
  }
  return anchors
}

/** TypeScript files that a page names, in backticks. */
export function sourceNamesOf(markdown: string): { name: string; line: number }[] {
  return proseLines(markdown).flatMap(({ text, line }) =>
    [...text.matchAll(/`([\w./-]+\.ts)`/g)].map(([, name = '']) => ({ name, line })),
  )
}

/** Lines outside of fenced code. */
function proseLines(markdown: string): { text: string; line: number }[] {
  let isCode = false
  return markdown.split('\n').flatMap((text, index) => {
    const isFence = text.startsWith('```')
    if (isFence) isCode = !isCode
    return isCode || isFence ? [] : [{ text, line: index + 1 }]
  })
}
