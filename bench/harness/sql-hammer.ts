/** A client that runs heavy SQL without pause until it is ended. */
import { serveTasks } from './child-task.ts'
import { queries } from './queries.ts'
import { SqlClient } from './sql-client.ts'

export interface HammerSpec {
  port: number
  /** How long to go on, seconds. */
  seconds: number
  /** Which query to begin with, so that two clients do not run the same one side by side. */
  offset: number
}

async function hammer({ port, seconds, offset }: HammerSpec): Promise<number> {
  const sql = new SqlClient(port)
  const texts = Object.values(queries)
  const startedAt = performance.now()
  let count = 0
  for (; performance.now() - startedAt < seconds * 1000; count++)
    await sql.query(texts[(offset + count) % texts.length]!)
  sql.close()
  return count
}

serveTasks(hammer)
