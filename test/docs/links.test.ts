import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { anchorsOf, linksOf, sourceNamesOf } from './links.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const inFolder = (folder: string): string[] => readdirSync(join(root, folder)).map((name) => join(folder, name))
const pages = ['.', 'docs', 'bench', 'examples/quickstart'].flatMap(inFolder).filter((path) => path.endsWith('.md'))

/** The source files of the repository, by their paths from its root. */
const sources = ['packages/freshet/src', 'packages/freshet/test', 'test', 'bench', 'scripts'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => `${folder}/${path.replaceAll('\\', '/')}`),
)

test('every link between the pages leads to a file that is there, and to one of its headings', () => {
  const broken: string[] = []
  let links = 0
  for (const page of pages) {
    for (const { path, anchor, line } of linksOf(read(page))) {
      links++
      const target = path === '' ? page : join(dirname(page), path)
      const isThere = existsSync(join(root, target))
      if (!isThere || (anchor !== '' && !anchorsOf(read(target)).has(anchor))) {
        broken.push(`${page}, line ${line}: ${path}${anchor === '' ? '' : `#${anchor}`}`)
      }
    }
  }
  expect(broken).toEqual([])
  expect(links).toBeGreaterThan(30)
})

test('every source file that ARCHITECTURE.md and CONTRIBUTING.md name is there', () => {
  const isThere = (name: string): boolean => sources.some((path) => path === name || path.endsWith(`/${name}`))
  const named = ['ARCHITECTURE.md', 'CONTRIBUTING.md'].flatMap((page) =>
    sourceNamesOf(read(page)).map((one) => ({ ...one, page })),
  )
  const missing = named.filter(({ name }) => !isThere(name))
  expect(missing.map(({ page, line, name }) => `${page}, line ${line}: ${name}`)).toEqual([])
  expect(named.length).toBeGreaterThan(100)
})

describe('what a page refers to', () => {
  const page = [
    '# One `two`: three',
    '## Again',
    '## Again',
    '[a](other.md#part) and [b](#again), [c](https://example.org/#x)',
    '```sh',
    '[d](not.md) `not.ts`',
    '```',
    'in `lake/commit.ts` and `no file`',
  ].join('\n')

  test('is found outside of code', () => {
    expect(linksOf(page)).toEqual([
      { path: 'other.md', anchor: 'part', line: 4 },
      { path: '', anchor: 'again', line: 4 },
    ])
    expect(sourceNamesOf(page)).toEqual([{ name: 'lake/commit.ts', line: 8 }])
  })

  test('anchors are those of its headings, numbered when they come again', () => {
    expect([...anchorsOf(page)]).toEqual(['one-two-three', 'again', 'again-1'])
  })
})
