/** What is to be said of PostgreSQL: what of every SQL database, with its own limits. */
import { sqlSettings } from '../sql/settings.ts'

export const postgresSettings = sqlSettings({
  protocols: ['postgres:', 'postgresql:'],
  example: 'postgres://shop@db.example.com/shop',
  nameBytesMax: 63,
})
