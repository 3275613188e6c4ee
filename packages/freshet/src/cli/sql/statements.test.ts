import { expect, test } from 'vitest'
import { isBlankSql, splitStatements } from './statements.ts'

test('only semicolons between statements divide them', () => {
  const one = [
    `select ';' as "a;b"`,
    `select 'it''s;'`,
    `select e'\\';'`,
    'select 1 -- no; no',
    'select /* ; */ 1',
    'select $$;$$',
    'select $x$ ; $$ $x$',
    'select $symbol',
  ]
  for (const statement of one)
    expect(splitStatements(`${statement}\n; rest`)).toEqual({ statements: [statement], rest: ' rest' })
})

test('what is not closed is not divided', () => {
  for (const text of [`select ';`, 'select ";', 'select /* ;', 'select $$;', 'select 1 -- ;']) {
    expect(splitStatements(text)).toEqual({ statements: [], rest: text })
  }
})

test('comments alone are no statement', () => {
  expect(splitStatements('-- a\n; /* b */ ;')).toEqual({ statements: [], rest: '' })
  expect(isBlankSql(' -- x')).toBe(true)
  expect(isBlankSql('-- x\n1')).toBe(false)
})
