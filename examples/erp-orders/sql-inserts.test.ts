import { expect, test } from 'vitest'
import { parseInserts } from './sql-inserts.ts'

test('rows are texts, numbers and nulls', () => {
  const sql = `CREATE TABLE orders (id smallint);
INSERT INTO orders VALUES (10248, 'VINET', 32.3800011, '59 rue de l''Abbaye', NULL, '');
INSERT INTO orders VALUES (10249, 'a, b); c', -1.5e-3, '', NULL, 'ä');
INSERT INTO shippers VALUES (1, 'Speedy Express');`
  expect([...parseInserts(sql)]).toEqual([
    [
      'orders',
      [
        [10248, 'VINET', 32.3800011, "59 rue de l'Abbaye", null, ''],
        [10249, 'a, b); c', -0.0015, '', null, 'ä'],
      ],
    ],
    ['shippers', [[1, 'Speedy Express']]],
  ])
})

test.each(['INSERT INTO t VALUES (now());', "INSERT INTO t VALUES ('open);", 'INSERT INTO t VALUES (1, 2'])(
  '%s is not understood',
  (line) => {
    expect(() => parseInserts(`-- a dump\n${line}`)).toThrow('line 2 of the dump is not an INSERT of plain values')
  },
)
