import { expect, test } from 'vitest'
import { codeBlocks } from './code-blocks.ts'

test('tested blocks are found with their lines, others are left alone', () => {
  const markdown = [
    '# Title',
    '```sh test',
    'ls',
    '# not a title',
    '```',
    '',
    '```json output',
    '{}',
    '```',
    '```sh',
    'rm',
    '```',
  ]
  expect(codeBlocks(markdown.join('\n'))).toEqual([
    { kind: 'sh', name: '', text: 'ls\n# not a title', line: 2 },
    { kind: 'json output', name: '', text: '{}', line: 7 },
  ])
})

test('a file block carries its name', () => {
  expect(codeBlocks('```ts test file=freshet.config.ts\nexport {}\n```')).toEqual([
    { kind: 'file', name: 'freshet.config.ts', text: 'export {}', line: 1 },
  ])
})

test('a file block may say that the server is started again', () => {
  expect(codeBlocks('```ts test file=freshet.config.ts restart\n```')).toMatchObject([
    { kind: 'file', name: 'freshet.config.ts', restart: true },
  ])
  expect(() => codeBlocks('```ts test file=freshet.config.ts again\n```')).toThrow('unknown kind')
})

test('a misspelt kind is an error instead of a block that nobody runs', () => {
  expect(() => codeBlocks('```js test\n```')).toThrow('unknown kind')
})
